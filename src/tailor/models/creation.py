"""New bases: a tokenizer and an untrained Llama from scratch, or a deeper one grown from a trained one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.models import catalogue

END_OF_TEXT, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

_BEGIN_STD = 0.02
_LAYER = "model.layers."
_OUTPUTS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
"""What a Llama layer adds to the residual stream comes out of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseShape:
    """Sizes of a Llama with tied embeddings."""

    num_layers: int
    hidden_size: int
    mlp_size: int
    num_heads: int
    num_key_heads: int
    context_length: int
    vocab_size: int = 8192

    def config(self) -> dict[str, Any]:
        """The `config.json` of transformers."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.mlp_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_key_heads,
            "head_dim": self.hidden_size // self.num_heads,
            "max_position_embeddings": self.context_length,
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "dtype": "bfloat16",
        }


def train_tokenizer(texts: Iterable[str], directory: Path, *, vocab_size: int) -> None:
    """Learn a byte-level BPE with single digits from texts and write it as a fast tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, START_OF_TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise InvalidRequest(
            f"The texts give a vocabulary of {tokenizer.get_vocab_size()} tokens, not {vocab_size}.",
            param="tokenizer.vocab_size",
            remedy="Give more text, or ask for a smaller vocabulary.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(directory / "tokenizer_config.json", settings)
    template = catalogue.embedded_directory() / "chat_template.jinja"
    shutil.copyfile(template, directory / "chat_template.jinja")


def create_base(directory: Path, shape: BaseShape, *, seed: int) -> None:
    """Write an untrained model beside its tokenizer.

    Matrices start normal with a standard deviation of 0.02; what a layer adds to the residual stream starts
    at zero, so that depth costs nothing at the beginning (Zhang et al. 2019, arXiv:1901.09321).
    """
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    _write_json(directory / "config.json", shape.config())
    _write_json(directory / "generation_config.json", {"eos_token_id": [2, 0], "pad_token_id": 0})
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    random = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for name, tensor in sorted(model.state_dict().items()):
        if name in model.all_tied_weights_keys:
            continue
        if tensor.ndim < 2:
            weights[name] = torch.ones_like(tensor)
        elif name.endswith(_OUTPUTS):
            weights[name] = torch.zeros_like(tensor)
        else:
            weights[name] = torch.randn(tensor.shape, generator=random) * _BEGIN_STD
    save_file(
        {name: tensor.bfloat16() for name, tensor in weights.items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )


def grow_base(source: Path, directory: Path, *, num_layers: int) -> None:
    """Write a deeper copy of a Llama that computes exactly what the source does.

    New layers are copies of the ones before them that add nothing at first: their output matrices are zero
    (block expansion, Wu et al. 2024, arXiv:2401.02415).
    """
    from safetensors.torch import load_file, save_file

    config = catalogue.read_json(source / "config.json")
    depth = config["num_hidden_layers"]
    if config["model_type"] != "llama" or num_layers < depth or not (source / "model.safetensors").is_file():
        raise InvalidRequest(
            f"{source.name} cannot grow to {num_layers} layers.",
            param="start.layers",
            remedy=f"Growing works for Llama models in one file; this one has {depth} layers.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    for path in catalogue.used_files(source):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, directory / path.name)
    _write_json(directory / "config.json", config | {"num_hidden_layers": num_layers})
    weights = load_file(source / "model.safetensors")
    grown = {name: tensor for name, tensor in weights.items() if not name.startswith(_LAYER)}
    origins = [layer * depth // num_layers for layer in range(num_layers)]
    for layer, origin in enumerate(origins):
        is_copy = layer > 0 and origins[layer - 1] == origin
        for name, tensor in weights.items():
            if name.startswith(prefix := f"{_LAYER}{origin}."):
                part = name.removeprefix(prefix)
                is_silent = is_copy and part in _OUTPUTS
                grown[f"{_LAYER}{layer}.{part}"] = torch.zeros_like(tensor) if is_silent else tensor.clone()
    save_file(grown, directory / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
