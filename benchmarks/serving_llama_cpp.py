"""64 streams over one base on a CPU: our engine against llama.cpp's server, the same weights in float32.

Two sets: `base` (all streams ask the base) and `adapters` (16 LoRA adapters of rank 16; llama.cpp names one
with each request). Greedy, 64 tokens a stream, new questions each round, one thread, processor seconds of the
server (ours: of the whole process). llama.cpp: built for this processor, one slot a stream, continuous
batching, caches in float32, prompt cache on. Every stream's tokens must be the same; where two differ,
transformers in float64 tells which of the first other tokens is the likelier: ours must be, or as good as
(0.0001 nats, what sums in float32 cannot tell apart).

    python benchmarks/serving_llama_cpp.py [--smoke] [--sets base,adapters] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import Line, append, head, ratio, rounded
from llama_cpp import LlamaServer, write_files
from serving import TOPICS, Source, random_adapter

from tailor.inference import EngineLimits, GenerationRequest, LocalEngine, ModelKey, SamplingParameters
from tailor.models import embedded_directory, linear_layers, load_base

GOAL = 1.0
TIE = 1e-4
"""Nats between two tokens that sums in float32 cannot tell apart."""


class Workload:
    """Questions of a round, as token ids."""

    def __init__(self, num_streams: int, num_tokens: int, adapters: list[str]) -> None:
        self.num_streams, self.num_tokens, self.adapters = num_streams, num_tokens, adapters
        self._template = load_base(embedded_directory()).template

    def adapter_of(self, stream: int) -> int | None:
        return stream % len(self.adapters) if self.adapters else None

    def prompts(self, number: int) -> list[list[int]]:
        return [
            list(
                self._template.render(
                    [
                        {
                            "role": "user",
                            "content": f"{number}: tell me {'more ' * (stream % 23)}about "
                            f"{TOPICS[stream % len(TOPICS)]}.",
                        }
                    ],
                    add_generation_prompt=True,
                ).ids
            )
            for stream in range(self.num_streams)
        ]


def by_tailor(engine: LocalEngine, work: Workload, prompts: list[list[int]]) -> list[list[int]]:
    parameters = SamplingParameters(temperature=0, max_tokens=work.num_tokens, logit_bias={2: -1000.0})
    requests = []
    for stream, prompt in enumerate(prompts):
        place = work.adapter_of(stream)
        key = ModelKey(base="embedded")
        if place is not None:
            key = ModelKey(base="embedded", version=work.adapters[place], kind="adapter")
        requests.append(GenerationRequest(model=key, prompt_ids=prompt, parameters=parameters))
    return [list(result.choices[0].token_ids) for result in engine.generate(requests)]


def measured(way: Callable[[], list[list[int]]], clock: Callable[[], float], num_tokens: int) -> Line:
    begun, cpu = time.perf_counter(), clock()
    written = way()
    seconds, cpu = time.perf_counter() - begun, clock() - cpu
    total = num_tokens * len(written)
    return {"tokens": written, "tokens_per_second": total / cpu, "by_the_clock": total / seconds}


def compare(name: str, *, is_smoke: bool, rounds: int) -> Line:
    """One set."""
    torch.set_num_threads(1)
    streams, count, num_tokens = (8, 4, 16) if is_smoke else (64, 16, 64)
    adapters = (
        {f"version-{index}": random_adapter(index) for index in range(count)} if name == "adapters" else {}
    )
    work = Workload(streams, num_tokens, list(adapters))
    engine = LocalEngine(Source(adapters), EngineLimits(max_running=streams))
    engine.start()
    runs: dict[str, list[Line]] = {"tailor": [], "llama.cpp": []}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        base = load_base(embedded_directory())
        write_files(base.model, embedded_directory() / "tokenizer.json", adapters, directory)
        with LlamaServer(directory, adapters=list(adapters), num_streams=streams, threads=1) as server:
            places = [work.adapter_of(stream) for stream in range(streams)]
            for number in range(1 if is_smoke else rounds + 1):  # the first loads and warms up
                prompts = work.prompts(number)
                ours = measured(lambda p=prompts: by_tailor(engine, work, p), time.process_time, num_tokens)
                theirs = measured(
                    lambda p=prompts: server.generate(p, places, num_tokens), server.seconds, num_tokens
                )
                runs["tailor"].append(ours)
                runs["llama.cpp"].append(theirs)
            memory = server.peak_memory_gb()
    engine.close()
    return line_of(name, work, adapters, runs, memory, is_smoke=is_smoke)


def gap(
    work: Workload,
    adapters: dict[str, Any],
    stream: int,
    prompt: list[int],
    mine: list[int],
    other: list[int],
) -> float:
    """How much likelier our first other token is than theirs, in nats, by transformers in float64."""
    base = load_base(embedded_directory())
    base.model.set_attn_implementation("eager")
    model = base.model.double()
    place = work.adapter_of(stream)
    if place is not None:
        adapter = adapters[work.adapters[place]]
        for path, layer in linear_layers(model).items():
            down, up = (adapter.weights[f"{path}.lora_{part}.weight"].double() for part in "AB")
            layer.weight.data += adapter.method.alpha / adapter.method.rank * up @ down
    at = next(at for at, (one, two) in enumerate(zip(mine, other, strict=True)) if one != two)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + mine[:at]]), use_cache=False).logits[0, -1]
    return float(logits[mine[at]] - logits[other[at]])


def line_of(
    name: str,
    work: Workload,
    adapters: dict[str, Any],
    runs: dict[str, list[Line]],
    memory: float,
    *,
    is_smoke: bool,
) -> Line:
    pairs = [
        (stream, number, mine, other)
        for number, (ours, theirs) in enumerate(zip(runs["tailor"], runs["llama.cpp"], strict=True))
        for stream, (mine, other) in enumerate(zip(ours["tokens"], theirs["tokens"], strict=True))
    ]
    gaps = [
        gap(work, adapters, stream, work.prompts(number)[stream], mine, other)
        for stream, number, mine, other in pairs
        if mine != other
    ]
    line = head("serving_llama_cpp") | {
        "set": name,
        "goal": GOAL,
        "dtype": "float32",
        "streams": work.num_streams,
        "adapters": len(work.adapters),
        "tokens_per_stream": work.num_tokens,
        "same_text": [len(pairs) - len(gaps), len(pairs)],
        "nats_ours_is_likelier": [rounded(each) for each in gaps],
        "is_exact": all(each > -TIE for each in gaps),
    }
    if is_smoke:
        return line
    kept = {engine: found[1:] for engine, found in runs.items()}
    return line | {
        "engines": {
            engine: {
                key: [rounded(run[key]) for run in found] for key in ("tokens_per_second", "by_the_clock")
            }
            for engine, found in kept.items()
        },
        "llama_cpp_peak_memory_gb": rounded(memory),
        "ratio": {"llama.cpp": ratio(kept["tailor"], kept["llama.cpp"])},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="8 streams over 4 adapters, 16 tokens, once")
    parser.add_argument("--sets", default="base,adapters")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines: list[dict[str, Any]] = []
    for name in arguments.sets.split(","):
        line = compare(name, is_smoke=arguments.smoke, rounds=arguments.rounds)
        print(json.dumps(line, indent=1), flush=True)
        if not arguments.smoke:
            append(line)
        lines.append(line)
    if not all(line["is_exact"] for line in lines):
        sys.exit("The texts differ.")


if __name__ == "__main__":
    main()
