"""Real jobs over a tiny base, worked on inside the test's own process unless a test says otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.jobs.settings import WorkerSettings
from tailor.jobs.shutdown import Shutdown
from tailor.jobs.worker import Worker
from tailor.store import Job, Store
from tests.faults.scene import TENANT, add_base, add_job, open_store, training_rows
from tests.models.tiny import tiny_directory

Work = Callable[..., Job]
At = Callable[[str, Callable[[], object]], None]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("bases") / "tiny", vocab_size=8192)


@pytest.fixture
def store(tiny_base: Path) -> Iterator[Store]:
    with a_store(tiny_base) as opened:
        yield opened


@pytest.fixture(scope="module")
def finished(tiny_base: Path) -> Iterator[tuple[Store, Job]]:
    """A small job that has run its course, to look at."""
    with a_store(tiny_base) as opened:
        yield opened, rest(opened, new_small_job(opened))


@contextmanager
def a_store(base: Path) -> Iterator[Store]:
    # Memory is a quick disk: these tests wait for many fsyncs.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="tailor-jobs-", dir=memory if memory.is_dir() else None
    ) as directory:
        opened = open_store(Path(directory) / "home")
        add_base(opened, base)
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def undisturbed_torch() -> Iterator[None]:
    """Workers fix threads and kernels for their whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def small_job(store: Store) -> Job:
    """Twelve steps in two epochs."""
    return new_small_job(store)


@pytest.fixture
def work(store: Store) -> Work:
    """Let workers go on with a job, phase by phase, until it rests; the job then."""

    return lambda job, **more: rest(store, job, **more)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Do something once, in the worker, when it passes a named point (`name:n`: for the n-th time)."""

    def patch(point: str, action: Callable[[], object]) -> None:
        name, _, count = point.partition(":")
        left = [int(count or 1)]

        def reach(passed: str) -> None:
            if passed == name:
                left[0] -= 1
                if left[0] == 0:
                    action()

        for module in ("jobs.tune", "jobs.fit", "jobs.publish", "jobs.validate", "store.lease"):
            monkeypatch.setattr(f"tailor.{module}.reach", reach)

    return patch


def rest(store: Store, job: Job, *, shutdown: Shutdown | None = None) -> Job:
    """Work on the job until it rests."""
    for _ in range(3):
        now = store.jobs.get(TENANT, job.id)
        if now.status not in ("validating_files", "queued"):
            break
        work_once(store, now, shutdown=shutdown)
        if shutdown is not None and shutdown.is_asked:
            break
    return store.jobs.get(TENANT, job.id)


def work_once(store: Store, job: Job, *, shutdown: Shutdown | None = None) -> int:
    phase: Any = "validate" if job.status == "validating_files" else "train"
    settings = WorkerSettings(num_threads=1, idle_seconds=0.0)
    return Worker(store=store, settings=settings, shutdown=shutdown or Shutdown(), phase=phase).run()


def new_small_job(store: Store, **options: Any) -> Job:
    return add_job(store, rows=training_rows(28), epochs=2, **({"hold_out": 4} | options))


def log_of(store: Store, job: Job) -> list[str]:
    return [event.message for event in reversed(store.jobs.events(TENANT, job.id, limit=1000).items)]
