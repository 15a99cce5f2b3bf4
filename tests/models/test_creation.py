"""A base from nothing, and a base grown from another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import embedded_directory, inspect, load_base
from tailor.models.creation import BaseShape, create_base, grow_base, train_tokenizer

SHAPE = BaseShape(
    num_layers=2,
    hidden_size=32,
    mlp_size=48,
    num_heads=2,
    num_key_heads=1,
    context_length=128,
    vocab_size=280,
)
TEXTS = [
    f"The {animal} saw {count} boats and wrote a letter." for animal in ("fox", "owl") for count in range(99)
]


def logits(directory: Path, ids: list[int]) -> torch.Tensor:
    loaded = load_base(directory)
    loaded.model.set_attn_implementation("eager")
    with torch.inference_mode():
        found: torch.Tensor = loaded.model(torch.tensor([ids])).logits
    return found


def test_a_base_from_nothing_can_be_added_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        train_tokenizer(TEXTS, tmp_path / name, vocab_size=280)
        create_base(tmp_path / name, SHAPE, seed=seed)
    facts = inspect(tmp_path / "one")
    assert (facts.num_layers, facts.vocab_size, facts.context_length) == (2, 280, 128)
    assert facts.digest == inspect(tmp_path / "again").digest != inspect(tmp_path / "other").digest
    loaded = load_base(tmp_path / "one")
    rendered = loaded.template.render(
        [{"role": "user", "content": "7 foxes"}, {"role": "assistant", "content": "no"}]
    )
    assert loaded.tokenizer.decode(rendered.ids) == rendered.text
    assert loaded.stop_ids >= {2}
    digits = loaded.tokenizer.encode("12", add_special_tokens=False)
    assert len(digits) == 2


def test_too_little_text_for_a_vocabulary_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="vocabulary of"):
        train_tokenizer(["a b c"], tmp_path, vocab_size=4_000)


def test_a_grown_base_computes_what_it_computed_before(tmp_path: Path) -> None:
    grow_base(
        embedded_directory(), tmp_path / "grown", num_layers=inspect(embedded_directory()).num_layers + 3
    )
    ids = [5, 99, 1000, 42, 7]
    torch.testing.assert_close(logits(tmp_path / "grown", ids), logits(embedded_directory(), ids))
    with pytest.raises(InvalidRequest, match="cannot grow"):
        grow_base(tmp_path / "grown", tmp_path / "less", num_layers=2)
