"""Base and version under examination: how likely they find the expected answers, and what they answer."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from tailor.evals.items import Item
from tailor.inference import (
    EngineLimits,
    GenerationRequest,
    LocalEngine,
    ModelFacts,
    ModelKey,
    SamplingParameters,
    ServedModel,
)
from tailor.models import (
    LoadedModel,
    SavedAdapter,
    base_quantization,
    is_adapter,
    load_adapter,
    load_base,
    load_version,
    make_dense,
    read_adapter,
)
from tailor.training import ExampleScore, TokenizedExample, score
from tailor.training.selfcheck import switch_to_plain

Arm = Literal["base", "version"]

NUM_TOGETHER = 32
"""Items scored or answered at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model answered, taking the likeliest token at each place."""

    text: str
    num_tokens: int
    seconds: float
    """From asking to the last token, together with the others of its batch."""
    is_complete: bool
    """False if it was cut off at the token limit."""


class Pair(Protocol):
    """The two models. Results come in the order of what is given."""

    def scores(self, arm: Arm, examples: Sequence[TokenizedExample]) -> Iterator[ExampleScore]:
        """How likely a model finds the answers of each example."""
        ...

    def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
        """A model's own answer to each item's prompt."""
        ...


class LocalPair:
    """Both models on this machine, from the files that are served.

    The base is in memory once, or twice where the version was trained on a rounded one.
    Ask for all scores before any answer, and for the base's scores before the version's: going back
    loads the base again. Use as a context manager.
    """

    def __init__(
        self, *, base: Path, version: Path, dtype: str, context_length: int, is_packed: bool = True
    ) -> None:
        """`is_packed=False`: training's self-check found that this model is not exact when packed."""
        self._is_packed = is_packed
        self._context_length = context_length
        self._base = base
        self._version = version
        self._dtype = dtype
        self._is_adapter = is_adapter(version)
        self._quantization = base_quantization(version) if self._is_adapter else None
        self._scored: tuple[Arm, LoadedModel] | None = None
        self._engine: LocalEngine | None = None

    def __enter__(self) -> LocalPair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.close()

    def scores(self, arm: Arm, examples: Sequence[TokenizedExample]) -> Iterator[ExampleScore]:
        """How likely a model finds the answers of each example."""
        loaded = self._loaded(arm)
        for begin in range(0, len(examples), NUM_TOGETHER):
            yield from score(loaded, examples[begin : begin + NUM_TOGETHER])

    def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
        """A model's own answer to each item's prompt."""
        engine = self._started_engine()
        parameters = SamplingParameters(max_tokens=max_tokens, temperature=0.0)
        requests = [
            GenerationRequest(model=self._key(arm), prompt_ids=item.prompt_ids, parameters=parameters)
            for item in items
        ]
        for begin in range(0, len(requests), NUM_TOGETHER):
            for result in engine.generate(requests[begin : begin + NUM_TOGETHER]):
                choice = result.choices[0]
                yield Answer(
                    text=choice.text,
                    num_tokens=choice.num_tokens,
                    seconds=result.seconds,
                    is_complete=choice.finish_reason == "stop",
                )

    def facts(self, key: ModelKey) -> ModelFacts:
        """For the engine: context length and size."""
        stored = sum(path.stat().st_size for path in self._directory(key).glob("*.safetensors"))
        return ModelFacts(context_length=self._context_length, num_bytes=stored)

    def model(self, key: ModelKey) -> ServedModel:
        """For the engine: the base, or a fully trained version."""
        loaded = load_base(self._directory(key), dtype=self._dtype, quantization=key.quantization)
        make_dense(loaded.model)
        return loaded

    def adapter(self, key: ModelKey) -> SavedAdapter:
        """For the engine: the version's adapter."""
        return read_adapter(self._directory(key))

    def _loaded(self, arm: Arm) -> LoadedModel:
        if self._scored is not None and self._scored[0] == arm:
            return self._scored[1]
        before, self._scored = self._scored, None
        if arm == "version" and self._is_adapter and not self._quantization and before is not None:
            loaded = before[1]
            load_adapter(loaded, self._version)
            loaded.model.requires_grad_(False)
        else:
            del before
            loaded = (
                load_version(self._version, self._base, dtype=self._dtype)
                if arm == "version"
                else load_base(self._base, dtype=self._dtype)
            )
        if not self._is_packed:
            switch_to_plain(loaded)
        self._scored = (arm, loaded)
        return loaded

    def _started_engine(self) -> LocalEngine:
        if self._engine is None:
            self._scored = None
            gc.collect()
            self._engine = LocalEngine(self, EngineLimits(max_running=NUM_TOGETHER))
            self._engine.start()
        return self._engine

    def _key(self, arm: Arm) -> ModelKey:
        if arm == "base":
            return ModelKey(base="base")
        kind: Literal["adapter", "full"] = "adapter" if self._is_adapter else "full"
        return ModelKey(base="base", version="version", kind=kind, quantization=self._quantization)

    def _directory(self, key: ModelKey) -> Path:
        return self._base if key.version is None else self._version
