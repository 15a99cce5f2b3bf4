"""Does the runs of evals that wait: a task on the server's event loop, beside the engine that it asks.

It keeps nothing that matters: what is done stands in the store, so a server that comes back goes on.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from tailor.errors import StorageFull, TailorError, Unavailable
from tailor.evals.runs import Means, execute
from tailor.jobs.worker import process_id
from tailor.store import EvalLease, LeaseLost

log = logging.getLogger(__name__)

MAX_RUNS: Final = 4
"""Runs worked on at once."""
POLL_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 10.0


class EvalRunner:
    """Claims runs and executes them. For one event loop."""

    def __init__(self, means: Means, *, max_runs: int = MAX_RUNS) -> None:
        self._means = means
        self._queue = means.store.eval_queue
        self._max_runs = max_runs
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """There is a new run; from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: the next server finds the run
                self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Work until cancelled; then give back what is not finished."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._turn()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
                self._wake.clear()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _turn(self) -> None:
        try:
            await asyncio.to_thread(self._queue.reap)
            while len(self._running) < self._max_runs and await asyncio.to_thread(self._queue.is_waiting):
                lease = await asyncio.to_thread(self._queue.claim, process_id())
                if lease is None:
                    return
                task = asyncio.create_task(self._execute(lease))
                self._running.add(task)
                task.add_done_callback(self._done)
        except TailorError as error:
            log.warning("runs of evals will be looked for again: %s", error.message)
        except Exception:
            log.exception("the runner of evals stumbled")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _execute(self, lease: EvalLease) -> None:
        run = lease.run
        try:
            await execute(lease, self._means)
        except asyncio.CancelledError:
            with suppress(TailorError):
                lease.release()
            raise
        except (Unavailable, StorageFull) as error:
            log.warning("run %s waits: %s", run.id, error.message)
            await asyncio.sleep(_PAUSE_SECONDS)
            with suppress(TailorError):
                lease.release()
        except LeaseLost:
            log.info("run %s is no longer wanted", run.id)
        except Exception:
            # Whatever it was, the next attempt may fare better; after three without progress it fails.
            log.exception("run %s stumbled", run.id)
        finally:
            lease.close()
