"""Answering with a model: continuous batching, many versions over one base in memory once."""

from tailor.inference.admission import EngineLimits
from tailor.inference.engine import (
    AdapterWeights,
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

__all__ = [
    "AdapterWeights",
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
]
