"""A teacher with another tokenizer: what is aligned, what is compared, and that a student learns from it."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import Lesson
from tailor.errors import InvalidRequest
from tailor.inference import EngineLimits, GenerationRequest, ModelKey, SamplingParameters, Writer
from tailor.models import LoadedModel, Template, embedded_directory, load_base, load_template, twin_of
from tailor.models.creation import BaseShape, create_base, train_tokenizer
from tailor.training import (
    Aligner,
    Learner,
    StepMetrics,
    TokenizedLesson,
    make_deterministic,
    tokenize,
    tokenize_lessons,
    train,
)
from tailor.training.alignment import common_stretches
from tailor.training.foreign_teacher import ForeignTeacherObjective
from tailor.training.lexicon import Lexicon, Vocabulary, common_vocabulary, vocabulary_of
from tailor.training.span_divergence import Side, divergence_with_slopes, span_divergence
from tests.models.tiny import tiny_directory
from tests.training.test_distillation import imitation
from tests.training.test_matches_trl import recipe

SAYING = "the word is {0} and the other word is {1}; hello hello to the lower lows"


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(embedded_directory())


@pytest.fixture(scope="module")
def other_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([SAYING.format(i, 7 * i) for i in range(300)], directory, vocab_size=285)
    return directory


@pytest.fixture(scope="module")
def other(other_tokenizer: Path) -> Template:
    return load_template(other_tokenizer)


def lesson(answer: str | None, number: int = 1, **more: Any) -> Lesson:
    return Lesson(
        line=number,
        messages=({"role": "user", "content": f"Say {number}."},),
        answer=None if answer is None else {"role": "assistant", "content": answer},
        item={"number": number},
        **more,
    )


def read(lessons: Sequence[Lesson], student: Template, teacher: Template, **more: Any) -> Any:
    aligner = Aligner(student, teacher, teacher_context=more.pop("teacher_context", 256))
    return tokenize_lessons(lessons, student, max_tokens=64, aligner=aligner)


def stretches(
    made: TokenizedLesson, student: Template, teacher: Template
) -> list[tuple[list[str], list[str]]]:
    """The tokens of each stretch, as text."""
    counterpart = made.counterpart
    assert counterpart is not None
    sides = (
        (student, made.example, counterpart.spans.student_N),
        (teacher, counterpart.example, counterpart.spans.teacher_M),
    )
    found: list[list[list[str]]] = []
    for side, example, spans in sides:
        ids = example.ids[example.weights > 0]
        found.append(
            [
                [side.tokenizer.decode([token]) for token in ids[spans == number]]
                for number in range(int(spans[-1]) + 1)
            ]
        )
    return list(zip(*found, strict=True))


def test_the_smallest_stretches_that_both_divide_alike(template: Template, other: Template) -> None:
    made = read([lesson("the word is 14, hello there")], template, other).examples[0]
    assert stretches(made, template, other) == [
        (["the"], ["the"]),
        ([" word"], [" word"]),
        ([" is"], [" is"]),
        ([" "], [" "]),
        (["1"], ["1"]),
        (["4"], ["4"]),
        ([","], [","]),
        ([" he", "ll", "o"], [" hello"]),
        ([" there"], [" the", "r", "e"]),
        (["<|im_end|>"], ["<|im_end|>"]),
    ]
    spans = made.counterpart.spans
    assert spans.student_whole_K[7] == -1, "the student has no token for ' hello'"
    assert other.tokenizer.decode([spans.teacher_whole_K[7]]) == " hello"
    assert made.total_weight == pytest.approx(10.0), "each stretch weighs one"


def test_half_characters_are_aligned_by_their_bytes(template: Template, other: Template) -> None:
    made = read([lesson("ü 😀")], template, other).examples[0]
    found = stretches(made, template, other)
    student, teacher = template.tokenizer, other.tokenizer
    assert sum(len(one) for one, _ in found) == len(student.encode("ü 😀<|im_end|>"))
    assert sum(len(one) for _, one in found) == len(teacher.encode("ü 😀<|im_end|>"))
    assert len(found) >= 6, "characters that both divide are divided"


def test_each_side_reads_its_own_template(template: Template, other: Template) -> None:
    said = "{{ m.content or '' }}\n{%- for tool_call"
    thinking = Template(
        other.tokenizer,
        template.source.replace(
            said, "{{ '<think>\n\n</think>\n\n' + m.content | trim }}\n{%- for tool_call"
        ),
    )
    answer = lesson("the word is\n")
    made = read([answer], template, thinking).examples[0]
    assert made.counterpart is not None
    text = thinking.tokenizer.decode(made.counterpart.example.ids)
    assert "<think>\n\n</think>\n\nthe word is<|im_end|>" in text
    assert stretches(made, template, thinking) == [
        (["the"], ["the"]),
        ([" word"], [" word"]),
        ([" is"], [" is"]),
        (["<|im_end|>"], ["<|im_end|>"]),
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("the word<|im_end|>", "the word<|im_end|>", ["the", " word", "<end>"]),
        ("the word<|im_end|>", "so then: the word<|im_end|>", ["the", " word", "<end>"]),
        ("the word\n<|im_end|>", "the word<|im_end|>", ["the", " word", "<end>"]),
        ("the word", "the word<|im_end|>", ["the", " word"]),
        ("the word is", "the word to", ["the", " word"]),
        ("<|im_end|>", "<|im_end|>", ["<end>"]),
        ("the word<|endoftext|>", "the word<|im_end|>", ["the", " word"]),
        ("zq", "xy", []),
    ],
)
def test_only_what_both_say_is_compared(
    template: Template, other: Template, ours: str, theirs: str, expected: list[str]
) -> None:
    student, teacher = Lexicon(template), Lexicon(other)
    own, read = template.tokenizer.encode(ours), other.tokenizer.encode(theirs)
    found = common_stretches(student, teacher, own, read)
    texts = [template.tokenizer.decode(own[each.begin : each.end]) for each in found]
    others = [other.tokenizer.decode(read[each.other_begin : each.other_end]) for each in found]
    assert texts == [text if at else text.strip() for at, text in enumerate(others)]
    assert [text.replace("<|im_end|>", "<end>") for text in texts] == expected


def test_what_the_teacher_cannot_read_is_left_out_and_listed(template: Template, other: Template) -> None:
    lessons = [lesson("the word"), lesson(None, 2), lesson("the word", 3)]
    assert [each.line for each in read(lessons, template, other).examples] == [1, 2, 3]
    made = read(lessons, template, other, teacher_context=12)
    assert (made.examples, made.unread_lines) == ((), (1, 2, 3))
    strict = Template(
        other.tokenizer,
        "{%- if 'Say 3.' in messages[0].content -%}{{ raise_exception('no') }}{%- endif -%}" + other.source,
    )
    assert read(lessons, template, strict).unread_lines == (3,)


def test_vocabularies_that_cannot_be_compared_are_refused(template: Template, other: Template) -> None:
    wordy = Template(
        other.tokenizer,
        "{%- for m in messages -%}{{ m.role + ': ' + m.content + '\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ 'assistant: ' }}{%- endif -%}",
    )
    for student, teacher, whose in ((template, wordy, "teacher"), (wordy, template, "student")):
        with pytest.raises(InvalidRequest) as refused:
            Aligner(student, teacher, teacher_context=256)
        assert whose in refused.value.message
        assert (refused.value.code, refused.value.param) == (
            "different_tokenizers",
            "tailor.distillation.signal",
        )
        assert "answers" in str(refused.value.remedy)


# What is computed


def side(known: Vocabulary, first: int, rest: float, whole: int) -> Side:
    return Side(
        vocabulary=known,
        first_K=torch.tensor([first]),
        rest_K=torch.tensor([rest]),
        whole_K=torch.tensor([whole]),
    )


# Student: a, b, ab, c. Teacher: a, b, d, e. The text is "ab": one token of the student, two of the teacher.
STUDENT, TEACHER = (0.2, 0.1, 0.6, 0.1), (0.5, 0.2, 0.2, 0.1)
OURS, THEIRS = vocabulary_of({0: 0, 1: 1}, {2: 0}, 4), vocabulary_of({0: 0, 1: 1}, {}, 4)


def by_hand(ours: Sequence[float], theirs: Sequence[float], beta: float) -> float:
    pairs = list(zip(ours, theirs, strict=True))
    if beta == 0.0:
        return sum(t * math.log(t / s) - t + s for s, t in pairs)
    if beta == 1.0:
        return sum(s * math.log(s / t) - s + t for s, t in pairs)
    mixed = [(1 - beta) * s + beta * t for s, t in pairs]
    return sum(
        beta * t * math.log(t / m) + (1 - beta) * s * math.log(s / m)
        for (s, t), m in zip(pairs, mixed, strict=True)
    )


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_stretch_of_two_tokens_is_what_one_computes_by_hand(beta: float) -> None:
    student, teacher = side(OURS, 2, 0.0, 2), side(THEIRS, 0, math.log(0.5), -1)
    found, agree = span_divergence(
        student, teacher, torch.tensor([STUDENT]).log(), torch.tensor([TEACHER]).log(), beta=beta
    )
    # One to one: "ab" (0.6; 0.5 x 0.5) and "b". "a" and then not "b". By size: c; d, e.
    expected = by_hand((0.6, 0.1), (0.25, 0.2), beta)
    expected += abs(0.2 - (0.5 - 0.25)) + abs(0.1 - 0.2) + abs(0.0 - 0.1)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert bool(agree), "both find 'ab' likeliest: the teacher's 0.25 for it is not below anything"

    turned, _ = span_divergence(
        teacher, student, torch.tensor([TEACHER]).log(), torch.tensor([STUDENT]).log(), beta=1.0 - beta
    )
    assert float(turned) == pytest.approx(expected, rel=1e-6), "the other way round it is the same"


def test_a_stretch_said_in_pieces_where_one_token_would_do_counts_as_that_token() -> None:
    # The student has written a, b: 0.2 x 0.25, and 0.6 for "ab" at once.
    student, teacher = side(OURS, 0, math.log(0.25), 2), side(THEIRS, 0, math.log(0.5), -1)
    found, _ = span_divergence(
        student, teacher, torch.tensor([STUDENT]).log(), torch.tensor([TEACHER]).log(), beta=0.0
    )
    expected = by_hand((0.6 + 0.05, 0.1), (0.25, 0.2), 0.0)
    expected += abs((0.2 - 0.05) - (0.5 - 0.25)) + abs(0.1 - 0.2) + abs(0.0 - 0.1)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_longer_token_of_one_side_counts_as_what_the_other_begins_it_with() -> None:
    # The text is "b", one token of both; "ab" is then another way to begin with "a".
    student, teacher = side(OURS, 1, 0.0, 1), side(THEIRS, 1, 0.0, 1)
    found, agree = span_divergence(
        student, teacher, torch.tensor([STUDENT]).log(), torch.tensor([TEACHER]).log(), beta=0.0
    )
    expected = by_hand((0.1, 0.2 + 0.6), (0.2, 0.5), 0.0) + abs(0.1 - 0.2) + abs(0.0 - 0.1)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert bool(agree), "both would rather begin with 'a'"


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_slopes_are_those_of_finite_differences(beta: float) -> None:
    torch.manual_seed(3)
    ours = vocabulary_of({0: 0, 2: 1, 5: 2, 6: 3}, {8: 1, 3: 0}, 9)
    theirs = vocabulary_of({3: 0, 1: 1, 4: 2, 7: 3}, {9: 3, 10: 3}, 11)
    student = Side(
        vocabulary=ours,
        first_K=torch.tensor([0, 1, 2, 8, 5]),
        rest_K=torch.tensor([-0.3, -2.0, 0.0, 0.0, -1.0]).double(),
        whole_K=torch.tensor([-1, 3, 2, 8, 6]),
    )
    teacher = Side(
        vocabulary=theirs,
        first_K=torch.tensor([3, 0, 1, 9, 4]),
        rest_K=torch.tensor([0.0, -0.7, 0.0, -0.1, 0.0]).double(),
        whole_K=torch.tensor([3, -1, 1, 7, 4]),
    )
    logits, wanted = torch.randn(5, 9).double(), torch.randn(5, 11).double()

    def value(logits: torch.Tensor, rest: torch.Tensor) -> float:
        moved = replace(student, rest_K=rest)
        found, _, _, _ = divergence_with_slopes(moved, teacher, logits, wanted, beta=beta, with_slopes=False)
        return float(found.sum())

    _, _, slopes, rest_slopes = divergence_with_slopes(
        student, teacher, logits, wanted, beta=beta, with_slopes=True
    )
    assert slopes is not None and rest_slopes is not None
    for row, column in itertools.product(range(5), range(9)):
        step = torch.zeros_like(logits)
        step[row, column] = 1e-6
        numeric = (value(logits + step, student.rest_K) - value(logits - step, student.rest_K)) / 2e-6
        assert float(slopes[row, column]) == pytest.approx(numeric, abs=1e-7)
    for row in (0, 1, 4):  # the others have no further tokens, and 0 is the most a log-probability can be
        step = torch.zeros_like(student.rest_K)
        step[row] = 1e-6
        numeric = (value(logits, student.rest_K + step) - value(logits, student.rest_K - step)) / 2e-6
        assert float(rest_slopes[row]) == pytest.approx(numeric, abs=1e-7)


def test_tokens_are_matched_by_what_they_say(template: Template, other: Template) -> None:
    one, two = Lexicon(template), Lexicon(other)
    ours, theirs = common_vocabulary(one, two, num_student=8200, num_teacher=300)
    assert len(ours.common_C) == len(theirs.common_C) == 279
    for mine, yours in zip(ours.common_C.tolist(), theirs.common_C.tolist(), strict=True):
        assert template.tokenizer.convert_ids_to_tokens(mine) == other.tokenizer.convert_ids_to_tokens(yours)
    assert (len(ours.columns_V), len(theirs.columns_V)) == (8200, 300)
    begun = {
        template.tokenizer.convert_ids_to_tokens(each): other.tokenizer.convert_ids_to_tokens(
            int(theirs.common_C[ours.columns_V[each]])
        )
        for each in ours.longer_A.tolist()
    }
    assert (begun["\u0120there"], begun["\u0120because"]) == ("\u0120the", "\u0120")
    assert set(ours.others_B.tolist()) == set(range(8192, 8200)), "rows without a token"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, other_tokenizer: Path) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("models")
    student = tiny_directory(directory / "student", vocab_size=8192, initializer_range=0.05)
    teacher = tiny_directory(directory / "teacher", "gemma2", vocab_size=285, initializer_range=0.1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(other_tokenizer / name, teacher / name)
    return student, teacher


def learner_of(student: Path, teacher: LoadedModel, **changes: Any) -> Learner:
    wanted = recipe(method="distillation", adapter="full", imitation=imitation(**changes))
    return Learner.open(student, wanted, teacher=teacher)


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (0.5, 0.7), (1.0, 2.0)])
def test_with_equal_tokenizers_the_result_is_that_of_the_exact_way(
    beta: float, temperature: float, pair: tuple[Path, Path], template: Template, tmp_path: Path
) -> None:
    teacher = load_base(tiny_directory(tmp_path / "twin", "qwen3", vocab_size=8192, initializer_range=0.1))
    lessons = [lesson(f"the word is {number}, über 😀", number) for number in range(1, 5)]
    exact = learner_of(pair[0], teacher, beta=beta, temperature=temperature)
    expected = exact.forward_backward(tokenize_lessons(lessons, template, max_tokens=64).examples, step=0)

    aligned = learner_of(pair[0], teacher, beta=beta, temperature=temperature)
    aligned.objective = ForeignTeacherObjective(
        imitation(beta=beta, temperature=temperature), aligned.loaded, teacher
    )
    found = aligned.forward_backward(read(lessons, template, template).examples, step=0)

    assert found.loss == pytest.approx(expected.loss, rel=1e-6, abs=1e-6)
    assert found.accuracy == expected.accuracy
    assert found.figures == {"tokens_per_stretch": 1.0}
    for name, one, other in zip(exact.parameters, aligned.gradients, exact.gradients, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm() + 1e-9, name


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (0.5, 0.7), (1.0, 1.0)])
def test_the_gradient_of_a_step_is_that_of_finite_differences(
    beta: float, temperature: float, pair: tuple[Path, Path], template: Template, other: Template
) -> None:
    learner = learner_of(pair[0], load_base(pair[1]), beta=beta, temperature=temperature)
    lessons = [lesson("the word is 14, hello lower", 1), lesson("hello übër lows", 2)]
    items = read(lessons, template, other).examples
    learner.measure_reference(items)
    result = learner.forward_backward(items, step=0)
    assert result.figures["tokens_per_stretch"] > 1.0
    gradients = [gradient / result.gradient_norm for gradient in learner.gradients]

    def loss_at(distance: float) -> float:
        with torch.no_grad():
            for parameter, gradient in zip(learner.parameters.values(), gradients, strict=True):
                parameter += distance * gradient
        total = learner.evaluate(items).loss_sum / sum(item.total_weight for item in items)
        with torch.no_grad():
            for parameter, gradient in zip(learner.parameters.values(), gradients, strict=True):
                parameter -= distance * gradient
        return float(total)

    assert loss_at(0.0) == pytest.approx(result.loss, rel=1e-5)
    slope = (loss_at(2e-3) - loss_at(-2e-3)) / 4e-3
    assert slope == pytest.approx(result.gradient_norm, rel=5e-3)


def test_micro_batches_and_shared_beginnings_change_nothing(
    pair: tuple[Path, Path], template: Template, other: Template
) -> None:
    learner = learner_of(pair[0], load_base(pair[1]))
    items = read([lesson(f"hello word {number}", number) for number in range(1, 6)], template, other).examples
    whole = learner.forward_backward(items, step=0)
    gradients = learner.gradients
    parts = learner.forward_backward(items, step=0, max_microbatch_tokens=20)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    for one, two in zip(gradients, learner.gradients, strict=True):
        assert (one - two).norm() <= 1e-4 * one.norm() + 1e-8


# What is learned

COLOURS = {
    "sky": "deep blue",
    "grass": "light green",
    "snow": "pure white",
    "coal": "jet black",
    "blood": "dark red",
    "sun": "bright yellow",
}
FORMS = ("What colour is {}?", "Name the colour of {}.")
QUESTIONS = [(form.format(thing), colour) for form in FORMS for thing, colour in COLOURS.items()]


def asked(question: str, answer: str, line: int) -> Lesson:
    return Lesson(
        line=line,
        messages=({"role": "user", "content": question},),
        answer={"role": "assistant", "content": answer},
        item={"line": line},
    )


def num_right(loaded: LoadedModel) -> int:
    """Of the questions, answered greedily."""
    writer = Writer(twin_of(loaded), context_length=128, limits=EngineLimits())
    prompts = [
        loaded.template.render([{"role": "user", "content": question}], add_generation_prompt=True).ids
        for question, _ in QUESTIONS
    ]
    requests = [
        GenerationRequest(
            model=ModelKey(base=loaded.digest),
            prompt_ids=tuple(ids),
            parameters=SamplingParameters(max_tokens=12, temperature=0.0),
        )
        for ids in prompts
    ]
    answers = writer.write(requests, lambda: None)
    return sum(group[0].text == answer for group, (_, answer) in zip(answers, QUESTIONS, strict=True))


def colour_teacher(directory: Path) -> LoadedModel:
    """A model from scratch, with a tokenizer of its own, that knows the colours and nothing else."""
    texts = [f"user {question} assistant {answer}" for question, answer in QUESTIONS]
    train_tokenizer(texts * 3, directory, vocab_size=345)
    shape = BaseShape(
        num_layers=2,
        hidden_size=64,
        mlp_size=128,
        num_heads=4,
        num_key_heads=2,
        context_length=128,
        vocab_size=345,
    )
    create_base(directory, shape, seed=1)
    taught = [
        asked(question, answer, line).as_example()
        for line, (question, answer) in enumerate(QUESTIONS, start=1)
    ]
    examples = tokenize(taught, load_template(directory), max_tokens=128).examples
    wanted = recipe(adapter="full", num_epochs=60, batch_size=6, num_steps=120, learning_rate=3e-3)
    learner = Learner.open(directory, wanted)
    list(train(learner, examples))
    learner.loaded.model.requires_grad_(False)
    return learner.loaded


def test_a_student_learns_what_only_the_teacher_knows(tmp_path: Path, template: Template) -> None:
    make_deterministic(1)
    teacher = colour_teacher(tmp_path / "teacher")
    assert num_right(teacher) == 12
    # Every question stands beside every answer, so the texts themselves teach nothing.
    lessons = [
        asked(question, answer, line)
        for line, ((question, _), answer) in enumerate(
            itertools.product(QUESTIONS, COLOURS.values()), start=1
        )
    ]
    aligner = Aligner(template, teacher.template, teacher_context=128)
    wanted = recipe(
        method="distillation",
        rank=16,
        alpha=32,
        num_epochs=12,
        batch_size=12,
        num_steps=72,
        learning_rate=2e-3,
        imitation=imitation(beta=0.0),
    )
    learner = Learner.open(embedded_directory(), wanted, teacher=teacher)
    before = num_right(learner.loaded)
    items = tokenize_lessons(lessons, template, max_tokens=128, aligner=aligner).examples
    steps = [update for update in train(learner, items) if isinstance(update, StepMetrics)]
    after = num_right(learner.loaded)
    assert steps[-1].train_loss < 0.2 * steps[0].train_loss
    # Found: 10 and 11 of 12 (tailor-mini-1 and 2); the texts alone would give 2.
    assert before == 0
    assert after >= 8
