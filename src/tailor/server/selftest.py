"""A question to an idle engine every now and then: whether it would answer if somebody asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tailor.errors import TailorError, Unavailable

if TYPE_CHECKING:
    from tailor.inference import Engine, EngineHealth, Generation


class SelfTest:
    """One greedy token from a loaded model, through the real path. Waits for nothing: look now and then."""

    def __init__(self, engine: Engine, *, every_seconds: float) -> None:
        """`every_seconds`: after how long without work the engine is asked."""
        self._engine = engine
        self._every_seconds = every_seconds
        self._idle_seconds = 0.0
        self._asked: Generation | None = None

    def look(self, health: EngineHealth, *, seconds: float) -> str | None:
        """Ask if it is time to, see what came of it; what is wrong, if something is.

        `seconds` have passed since the last look.
        """
        if self._asked is not None:
            return self._outcome(self._asked) if self._asked.is_ended else None
        is_idle = not health.running and not health.queued
        self._idle_seconds = self._idle_seconds + seconds if is_idle else 0.0
        if self._idle_seconds >= self._every_seconds:
            self._ask(health)
        return None

    def _ask(self, health: EngineHealth) -> None:
        from tailor.inference import GenerationRequest, SamplingParameters

        self._idle_seconds = 0.0
        # A base, not somebody's version: what a version does wrong is no fault of the engine.
        for model in [key for key in health.models if key.kind == "base"][:1]:
            one_token = SamplingParameters(max_tokens=1, temperature=0.0)
            try:
                self._asked = self._engine.submit(
                    GenerationRequest(model=model, prompt_ids=(0,), parameters=one_token)
                )
            except TailorError:
                return  # busy after all, or the model is on its way out

    def _outcome(self, asked: Generation) -> str | None:
        self._asked = None
        try:
            list(asked)
        except Unavailable:
            return None  # it waited behind others: the engine is not idle any more
        except TailorError as error:
            return error.message
        return None
