"""Worker processes: started in sessions of their own, told from strangers, stopped in stages."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tailor.jobs.memory import ending_of, num_oom_kills
from tailor.jobs.settings import WorkerSettings
from tailor.jobs.worker import DATABASE_VARIABLE, started_at
from tailor.store import ClaimPhase, Ending

ABORT_GRACE_SECONDS = 10.0
"""Time for a hung worker to write down where it hangs."""
_DEATH_SECONDS = 2.0
_MAX_LOG_BYTES = 8 << 20
_SECRETS = ("OPENAI_API_KEY", "TAILOR_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(kw_only=True, slots=True)
class WorkerProcess:
    """A worker that we started."""

    phase: ClaimPhase
    process: subprocess.Popen[bytes]
    begun_at: float = field(default_factory=time.monotonic)
    id: str = ""
    """As the queue knows it once it holds a job."""
    _oom_kills: int = field(default_factory=num_oom_kills)

    def __post_init__(self) -> None:
        # Now, for a dead process does not tell when it was started.
        self.id = f"{self.process.pid}:{started_at(self.process.pid)}"

    def ending(self) -> Ending:
        """How it died; waits a little for one that has only just let go of its lock."""
        try:
            status = self.process.wait(timeout=_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            return "crashed"
        return ending_of(status, oom_kills=num_oom_kills() - self._oom_kills)


def start_worker(
    home: Path, phase: ClaimPhase, settings: WorkerSettings, *, database_url: str | None = None
) -> WorkerProcess:
    """Start a worker that outlives this process; what it writes goes to `home/logs`."""
    command = [sys.executable, "-m", "tailor.jobs.worker", "--home", str(home), "--phase", phase]
    command += ["--organization", settings.organization, "--threads", str(settings.num_threads)]
    command += ["--save-every-seconds", str(settings.save_every_seconds)]
    idle_seconds = math.inf if settings.num_spare else settings.idle_seconds
    command += ["--idle-seconds", str(idle_seconds), "--max-training", str(settings.max_training)]
    log = home / "logs" / f"worker-{phase}.log"
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - nothing in the command comes from a user
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=_environment(settings, database_url),
        )
    return WorkerProcess(phase=phase, process=process)


def is_alive(worker: str) -> bool:
    """Whether the process that the queue knows by this name still runs on this machine."""
    number, _, started = worker.partition(":")
    return started not in ("", "0") and str(started_at(int(number))) == started


def send(worker: str, number: signal.Signals) -> None:
    """Send a signal to a worker's whole session, if it is still the same process."""
    if is_alive(worker):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(worker.partition(":")[0]), number)


def _environment(settings: WorkerSettings, database_url: str | None) -> dict[str, str]:
    """This process's environment without its keys, with the network and the threads fixed."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    if database_url is not None:
        environment[DATABASE_VARIABLE] = database_url
    threads = str(settings.num_threads)
    # Threads that spin while they wait make a job five times slower as soon as the server wants a core too.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"} | environment
    return environment | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }
