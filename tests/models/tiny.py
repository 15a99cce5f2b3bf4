"""Random models of a few thousand weights, one per family, saved like real ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from tailor.models import embedded_directory

VOCABULARY = 512
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXTRAS: dict[str, dict[str, Any]] = {
    "gemma": {},
    "gemma2": {
        "sliding_window": 8,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 16,
    },
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 16},
    "granite": {"logits_scaling": 2.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5},
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 8},
    "olmo2": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "smollm3": {"no_rope_layers": [1, 0, 1]},
}


def tiny_config(family: str, **overrides: Any) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[family](**(SIZES | EXTRAS[family] | overrides))


def tiny_model(family: str, **overrides: Any) -> Any:
    """A random model with transformers' own attention."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    config = tiny_config(family, **overrides)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def tiny_directory(directory: Path, family: str = "llama", **overrides: Any) -> Path:
    """The same model as an operator would add it, with the embedded base's tokenizer and template."""
    tiny_model(family, **overrides).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(embedded_directory() / name, directory / name)
    return directory
