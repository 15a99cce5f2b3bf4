"""Where the tests' engines get their weights, and short ways to ask."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from tailor.errors import NotFound
from tailor.inference import (
    GenerationRequest,
    ModelFacts,
    ModelKey,
    SamplingParameters,
    ServedModel,
)
from tailor.models import (
    LoadedModel,
    Lora,
    SavedAdapter,
    TokenTable,
    embedded_directory,
    linear_layers,
    load_base,
)

BASE = ModelKey(base="embedded")
QUESTIONS = (
    "Hello there",
    "What is the capital of France?",
    "1+1=",
    "Write a poem about the sea. " * 12,
    "Grüße, 日本 😀?",
    "Is a cat an animal? Answer yes or no.",
)


@dataclass
class Shop:
    """A `ModelSource` over the embedded base that counts its loads."""

    adapters: dict[str, SavedAdapter] = field(default_factory=dict)
    models: dict[str, ServedModel] = field(default_factory=dict)
    num_bytes: int = 1 << 20
    context_length: int = 1024
    gate: threading.Event | None = None
    loads: list[str] = field(default_factory=list)

    def facts(self, key: ModelKey) -> ModelFacts:
        if key.version is not None and key.version not in self.adapters and key.version not in self.models:
            raise NotFound(f"no version {key.version}")
        return ModelFacts(context_length=self.context_length, num_bytes=self.num_bytes)

    def model(self, key: ModelKey) -> ServedModel:
        self.loads.append(key.version or key.base)
        return self.models.get(key.version or key.base) or load_base(embedded_directory())

    def adapter(self, key: ModelKey) -> SavedAdapter:
        self.loads.append(str(key.version))
        if self.gate is not None:
            self.gate.wait(20)
        return self.adapters[str(key.version)]


def adapter_key(name: str) -> ModelKey:
    return ModelKey(base="embedded", version=name, kind="adapter")


def random_adapter(
    loaded: LoadedModel, *, rank: int, seed: int, only: str = "", scale: float = 0.05
) -> SavedAdapter:
    """Large enough to change what the model says."""
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for path, layer in linear_layers(loaded.model).items():
        if path.endswith(only):
            size_in, size_out = layer.in_features, layer.out_features
            down = torch.randn(rank, size_in, generator=random) / size_in**0.5
            weights[f"{path}.lora_A.weight"] = down
            weights[f"{path}.lora_B.weight"] = torch.randn(size_out, rank, generator=random) * scale
    return SavedAdapter(method=Lora(rank=rank, alpha=1.5 * rank), weights=weights)


def prompts(loaded: LoadedModel, questions: Sequence[str] = QUESTIONS) -> list[list[int]]:
    return [
        loaded.template.render([{"role": "user", "content": text}], add_generation_prompt=True).ids
        for text in questions
    ]


def ask(prompt: Sequence[int], model: ModelKey = BASE, *, n: int = 1, **parameters: Any) -> GenerationRequest:
    """Greedy and short unless told otherwise."""
    asked = SamplingParameters(**{"temperature": 0.0, "max_tokens": 24} | parameters)
    return GenerationRequest(model=model, prompt_ids=prompt, parameters=asked, n=n)


def greedy_ids(oracle: Any, prompt: Sequence[int], num_tokens: int = 24) -> list[int]:
    """What transformers writes, up to the end of its turn, as it is shown."""
    written: list[int] = oracle.generate(
        torch.tensor([list(prompt)]), max_new_tokens=num_tokens, do_sample=False, pad_token_id=0
    )[0, len(prompt) :].tolist()
    return shown(written[: written.index(2)] if 2 in written else written)


def shown(ids: Sequence[int]) -> list[int]:
    """Without special tokens and without the beginning of a character that never became whole."""
    table = spelling()
    kept = [token_id for token_id in ids if not table.is_special(token_id)]
    while kept and (half := open_bytes([table.bytes_of(token_id) for token_id in kept])):
        if half < len(table.bytes_of(kept[-1])):
            break
        kept.pop()
    return kept


def open_bytes(pieces: Sequence[bytes]) -> int:
    """Bytes at the end that Python's own decoder waits to complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(b"".join(pieces))
    return len(decoder.getstate()[0])


@cache
def spelling() -> TokenTable:
    """Of the embedded base."""
    return TokenTable(load_base(embedded_directory()).tokenizer)
