"""Answering with a model: continuous batching, many versions over one base in memory once; and upstreams.

Names are imported when they are first used: upstreams need no torch, and neither does `tailor doctor`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailor.inference.admission import EngineLimits
    from tailor.inference.engine import (
        Candidate,
        Engine,
        EngineHealth,
        FinishReason,
        GenerationChunk,
        GenerationRequest,
        GenerationResult,
        Headroom,
        ModelFacts,
        ModelKey,
        ModelSource,
        SamplingParameters,
        ServedModel,
        TokenLogprob,
    )
    from tailor.inference.local import LocalEngine
    from tailor.inference.stream import Generation
    from tailor.inference.writing import Writer, WrittenAnswer

_MODULES = {
    "admission": ("EngineLimits",),
    "engine": (
        "Candidate",
        "Engine",
        "EngineHealth",
        "FinishReason",
        "GenerationChunk",
        "GenerationRequest",
        "GenerationResult",
        "Headroom",
        "ModelFacts",
        "ModelKey",
        "ModelSource",
        "SamplingParameters",
        "ServedModel",
        "TokenLogprob",
    ),
    "local": ("LocalEngine",),
    "stream": ("Generation",),
    "writing": ("Writer", "WrittenAnswer"),
}

__all__ = [
    "Candidate",
    "Engine",
    "EngineHealth",
    "EngineLimits",
    "FinishReason",
    "Generation",
    "GenerationChunk",
    "GenerationRequest",
    "GenerationResult",
    "Headroom",
    "LocalEngine",
    "ModelFacts",
    "ModelKey",
    "ModelSource",
    "SamplingParameters",
    "ServedModel",
    "TokenLogprob",
    "Writer",
    "WrittenAnswer",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"tailor.inference.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
