"""A thread inside the server that sees to it that every job has a worker, and every worker a job.

It keeps nothing that matters: what is running stands in the queue and in the kernel's locks, so a server
that comes back finds its workers again.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import TracebackType

from tailor.errors import StorageFull, TailorError
from tailor.jobs.attempt import DISK_FULL
from tailor.jobs.processes import ABORT_GRACE_SECONDS, WorkerProcess, is_alive, send, start_worker
from tailor.jobs.settings import WorkerSettings
from tailor.jobs.shutdown import EXIT_UNFINISHED
from tailor.store import ClaimPhase, Ending, Job, Store

POLL_SECONDS = 0.5
REAP_SECONDS = 1.0
ROOM_SECONDS = 10.0
FAILED_START_SECONDS = 20.0
"""A worker that fails sooner than this did not get to a job: the next one waits a little."""
MAX_DELAY_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Supervisor:
    """Starts workers, buries dead ones, stops hung ones. Use `start` and `stop`, or as a context manager."""

    def __init__(self, store: Store, settings: WorkerSettings, *, database_url: str | None = None) -> None:
        self._store = store
        self._settings = settings
        self._database_url = database_url
        self._workers: list[WorkerProcess] = []
        self._owners: dict[str, str] = {}
        """Who held each job when we last looked."""
        self._endings: dict[str, Ending] = {}
        """How workers died whose jobs have not been reaped yet."""
        self._aborted: dict[str, float] = {}
        """Hung workers that were told to dump their stacks, and when."""
        self._num_failures = 0
        self._not_before = 0.0
        self._reaped_at = self._room_checked_at = -float("inf")
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to look after the queue."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do: a job was made, resumed or cancelled."""
        self._wake.set()

    def stop(self, *, terminate_workers: bool = False, timeout_seconds: float = 30.0) -> None:
        """Stop looking after the queue.

        Workers go on by themselves and the next server finds them, unless they are to be terminated: then
        each saves its state and gives its job back to the queue, at most `timeout_seconds` from now.
        """
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if terminate_workers:
            self._terminate(timeout_seconds)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(terminate_workers=True)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._turn()
            except TailorError as error:
                _log.warning("the supervisor will try again: %s", error.message)
            except Exception:
                _log.exception("the supervisor stumbled")
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def _turn(self) -> None:
        now = time.monotonic()
        self._collect()
        if now - self._reaped_at >= REAP_SECONDS:
            self._reaped_at = now
            self._reap()
        if now - self._room_checked_at >= ROOM_SECONDS:
            self._room_checked_at = now
            self._resume_if_there_is_room()
        if now >= self._not_before:
            self._staff(self._store.queue.held())

    def _collect(self) -> None:
        """Take note of workers that have ended, so that none of them stays a zombie."""
        for worker in list(self._workers):
            status = worker.process.poll()
            if status is None:
                continue
            self._workers.remove(worker)
            self._endings[worker.id] = worker.ending()
            # Dead by a signal or given up: its job is back in the queue as soon as it is reaped.
            self._reaped_at = -float("inf")
            is_failure = status not in (0, EXIT_UNFINISHED)
            if is_failure and time.monotonic() - worker.begun_at < FAILED_START_SECONDS:
                self._num_failures += 1
                delay = min(2.0 ** (self._num_failures - 1), MAX_DELAY_SECONDS)
                self._not_before = time.monotonic() + delay
                _log.warning("a %s worker ended with status %s; see home/logs", worker.phase, status)
            elif not is_failure:
                self._num_failures = 0

    def _reap(self) -> None:
        """Give the jobs of dead or silent workers back to the queue, and make sure that they are dead."""
        for job in self._store.queue.reap(self._ending_of):
            owner = self._owners.get(job.id)
            if owner is not None and is_alive(owner):
                _log.warning("the worker of %s hangs; it is told to say where", job.id)
                send(owner, signal.SIGABRT)
                self._aborted[owner] = time.monotonic()
        self._endings.clear()
        self._owners = {job.id: job.owner for job in self._store.queue.held() if job.owner is not None}
        for owner, since in list(self._aborted.items()):
            if not is_alive(owner):
                del self._aborted[owner]
            elif time.monotonic() - since > ABORT_GRACE_SECONDS:
                send(owner, signal.SIGKILL)

    def _ending_of(self, owner: str) -> Ending:
        """How the holder of a job died; nothing is known of a worker that an earlier server started."""
        alive = {worker.id: worker for worker in self._workers}
        return alive[owner].ending() if owner in alive else self._endings.get(owner, "crashed")

    def _resume_if_there_is_room(self) -> None:
        try:
            self._store.require_room()
        except StorageFull:
            return
        self._store.queue.resume_paused(DISK_FULL)

    def _staff(self, held: tuple[Job, ...]) -> None:
        """Start the workers that are missing."""
        queue = self._store.queue
        num_unchecked = queue.waiting("validate")
        num_spare = self._settings.num_spare
        if (num_unchecked or num_spare) and not self._idle("validate", held) and not _num(held, "validate"):
            self._hire("validate")
        # Jobs that are being checked will want to train in a moment: the worker can get ready meanwhile.
        num_coming = num_unchecked + _num(held, "validate") + queue.waiting("train")
        num_free = self._settings.max_training - _num(held, "train")
        for _ in range(min(max(num_coming, num_spare), num_free) - len(self._idle("train", held))):
            self._hire("train")

    def _idle(self, phase: ClaimPhase, held: tuple[Job, ...]) -> list[WorkerProcess]:
        """Our workers that hold no job."""
        owners = {job.owner for job in held}
        return [worker for worker in self._workers if worker.phase == phase and worker.id not in owners]

    def _hire(self, phase: ClaimPhase) -> None:
        self._workers.append(
            start_worker(self._store.home, phase, self._settings, database_url=self._database_url)
        )

    def _terminate(self, timeout_seconds: float) -> None:
        """Stop all workers of this home, ours and those that an earlier server left; kill the slow."""
        names = {worker.id for worker in self._workers} | {
            job.owner for job in self._store.queue.held() if job.owner is not None
        }
        for name in names:
            send(name, signal.SIGTERM)
        until = time.monotonic() + timeout_seconds
        while any(map(_is_running, self._workers)) or any(map(is_alive, names)):
            if time.monotonic() > until:
                for name in names:
                    send(name, signal.SIGKILL)
                until = float("inf")
            time.sleep(0.05)
        self._workers.clear()
        self._store.queue.reap()


def _num(held: tuple[Job, ...], phase: ClaimPhase) -> int:
    """How many jobs are held for a phase."""
    status = "running" if phase == "train" else "validating_files"
    return sum(job.status == status for job in held)


def _is_running(worker: WorkerProcess) -> bool:
    return worker.process.poll() is None
