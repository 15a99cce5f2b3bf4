"""The engine as the server has it: loaded in the background, waited for, watched."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from tailor.errors import Unavailable
from tailor.store import Store

if TYPE_CHECKING:
    from tailor.inference import Engine

log = logging.getLogger("tailor.server")

STUCK_SECONDS = 60.0
"""A running engine that has written nothing for this long is not ready."""

_RETRY_SECONDS = 2.0


class BackgroundEngine:
    """An engine that is built in a thread of its own: importing torch and loading weights takes seconds."""

    def __init__(self, build: Callable[[], Engine]) -> None:
        self._build = build
        self._built: Future[Engine] = Future()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="tailor-engine-start", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    async def get(self) -> Engine:
        """The engine, waited for if need be; raises Unavailable when it could not be built."""
        return await asyncio.shield(asyncio.wrap_future(self._built))

    def check_ready(self) -> None:
        """Raise Unavailable unless the engine can take a request and, if it is at work, makes progress."""
        if not self._built.done():
            raise Unavailable(
                "The engine is loading.", code="engine_loading", retry_after_seconds=_RETRY_SECONDS
            )
        health = self._built.result().health()
        now = time.monotonic()
        self._busy_since = (self._busy_since or now) if health.running else None
        if self._busy_since is None:
            return
        # After a pause the last token is old although the new work has only just begun.
        silent = min(health.seconds_since_last_token or math.inf, now - self._busy_since)
        if silent > STUCK_SECONDS:
            raise Unavailable(f"The engine has written nothing for {silent:.0f} s.", code="engine_stuck")

    def figures(self) -> dict[str, Any]:
        """Figures for people and dashboards."""
        if not self._built.done():
            return {"status": "loading"}
        if self._built.exception() is not None:
            return {"status": "failed"}
        health = self._built.result().health()
        return {
            "status": "ready",
            "running": health.running,
            "queued": health.queued,
            "queued_prompt_tokens": health.queued_prompt_tokens,
            "tokens_per_second": health.tokens_per_second,
            "seconds_since_last_token": health.seconds_since_last_token,
            "weights_bytes": health.weights_bytes,
            "cache_bytes": health.cache_bytes,
        }

    def close(self) -> None:
        """Stop the engine, once it has been built."""
        if self._thread.ident is None:
            return
        self._thread.join()
        if self._built.exception() is None:
            self._built.result().close()

    def _run(self) -> None:
        try:
            self._built.set_result(self._build())
        except Exception as error:
            log.exception("the engine could not be started")
            self._built.set_exception(
                Unavailable(f"The engine could not be started: {error}", code="engine_failed")
            )


def local_engine(store: Store) -> Engine:
    """The embedded engine over the store's weights, with the default base loaded and tried."""
    # Before torch is imported: threads that spin while they wait take the cores from a training worker.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from tailor.inference import GenerationRequest, LocalEngine, ModelKey, SamplingParameters
    from tailor.server.weights import StoredWeights

    engine = LocalEngine(StoredWeights(store))
    engine.start()
    base = store.bases.default()
    if base is not None:
        one_token = SamplingParameters(max_tokens=1, temperature=0.0)
        engine.generate(
            [GenerationRequest(model=ModelKey(base=base.digest), prompt_ids=(0,), parameters=one_token)]
        )
    return engine
