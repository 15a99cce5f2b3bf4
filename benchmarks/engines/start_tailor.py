"""A job of tailor from its file to its first step, through the API; prints seconds and loss.

    python start_tailor.py HOME FILE BATCH_SIZE WAIT

WAIT are seconds between the server's start and the job: 0 for a server that is started for it. With more, it
keeps a worker ready, as `tailor serve` does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from tailor.client import Endpoint
from tailor.protocol import JobRequest
from tailor.server import EmbeddedServer, ServerConfig


def processor_seconds(home: Path) -> float:
    """Of this process and the workers of its home."""
    ticks = 0
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = place.name == str(os.getpid())
            if is_ours or str(home).encode() in (place / "cmdline").read_bytes():
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


home, file, batch_size, wait = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with EmbeddedServer(home=home, config=ServerConfig(home=home, spare_workers=int(wait > 0))) as server:
    endpoint = Endpoint(server.base_url, server.api_key)
    base = next(model for model in endpoint.models() if (model.tailor or {}).get("default"))
    time.sleep(wait)
    begun, processor = time.perf_counter(), processor_seconds(home) if wait else 0.0
    job = endpoint.start(
        JobRequest.model_validate(
            {
                "model": base.id,
                "training_file": endpoint.upload(file).id,
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"batch_size": batch_size, "n_epochs": 1}},
                },
                "tailor": {"hold_out": 0, "warmup_share": 0},
            }
        )
    )
    steps = []
    while not steps and time.perf_counter() - begun < 120:
        time.sleep(0.02)
        steps = [event for event in endpoint.events(job.id) if event.type == "metrics"]
    seconds = time.perf_counter() - begun
    found = {"seconds": seconds, "loss": (steps[0].data or {})["train_loss"]}
    print(json.dumps(found | {"processor_seconds": processor_seconds(home) - processor}), flush=True)
    endpoint.cancel(job.id)
