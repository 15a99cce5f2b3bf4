"""Plain text: every token predicted once, documents apart, a schedule that holds and then falls."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import Dataset, TextExample, read_texts
from tailor.errors import InvalidRequest
from tailor.models import embedded_directory, load_template
from tailor.training import (
    DatasetFacts,
    EpochEnd,
    Learner,
    Recipe,
    StepMetrics,
    TokenizedExample,
    Wanted,
    tokenize_texts,
    train,
)
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import examples_of, recipe

TEMPLATE = load_template(embedded_directory())
STORY = "Once there was a fox. " * 40


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05)


def read(*rows: Any) -> Dataset[TextExample]:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return read_texts(io.BytesIO(lines.encode()), name="texts.jsonl")


def test_each_token_of_a_document_is_predicted_exactly_once() -> None:
    pieces = tokenize_texts(read({"text": STORY}).examples, TEMPLATE, max_tokens=32).examples
    whole = [0, *TEMPLATE.tokenizer.encode(STORY, add_special_tokens=False), 0]
    predicted = [token for piece in pieces for token in piece.ids[piece.weights > 0].tolist()]
    assert predicted == whole[1:]
    assert all(piece.num_tokens <= 32 for piece in pieces)
    assert all(int(one.ids[-1]) == int(other.ids[0]) for one, other in pairwise(pieces))
    assert len({piece.fingerprint for piece in pieces}) == len(pieces)


def test_conversations_among_the_texts_are_read_as_the_model_reads_them() -> None:
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    piece = tokenize_texts(read({"messages": messages}).examples, TEMPLATE, max_tokens=64).examples[0]
    text = TEMPLATE.tokenizer.decode(piece.ids)
    assert "<|im_start|>user\nHello<|im_end|>" in text
    assert "<|im_start|>assistant\nGood day<|im_end|>" in text


def test_what_is_wrong_with_a_file_of_texts_is_said_line_by_line() -> None:
    report = read(
        {"text": "good"}, {"text": "  "}, {"text": 7}, {"story": "x"}, {"text": "b", "source": "z"}
    ).report
    assert [(problem.line, problem.code) for problem in report.blocking] == [
        (2, "empty_text"),
        (3, "wrong_type"),
        (4, "missing_text"),
    ]
    assert report.num_examples == 2


def test_the_rate_of_wsd_rises_holds_and_falls() -> None:
    wanted = Wanted.parse({}, {"schedule": "wsd", "warmup_share": 0.1, "decay_share": 0.2, "max_steps": 100})
    facts = Path(embedded_directory())
    from tailor.models import inspect

    made = Recipe.auto(
        DatasetFacts(num_examples=9_000, num_tokens=4_000_000), inspect(facts), wanted, seed=1, method="text"
    )
    rates = [made.learning_rate_at(update) for update in range(100)]
    assert (made.num_steps, made.num_epochs, made.beta2) == (100, 1, 0.95)
    assert rates[:10] == sorted(rates[:10]) and rates[0] < rates[9]
    assert set(rates[10:80]) == {made.learning_rate}
    assert rates[80:] == sorted(rates[80:], reverse=True) and rates[-1] < 0.06 * made.learning_rate


def test_muon_learns_resumes_and_is_for_full_training_only(base: Path) -> None:
    examples = examples_of([12, 30, 7, 18, 22, 9])
    wanted = recipe(
        adapter="full", optimizer="muon", num_epochs=4, num_steps=8, batch_size=3, learning_rate=3e-3
    )
    straight, halted, resumed = (Learner.open(base, wanted) for _ in range(3))
    losses = [update.train_loss for update in train(straight, examples) if isinstance(update, StepMetrics)]
    assert losses[-1] < losses[0]
    progress = None
    for update in train(halted, examples):
        if isinstance(update, StepMetrics) and update.step == 5:
            progress = update.progress
            break
    resumed.load_state(halted.state())
    list(train(resumed, examples, progress=progress))
    for name, tensor in straight.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name
    with pytest.raises(InvalidRequest, match="muon"):
        from tailor.models import inspect

        facts = DatasetFacts(num_examples=10, num_tokens=100)
        Recipe.auto(facts, inspect(base), Wanted.parse({}, {"optimizer": "muon"}), seed=1)


def test_a_limit_on_steps_ends_within_an_epoch_with_a_full_validation(base: Path) -> None:
    wanted = recipe(num_epochs=1, num_steps=2, batch_size=2, rank=4)
    updates = list(train(Learner.open(base, wanted), examples_of([9] * 12), validation=examples_of([8, 9])))
    assert isinstance(updates[-1], EpochEnd)
    last = [update for update in updates if isinstance(update, StepMetrics)][-1]
    assert last.step == 2 and last.full_valid_loss is not None


def test_several_threads_take_a_shard_each_and_the_bytes_stay_the_same(base: Path) -> None:
    examples: list[TokenizedExample] = list(examples_of([12, 30, 7, 18, 22, 9, 14, 25, 40, 11, 16]))
    found = []
    threads = torch.get_num_threads()
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        learner = Learner.open(base, recipe(adapter="full", shard_size=2))
        learner.forward_backward(examples, step=0)
        found.append(learner.gradients)
        assert torch.get_num_threads() == num_threads
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
