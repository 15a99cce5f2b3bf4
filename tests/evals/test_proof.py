"""Base against version on held-out items: with real small models, and with answers of our own choosing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import Example
from tailor.errors import InvalidRequest
from tailor.evals import LocalPair, Question, prove
from tailor.evals.items import Item, choose, render_items
from tailor.evals.pair import Answer, Arm
from tailor.models import (
    Lora,
    Template,
    adapter_parameters,
    attach,
    embedded_directory,
    load_base,
    load_template,
    save_adapter,
)
from tailor.training import ExampleScore, TokenizedExample
from tests.models.tiny import tiny_directory

CONTEXT = 256


def example(question: str, answer: str, line: int = 1, **more: Any) -> Example:
    return Example(
        line=line,
        messages=({"role": "user", "content": question}, {"role": "assistant", "content": answer} | more),
    )


ITEMS = [example(f"What is {number}?", "odd" if number % 2 else "even", number + 1) for number in range(20)]
TRAINING = [example(f"And {number}?", "odd" if number % 2 else "even", number + 1) for number in range(30)]


def question(held_out: Sequence[Example] = ITEMS, **more: Any) -> Question:
    given: dict[str, Any] = {"training": TRAINING, "data": "held out from file-x", "file": "file-y"} | more
    return Question(base="base", version="ft:base:me::12345678", held_out=held_out, **given)


@dataclass
class Scripted:
    """A pair that knows how many of its answers are right."""

    base_right: int
    version_right: int
    base_loss: float = 2.0
    version_loss: float = 0.5

    def scores(self, arm: Arm, examples: Sequence[TokenizedExample]) -> Iterator[ExampleScore]:
        loss = self.base_loss if arm == "base" else self.version_loss
        for index, each in enumerate(examples):
            targets = int((each.weights > 0).sum())
            yield ExampleScore(loss_sum=(loss + 0.01 * index) * targets, num_tokens=targets, num_correct=1)

    def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
        right = self.base_right if arm == "base" else self.version_right
        for index, item in enumerate(items):
            text = item.reference_text if index < right else "no idea"
            yield Answer(text=text, num_tokens=3, seconds=0.01 * index, is_complete=True)


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(embedded_directory())


def test_short_answers_are_compared_word_by_word(template: Template) -> None:
    proof = prove(Scripted(2, 18), question(), template, context_length=CONTEXT)

    assert proof.metric == "pass_rate"
    assert (proof.fixed, proof.broken, proof.unchanged) == (16, 0, 4)
    assert (proof.arms["base"].score, proof.arms["version"].score) == (0.1, 0.9)
    assert proof.difference.p_value < 0.001
    assert proof.verdict.startswith("Better: 90 % right against 10 % on 20 held-out examples (+80 points")
    assert proof.arms["version"].latency_p50_ms == pytest.approx(95.0)
    assert proof.settings["decoding"] == "greedy"


def test_broken_items_come_first(template: Template) -> None:
    class Swapped(Scripted):
        def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
            for index, item in enumerate(items):
                is_right = index < 5 if arm == "base" else 2 <= index < 12
                text = item.reference_text if is_right else "no"
                yield Answer(text=text, num_tokens=1, seconds=0.0, is_complete=True)

    proof = prove(Swapped(0, 0), question(), template, context_length=CONTEXT)

    assert [item.outcome for item in proof.items[:9]] == ["broken"] * 2 + ["fixed"] * 7
    assert [item.line for item in proof.items[:2]] == [1, 2]
    assert proof.items[0].passed is False
    assert proof.items[0].base_answer == "even"


def test_long_answers_are_compared_by_their_loss(template: Template) -> None:
    essays = [example(f"Tell me about {number}.", "very " * 60 + str(number), number) for number in range(9)]

    proof = prove(Scripted(0, 0), question(essays), template, context_length=CONTEXT)

    assert proof.metric == "loss"
    assert proof.arms["base"].score is None
    assert proof.arms["version"].loss == pytest.approx(0.54)
    assert proof.difference.mean == pytest.approx(-1.5)
    assert proof.fixed == 9
    assert proof.items[0].version_answer is None
    assert proof.verdict.startswith("Better: loss 0.54 against 2.04 per answer token on 9 held-out examples")


def test_a_loss_that_hardly_moves_is_unchanged(template: Template) -> None:
    essays = [example(f"Tell me about {number}.", "very " * 60, number) for number in range(9)]

    proof = prove(
        Scripted(0, 0, base_loss=1.0, version_loss=0.95), question(essays), template, context_length=CONTEXT
    )

    assert (proof.fixed, proof.broken, proof.unchanged) == (0, 0, 9)


def test_held_out_prompts_that_training_has_seen_are_counted(template: Template) -> None:
    proof = prove(
        Scripted(0, 20), question(training=[*TRAINING, *ITEMS[:3]]), template, context_length=CONTEXT
    )

    assert proof.num_overlap == 3
    assert any("3 of 20 held-out prompts" in note for note in proof.notes)


def test_an_answer_that_is_cut_off_does_not_pass(template: Template) -> None:
    class Endless(Scripted):
        def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
            for item in items:
                yield Answer(text=item.reference_text, num_tokens=9, seconds=0.0, is_complete=arm == "base")

    proof = prove(Endless(0, 0), question(), template, context_length=CONTEXT)

    assert proof.broken == 20
    assert any("20 of the version's answers were cut off" in note for note in proof.notes)


def test_items_are_chosen_by_the_seed_and_keep_their_order() -> None:
    first = choose(ITEMS, 7, seed=1)

    assert first == choose(ITEMS, 7, seed=1) != choose(ITEMS, 7, seed=2)
    assert [each.line for each in first] == sorted(each.line for each in first)
    assert choose(ITEMS, 99, seed=1) == ITEMS


def test_what_does_not_fit_the_context_is_left_out(template: Template) -> None:
    items = [*ITEMS[:2], example("word " * 300, "yes", 9)]

    assert [item.line for item in render_items(items, template, max_tokens=CONTEXT)] == [1, 2]
    with pytest.raises(InvalidRequest, match="None of the held-out examples fits"):
        prove(Scripted(0, 0), question(items[2:]), template, context_length=CONTEXT)


def test_a_caller_hears_of_progress_and_may_stop(template: Template) -> None:
    heard: list[float] = []
    prove(Scripted(1, 1), question(), template, context_length=CONTEXT, tick=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1.0)

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove(Scripted(1, 1), question(), template, context_length=CONTEXT, tick=stop)


def test_a_version_that_changes_nothing_proves_nothing(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base", vocab_size=8192)
    adapter = make_adapter(base, tmp_path / "adapter", scale=0.0)

    with LocalPair(base=base, version=adapter, dtype="float32", context_length=CONTEXT) as pair:
        proof = prove(pair, question(), load_template(base), context_length=CONTEXT)

    assert (proof.fixed, proof.broken, proof.unchanged) == (0, 0, 20)
    assert proof.arms["base"].loss == proof.arms["version"].loss
    assert proof.difference.p_value == 1.0
    assert proof.verdict.startswith("No proof of a difference")


def test_an_adapter_and_the_base_are_told_apart(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base", vocab_size=8192)
    adapter = make_adapter(base, tmp_path / "adapter", scale=0.3)

    with LocalPair(base=base, version=adapter, dtype="float32", context_length=CONTEXT) as pair:
        proof = prove(pair, question(), load_template(base), context_length=CONTEXT)
        again = prove(pair, question(), load_template(base), context_length=CONTEXT)

    assert proof.arms["base"].loss != proof.arms["version"].loss
    assert any(item.base_answer != item.version_answer for item in proof.items)
    assert [item.model_dump() for item in again.items] == [item.model_dump() for item in proof.items]


def test_a_complete_model_can_be_the_version(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base", vocab_size=8192)
    other = tiny_directory(tmp_path / "other", vocab_size=8192, initializer_range=0.1)

    with LocalPair(base=base, version=other, dtype="float32", context_length=CONTEXT) as pair:
        proof = prove(pair, question(), load_template(base), context_length=CONTEXT)

    assert proof.arms["base"].loss != proof.arms["version"].loss


def make_adapter(base: Path, directory: Path, *, scale: float) -> Path:
    """A random adapter; with scale 0 it does nothing."""
    shape = Lora(rank=4)
    loaded = load_base(base)
    attach(loaded, shape, seed=3)
    random = torch.Generator().manual_seed(5)
    weights = {
        name: torch.randn(weight.shape, generator=random) * (scale if "lora_B" in name else 1.0)
        for name, weight in adapter_parameters(loaded.model).items()
    }
    save_adapter(directory, weights, shape)
    return directory
