"""Serving many versions at once: 64 streams over 16 adapters on one base.

Ours against `transformers` generate with one PEFT adapter after the other (each with its own batch) and
against PEFT's mixed batch (`adapter_names`). All in fp32, greedy, every stream the same number of tokens,
which favours static batches. Rounds alternate between the three; the median ratio counts. The text of all
streams must be that of generate.

    python benchmarks/serving.py [--smoke] [--rounds 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM

from tailor.inference import (
    EngineLimits,
    GenerationRequest,
    LocalEngine,
    ModelFacts,
    ModelKey,
    SamplingParameters,
    ServedModel,
)
from tailor.models import Lora, SavedAdapter, embedded_directory, linear_layers, load_base

RESULTS = Path(__file__).parent / "results" / "serving.jsonl"
RANK, SCALING = 16, 2.0
TOPICS = ("the sea", "bread", "a long winter", "trains", "tea", "the moon", "cats", "an old house")


class Source:
    """The embedded base and adapters made up here."""

    def __init__(self, adapters: dict[str, SavedAdapter]) -> None:
        self._adapters = adapters

    def facts(self, key: ModelKey) -> ModelFacts:
        return ModelFacts(context_length=1024, num_bytes=1 << 24)

    def model(self, key: ModelKey) -> ServedModel:
        return load_base(embedded_directory())

    def adapter(self, key: ModelKey) -> SavedAdapter:
        return self._adapters[str(key.version)]


def random_adapter(seed: int) -> SavedAdapter:
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for path, layer in linear_layers(load_base(embedded_directory()).model).items():
        down = torch.randn(RANK, layer.in_features, generator=random) / layer.in_features**0.5
        weights[f"{path}.lora_A.weight"] = down
        weights[f"{path}.lora_B.weight"] = torch.randn(layer.out_features, RANK, generator=random) * 0.02
    return SavedAdapter(method=Lora(rank=RANK, alpha=SCALING * RANK), weights=weights)


def under_peft(adapters: dict[str, SavedAdapter]) -> Any:
    model = AutoModelForCausalLM.from_pretrained(embedded_directory(), dtype=torch.float32).eval()
    names = list(adapters)
    targets = [n.removesuffix(".lora_A.weight") for n in adapters[names[0]].weights if "lora_A" in n]
    config = peft.LoraConfig(r=RANK, lora_alpha=SCALING * RANK, target_modules=targets, task_type="CAUSAL_LM")
    tuned = peft.get_peft_model(model, config, adapter_name=names[0])
    for name in names[1:]:
        tuned.add_adapter(name, config)
    with torch.no_grad():
        for name, adapter in adapters.items():
            for path in targets:
                layer = model.get_submodule(path)
                layer.lora_A[name].weight.copy_(adapter.weights[f"{path}.lora_A.weight"])
                layer.lora_B[name].weight.copy_(adapter.weights[f"{path}.lora_B.weight"])
    return tuned.eval()


def left_padded(prompts: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts]),
        "attention_mask": torch.tensor(
            [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        ),
    }


class Bench:
    """One workload and the three ways to serve it; each returns the ids of all streams."""

    def __init__(self, num_streams: int, num_adapters: int, num_tokens: int) -> None:
        self.num_streams, self.num_tokens = num_streams, num_tokens
        self.adapters = {f"version-{index}": random_adapter(index) for index in range(num_adapters)}
        names = list(self.adapters)
        self.names = [names[index % num_adapters] for index in range(num_streams)]
        template = load_base(embedded_directory()).template
        self.prompts = [
            template.render(
                [{"role": "user", "content": f"Tell me {'more ' * (index % 23)}about {TOPICS[index % 8]}."}],
                add_generation_prompt=True,
            ).ids
            for index in range(num_streams)
        ]
        self.tuned = under_peft(self.adapters)
        self.engine = LocalEngine(Source(self.adapters), EngineLimits(max_running=num_streams))
        self.engine.start()

    def ours(self) -> list[list[int]]:
        parameters = SamplingParameters(temperature=0, max_tokens=self.num_tokens, logit_bias={2: -1000.0})
        requests = [
            GenerationRequest(
                model=ModelKey(base="embedded", version=name, kind="adapter"),
                prompt_ids=prompt,
                parameters=parameters,
            )
            for name, prompt in zip(self.names, self.prompts, strict=True)
        ]
        return [list(result.choices[0].token_ids) for result in self.engine.generate(requests)]

    def adapter_by_adapter(self) -> list[list[int]]:
        written: dict[int, list[int]] = {}
        for name in self.adapters:
            self.tuned.set_adapter(name)
            streams = [index for index, other in enumerate(self.names) if other == name]
            rows = self._generate([self.prompts[index] for index in streams])
            written.update(zip(streams, rows, strict=True))
        return [written[index] for index in range(self.num_streams)]

    def mixed_by_peft(self) -> list[list[int]]:
        return self._generate(self.prompts, adapter_names=self.names)

    def _generate(self, prompts: list[list[int]], **more: Any) -> list[list[int]]:
        inputs = left_padded(prompts)
        with torch.inference_mode():
            rows = self.tuned.generate(
                **inputs,
                do_sample=False,
                min_new_tokens=self.num_tokens,
                max_new_tokens=self.num_tokens,
                pad_token_id=0,
                **more,
            )
        new: list[list[int]] = rows[:, inputs["input_ids"].shape[1] :].tolist()
        return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="8 streams over 4 adapters, 16 tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    size = (8, 4, 16) if arguments.smoke else (64, 16, 64)
    bench = Bench(*size)
    ways: dict[str, Callable[[], list[list[int]]]] = {
        "tailor": bench.ours,
        "generate_per_adapter": bench.adapter_by_adapter,
        "peft_mixed_batch": bench.mixed_by_peft,
    }
    bench.ours()  # load base and adapters
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    written: dict[str, list[list[int]]] = {}
    for _ in range(1 if arguments.smoke else arguments.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            written[name] = way()
            seconds[name].append(time.perf_counter() - start)
    bench.engine.close()
    total = bench.num_streams * bench.num_tokens

    def ratio(opponent: str) -> dict[str, float]:
        ratios = [theirs / ours for theirs, ours in zip(seconds[opponent], seconds["tailor"], strict=True)]
        return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}

    def same(name: str) -> int:
        pairs = zip(written["tailor"], written[name], strict=True)
        return sum(ours == theirs for ours, theirs in pairs)

    opponents = [name for name in ways if name != "tailor"]
    line = {
        "benchmark": "serving",
        "streams": size[0],
        "adapters": size[1],
        "tokens_per_stream": size[2],
        "rank": RANK,
        "dtype": "float32",
        "threads": arguments.threads,
        "tokens_per_second": {
            name: round(total / statistics.median(times)) for name, times in seconds.items()
        },
        "ratio": {name: ratio(name) for name in opponents},
        "streams_with_the_same_text": {name: same(name) for name in opponents},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, peft)},
    }
    print(json.dumps(line))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
