"""A stand-in for the server, to be killed: a supervisor over a home, nothing else.

python -m tests.faults.host HOME
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tailor.jobs import Supervisor
from tests.faults.scene import open_store, quick_workers


def main() -> None:
    store = open_store(Path(sys.argv[1]))
    supervisor = Supervisor(store, quick_workers())
    supervisor.start()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
