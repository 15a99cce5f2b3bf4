"""llama.cpp's server as an opponent: our weights as GGUF in float32, a process, requests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
import torch
from opponents import llama_server, python_of

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(path: str) -> str:
    """Of a Llama's layer, without what follows it."""
    if path in WHOLE:
        return WHOLE[path]
    _, _, number, rest = path.split(".", 3)
    return f"blk.{number}.{NAMES[rest]}"


def permuted(path: str, rows: torch.Tensor, config: Any) -> torch.Tensor:
    """llama.cpp turns neighbouring numbers of a head, transformers the halves of it."""
    if not path.endswith(("q_proj", "k_proj")):
        return rows
    heads = config.num_attention_heads if path.endswith("q_proj") else config.num_key_value_heads
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape).contiguous()


def write_files(model: Any, tokenizer: Path, adapters: Mapping[str, Any], directory: Path) -> None:
    """`base.gguf`, and one file for each LoRA adapter."""
    config, state = model.config, model.state_dict()
    state = {name: value for name, value in state.items() if name != "lm_head.weight"}  # tied
    arrays = {
        f"{gguf_name(name.removesuffix('.weight'))}.weight": permuted(
            name.removesuffix(".weight"), value.float(), config
        ).numpy()
        for name, value in state.items()
    }
    numpy.savez(directory / "base.npz", **arrays)
    vocabulary = json.loads(tokenizer.read_text())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].__getitem__)
    files: list[dict[str, Any]] = [
        {
            "path": str(directory / "base.gguf"),
            "arrays": str(directory / "base.npz"),
            "fields": fields_of(config),
            "tokens": tokens,
            "merges": [" ".join(pair) for pair in vocabulary["merges"]],
        }
    ]
    files += [adapter_file(name, adapter, config, directory) for name, adapter in adapters.items()]
    (directory / "files.json").write_text(json.dumps(files))
    writer = Path(__file__).parent / "engines" / "write_gguf.py"
    subprocess.run([python_of("llamacpp"), writer, directory / "files.json"], check=True)


def fields_of(config: Any) -> dict[str, tuple[str, Any]]:
    """The shape of a Llama."""
    size = config.hidden_size // config.num_attention_heads
    return {
        "llama.vocab_size": ("uint32", config.vocab_size),
        "llama.context_length": ("uint32", config.max_position_embeddings),
        "llama.embedding_length": ("uint32", config.hidden_size),
        "llama.block_count": ("uint32", config.num_hidden_layers),
        "llama.feed_forward_length": ("uint32", config.intermediate_size),
        "llama.attention.head_count": ("uint32", config.num_attention_heads),
        "llama.attention.head_count_kv": ("uint32", config.num_key_value_heads),
        "llama.attention.layer_norm_rms_epsilon": ("float32", config.rms_norm_eps),
        "llama.rope.dimension_count": ("uint32", size),
        "llama.rope.freq_base": ("float32", config.rope_parameters["rope_theta"]),
        "general.file_type": ("uint32", 0),
    }


def adapter_file(name: str, adapter: Any, config: Any, directory: Path) -> dict[str, Any]:
    arrays = {}
    for full, value in adapter.weights.items():
        path, part = full.removesuffix(".weight").rsplit(".lora_", 1)
        rows = permuted(path, value, config) if part == "B" else value
        arrays[f"{gguf_name(path)}.weight.lora_{part.lower()}"] = rows.float().numpy()
    numpy.savez(directory / f"{name}.npz", **arrays)
    return {
        "path": str(directory / f"{name}.gguf"),
        "arrays": str(directory / f"{name}.npz"),
        "fields": {
            "general.type": ("string", "adapter"),
            "adapter.type": ("string", "lora"),
            "adapter.lora.alpha": ("float32", adapter.method.alpha),
        },
    }


class LlamaServer:
    """The process; a context manager. One slot a stream, caches in float32 as ours are."""

    def __init__(self, directory: Path, *, adapters: Sequence[str], num_streams: int, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [
            llama_server(), "-m", directory / "base.gguf", "--port", self.port, "--no-webui",
            "-np", num_streams, "-c", 256 * num_streams, "-t", threads, "-tb", threads,
            "-ctk", "f32", "-ctv", "f32", "-b", 2048, "-ub", 512,
        ]  # fmt: skip
        if adapters:
            files = ",".join(str(directory / f"{name}.gguf") for name in adapters)
            self._command += ["--lora", files, "--lora-init-without-apply"]
        self._log = directory / "llama-server.log"

    def __enter__(self) -> LlamaServer:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(list(map(str, self._command)), stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health") as answer:
                if answer.status == 200:
                    return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"llama-server did not start:\n{self._log.read_text()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def seconds(self) -> float:
        """Processor seconds of the server so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def peak_memory_gb(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**20

    def generate(
        self, prompts: Sequence[list[int]], adapters: Sequence[int | None], num_tokens: int
    ) -> list[list[int]]:
        """All at once, greedily, as many tokens each."""

        def one(prompt: list[int], adapter: int | None) -> list[int]:
            asked = {
                "prompt": prompt,
                "n_predict": num_tokens,
                "temperature": 0,
                "samplers": ["top_k"],
                "top_k": 1,
                "logit_bias": [[2, False]],
                "return_tokens": True,
                "lora": [] if adapter is None else [{"id": adapter, "scale": 1.0}],
            }
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}/completion",
                data=json.dumps(asked).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=600) as answer:
                tokens: list[int] = json.loads(answer.read())["tokens"]
                return tokens

        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(one, prompts, adapters))
