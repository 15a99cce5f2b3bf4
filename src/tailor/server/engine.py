"""The engine as the server has it: built in the background, waited for, watched, and built anew."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tailor.errors import Unavailable
from tailor.server.selftest import SelfTest
from tailor.store import Store

if TYPE_CHECKING:
    from tailor.inference import Engine, Headroom

log = logging.getLogger("tailor.server")

READY_SECONDS = 20.0
"""An engine that has not moved for this long is not ready."""

_RETRY_SECONDS = 2.0
_MAX_DELAY_SECONDS = 60.0
_CARD_WEIGHTS_SHARE, _CARD_CACHE_SHARE = 0.3, 0.1
"""Of a card's memory, for loaded models and for running answers."""
_CARD_TOKENS = 2048
"""In one run of a model there."""


class BackgroundEngine:
    """An engine that is built in a thread of its own: importing torch and loading weights takes seconds.

    The thread then watches over it. An engine that has died, hangs or fails its self-test is given up: its
    requests end with a 503, and those that come meanwhile wait for the next engine.
    """

    def __init__(
        self,
        build: Callable[[], Engine],
        *,
        stuck_seconds: float = 60.0,
        idle_seconds: float = 30.0,
        poll_seconds: float = 1.0,
    ) -> None:
        """`stuck_seconds` without progress mean a restart, `idle_seconds` without a request a self-test."""
        self._build = build
        self._stuck_seconds = stuck_seconds
        self._idle_seconds = idle_seconds
        self._poll_seconds = poll_seconds
        self._built: Future[Engine] = Future()
        self._silent_seconds = 0.0
        self._num_restarts = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tailor-engine-watch", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    async def get(self) -> Engine:
        """The engine, waited for if need be; raises Unavailable when it could not be built."""
        while True:
            engine = await asyncio.shield(asyncio.wrap_future(self._built))
            if engine.health().is_alive or self._ended.is_set():
                return engine
            await asyncio.sleep(self._poll_seconds)  # it is about to be replaced

    def check_ready(self) -> None:
        """Raise Unavailable unless the engine can take a request and makes progress."""
        built = self._built
        if not built.done():
            raise Unavailable(
                "The engine is loading.", code="engine_loading", retry_after_seconds=_RETRY_SECONDS
            )
        if not built.result().health().is_alive:
            raise Unavailable(
                "The engine has died and will be restarted.",
                code="engine_dead",
                retry_after_seconds=_RETRY_SECONDS,
            )
        if self._silent_seconds > READY_SECONDS:
            raise Unavailable(
                f"The engine has not moved for {self._silent_seconds:.0f} s.",
                code="engine_stuck",
                retry_after_seconds=_RETRY_SECONDS,
            )

    def headroom(self, tenant: str) -> Headroom | None:
        """What a tenant may still send; None while there is no engine."""
        built = self._built
        if not built.done() or built.exception() is not None:
            return None
        return built.result().headroom(tenant)

    def figures(self) -> dict[str, Any]:
        """Figures for people and dashboards."""
        built = self._built
        if not built.done():
            return {"status": "loading", "restarts": self._num_restarts}
        if built.exception() is not None:
            return {"status": "failed", "restarts": self._num_restarts}
        health = built.result().health()
        return {
            "status": "ready",
            "restarts": self._num_restarts,
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
        self._ended.set()
        self._thread.join()
        if self._built.done() and self._built.exception() is None:
            self._built.result().close()

    def _run(self) -> None:
        """The thread: one engine after the other, until closed."""
        delay = _RETRY_SECONDS
        while not self._ended.is_set():
            engine = self._try_to_build(delay)
            if engine is None:
                self._ended.wait(delay)
                delay = min(2 * delay, _MAX_DELAY_SECONDS)
            else:
                fault = self._watch(engine)
                if fault is None:
                    return
                log.error("the engine is restarted: %s", fault)
                delay = _RETRY_SECONDS
                self._num_restarts += 1
            if not self._ended.is_set():
                self._built = Future()
                if engine is not None:
                    engine.close(reason=_given_up())

    def _try_to_build(self, delay: float) -> Engine | None:
        try:
            engine = self._build()
        except Exception as error:
            log.exception("the engine could not be started")
            self._built.set_exception(
                Unavailable(
                    f"The engine could not be started: {error}",
                    code="engine_failed",
                    retry_after_seconds=delay,
                )
            )
            return None
        self._built.set_result(engine)
        return engine

    def _watch(self, engine: Engine) -> str | None:
        """What is wrong with the engine, once something is; None once nobody needs it any more.

        Silence is counted in our own looks: while this process is stopped, neither of us moves.
        """
        self._silent_seconds = 0.0
        progress: int | None = None
        self_test = SelfTest(engine, every_seconds=self._idle_seconds)
        while not self._ended.wait(self._poll_seconds):
            health = engine.health()
            has_moved = health.progress != progress
            progress = health.progress
            self._silent_seconds = 0.0 if has_moved else self._silent_seconds + self._poll_seconds
            if not health.is_alive:
                return "its thread has died"
            if self._silent_seconds >= self._stuck_seconds:
                return f"it has not moved for {self._silent_seconds:.0f} s"
            fault = self_test.look(health, seconds=self._poll_seconds)
            if fault is not None:
                return f"it failed its self-test: {fault}"
        return None


def local_engine(store: Store) -> Engine:
    """The embedded engine over the store's weights, with the default base loaded and tried."""
    # Before torch is imported: threads that spin while they wait take the cores from a training worker.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from tailor.inference import EngineLimits, GenerationRequest, LocalEngine, ModelKey, SamplingParameters
    from tailor.models import total_device_bytes
    from tailor.server.weights import StoredWeights

    limits, on_card = EngineLimits(), total_device_bytes()
    if on_card is not None:  # the rest is for the worker that trains
        weights, cache = (round(share * on_card) for share in (_CARD_WEIGHTS_SHARE, _CARD_CACHE_SHARE))
        limits = replace(limits, weights_bytes=weights, cache_bytes=cache, max_tokens_per_step=_CARD_TOKENS)
    engine = LocalEngine(StoredWeights(store), limits)
    engine.start()
    base = store.bases.default()
    if base is not None:
        one_token = SamplingParameters(max_tokens=1, temperature=0.0)
        engine.generate(
            [GenerationRequest(model=ModelKey(base=base.digest), prompt_ids=(0,), parameters=one_token)]
        )
    return engine


def _given_up() -> Unavailable:
    return Unavailable(
        "The engine stopped while it was answering and is being restarted.",
        code="engine_restarted",
        remedy="Send the request again.",
        retry_after_seconds=_RETRY_SECONDS,
    )
