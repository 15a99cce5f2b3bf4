"""Learning from a teacher's logits: loss and gradients are TRL's, and a student comes closer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import Lesson
from tailor.inference import EngineLimits, GenerationRequest, ModelKey, SamplingParameters, Writer
from tailor.models import LoadedModel, Template, embedded_directory, load_base, load_template, twin_of
from tailor.training import (
    Asked,
    Imitation,
    Learner,
    OwnAnswers,
    StepMetrics,
    TokenizedExample,
    TokenizedLesson,
    make_deterministic,
    same_tokens,
    tokenize_lessons,
    train,
)
from tailor.training.divergence import _divergence_and_slopes
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import examples_of, recipe

TEMPLATE = load_template(embedded_directory())


def imitation(**changes: Any) -> Imitation:
    values: dict[str, Any] = {"teacher": "t", "beta": 0.5}
    return Imitation(**(values | changes))


def lessons_of(count: int, *, with_answers: bool = True) -> list[TokenizedLesson]:
    lessons = [
        Lesson(
            line=number,
            messages=({"role": "user", "content": f"Say {number} twice."},),
            answer={"role": "assistant", "content": f"{number} {number}"} if with_answers else None,
            item={"number": number},
        )
        for number in range(1, count + 1)
    ]
    return list(tokenize_lessons(lessons, TEMPLATE, max_tokens=64).examples)


def logits_of(loaded: LoadedModel, example: TokenizedExample) -> torch.Tensor:
    """At the places that predict an answer token, by transformers' own attention."""
    loaded.model.set_attn_implementation("eager")
    logits = loaded.model(input_ids=example.ids[None], use_cache=False).logits[0]
    loaded.model.set_attn_implementation("tailor")
    wanted: torch.Tensor = logits[:-1][example.weights[1:] > 0]
    return wanted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("family", "beta", "temperature"),
    [
        ("llama", 0.0, 1.0),
        ("llama", 1.0, 0.7),
        ("llama", 0.5, 1.0),
        ("gemma2", 0.1, 2.0),
        ("gemma2", 1.0, 1.0),
        ("granite", 0.5, 0.7),
        ("qwen2", 0.0, 2.0),
        ("qwen3", 0.9, 1.0),
    ],
)
def test_loss_and_gradients_equal_trl(family: str, beta: float, temperature: float, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from trl.experimental.gkd import GKDTrainer

    base = tiny_directory(tmp_path / "student", family)
    teacher = load_base(tiny_directory(tmp_path / "teacher", "qwen3", hidden_size=48))
    examples = examples_of([17, 5, 40, 23, 9, 31])
    wanted = recipe(
        adapter="full",
        method="distillation",
        imitation=imitation(beta=beta, temperature=temperature),
    )
    learner = Learner.open(base, wanted, teacher=teacher)
    theirs = load_base(base)
    theirs.model.requires_grad_(True)
    student = torch.cat([logits_of(theirs, each) for each in examples])
    with torch.no_grad():
        known = torch.cat([logits_of(teacher, each) for each in examples])
    loss = GKDTrainer.generalized_jsd_loss(student, known, beta=beta, temperature=temperature)
    loss.backward()
    gradients = {name: each.grad for name, each in theirs.model.named_parameters()}

    learner.measure_reference(examples)
    result = learner.forward_backward(examples, step=0, max_microbatch_tokens=64)

    assert result.loss == pytest.approx(float(loss), rel=1e-5)
    assert result.accuracy == pytest.approx(float((student.argmax(1) == known.argmax(1)).float().mean()))
    for name, gradient in zip(learner.parameters, learner.gradients, strict=True):
        assert (gradient - gradients[name]).norm() < 2e-5 * gradients[name].norm(), name


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_divergence_of_two_coins_is_what_one_computes_by_hand(beta: float) -> None:
    student, teacher = (0.25, 0.75), (0.5, 0.5)
    mixture = [(1 - beta) * s + beta * t for s, t in zip(student, teacher, strict=True)]

    def kl(one: Sequence[float], other: Sequence[float]) -> float:
        return sum(p * math.log(p / q) for p, q in zip(one, other, strict=True))

    by_hand = {0.0: kl(teacher, student), 1.0: kl(student, teacher)}.get(
        beta, beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)
    )
    found, slopes = _divergence_and_slopes(torch.tensor([student]).log(), torch.tensor([teacher]).log(), beta)
    assert float(found) == pytest.approx(by_hand, rel=1e-5)
    assert float(slopes.sum()) == pytest.approx(0.0, abs=1e-7)
    assert slopes[0, 0] < 0, "the student says this too rarely"


def test_a_student_like_its_teacher_has_nothing_to_learn(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base")
    wanted = recipe(method="distillation", rank=4, imitation=imitation())
    learner = Learner.open(base, wanted, teacher=load_base(base))
    result = learner.forward_backward(examples_of([17, 9, 12]), step=0)
    assert result.loss == pytest.approx(0.0, abs=1e-6)
    assert result.accuracy == 1.0
    assert result.gradient_norm < 1e-5


def test_other_vocabularies_are_told_apart(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    one, other = load_base(tiny_directory(tmp_path / "a")), load_base(tiny_directory(tmp_path / "b"))
    assert same_tokens(one.template, other.template)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "b")
    tokenizer.add_tokens(["tailor"])
    assert not same_tokens(one.template, Template(tokenizer, ""))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("models")
    return (
        tiny_directory(directory / "student", vocab_size=8192, initializer_range=0.05),
        tiny_directory(directory / "teacher", "qwen3", vocab_size=8192, initializer_range=0.1),
    )


def run(pair: tuple[Path, Path], **changes: Any) -> tuple[list[StepMetrics], Learner]:
    make_deterministic(1)
    wanted = recipe(
        method="distillation",
        num_epochs=6,
        batch_size=4,
        num_steps=12,
        rank=8,
        learning_rate=2e-2,
        imitation=imitation(**({"max_tokens": 6} | changes)),
    )
    learner = Learner.open(pair[0], wanted, teacher=load_base(pair[1]))
    lessons = lessons_of(8, with_answers=changes.get("own_share") != 1.0)
    writer = Writer(twin_of(learner.loaded), context_length=64, limits=EngineLimits())

    def write(asked: Sequence[Asked], tick: Any) -> Any:
        return writer.write(
            [
                GenerationRequest(
                    model=ModelKey(base=learner.loaded.digest),
                    prompt_ids=each.prompt_ids,
                    parameters=SamplingParameters(
                        max_tokens=each.max_tokens, temperature=each.temperature, seed=each.seed
                    ),
                )
                for each in asked
            ],
            tick,
        )

    source = None
    if changes.get("own_share"):
        source = OwnAnswers(
            write=write, imitation=wanted.imitation or imitation(), seed=0, max_context_tokens=64
        )
    updates = train(learner, lessons, validation=lessons_of(4), practice=source)
    return [update for update in updates if isinstance(update, StepMetrics)], learner


@pytest.mark.parametrize("own_share", [0.0, 0.5, 1.0])
def test_a_student_comes_closer_to_its_teacher(pair: tuple[Path, Path], own_share: float) -> None:
    steps, learner = run(pair, own_share=own_share)
    looked = [step.full_valid_loss for step in steps if step.full_valid_loss is not None]
    # A random teacher knows nothing of answers, so given ones and the student's own teach alike.
    assert looked[-1] < looked[0]
    if own_share:
        shares = [step.figures["own_answers_share"] for step in steps]
        assert min(shares) <= own_share <= max(shares)
        again, other = run(pair, own_share=own_share)
        assert [step.train_loss for step in again] == [step.train_loss for step in steps]
        for name, master in learner.masters.items():
            assert torch.equal(master, other.masters[name])
