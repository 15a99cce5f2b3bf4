"""Grading: every type of grader over items and answers, with everything that can go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tailor.errors import InvalidRequest, Unavailable
from tailor.grading import Answered, Grade, Question, Reply, grade_now, sample_of
from tailor.protocol import Grader
from tailor.sandbox import Outcome

READ: TypeAdapter[Grader] = TypeAdapter(Grader)

CHECK = {
    "type": "string_check",
    "name": "exact",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
ALIKE = CHECK | {"type": "text_similarity", "name": "alike", "evaluation_metric": "fuzzy_match"}
SCORE = {
    "type": "score_model",
    "name": "judge",
    "model": "judge-1",
    "input": [
        {"role": "developer", "content": "Score it."},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "{{ sample.output_text }}"}, "vs {{ item.answer }}"],
        },
    ],
    "range": [0, 5],
}
LABEL = {
    "type": "label_model",
    "name": "tone",
    "model": "judge-1",
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    "labels": ["correct", "incorrect", "partly correct"],
    "passing_labels": ["correct"],
}
PYTHON = {"type": "python", "name": "code", "source": "def grade(sample, item): return 1"}


def grader(**fields: Any) -> Grader:
    return READ.validate_python(fields)


def answered(text: str, **item: Any) -> Answered:
    return Answered(item=item, sample=sample_of(text))


def graded(asked: dict[str, Any], text: str, item: dict[str, Any] | None = None, **means: Any) -> Grade:
    [grade] = grade_now(
        READ.validate_python(asked), [answered(text, **(item or {"answer": "Rome"}))], **means
    )
    return grade


def saying(text: str, **reply: Any) -> Any:
    """A model that always says the same."""
    return lambda question: Reply(text=text, model="judge-1", prompt_tokens=7, completion_tokens=2, **reply)


def flags(grade: Grade) -> set[str]:
    return {name for name, value in grade.errors if value is True}


# --- strings and similarity


@pytest.mark.parametrize(
    ("operation", "text", "score"),
    [
        ("eq", "Rome", 1),
        ("eq", "Rome ", 0),
        ("ne", "Rome", 0),
        ("ne", "Milan", 1),
        ("like", "It is Rome.", 1),
        ("like", "It is rome.", 0),
        ("ilike", "It is ROME.", 1),
        ("ilike", "It is Milan.", 0),
    ],
)
def test_string_checks(operation: str, text: str, score: float) -> None:
    grade = graded(CHECK | {"operation": operation}, text)
    assert (grade.score, grade.passed, flags(grade)) == (score, score == 1, set())


def test_similarity_passes_from_its_threshold_on() -> None:
    assert graded(ALIKE | {"pass_threshold": 1}, "Rome").passed is True
    assert graded(ALIKE | {"pass_threshold": 0.99}, "Rom").passed is False
    assert graded(ALIKE, "Rom").passed is None


def test_cosine_asks_for_vectors() -> None:
    asked = ALIKE | {"evaluation_metric": "cosine"}
    vectors = {"Rome": [1.0, 0.0], "Milan": [1.0, 1.0]}
    grade = graded(asked, "Milan", embed=lambda texts: [vectors[text] for text in texts])
    assert grade.score == pytest.approx(2**-0.5)
    with pytest.raises(InvalidRequest, match="embeddings"):
        graded(asked, "Milan")


def test_a_missing_variable_is_told_and_stops_no_other_item() -> None:
    first, second = grade_now(
        READ.validate_python(CHECK), [answered("Rome", other=1), answered("x", answer="x")]
    )
    assert flags(first) == {"invalid_variable_error"}
    assert (first.score, first.passed) == (0, False)
    assert first.problems == ("{{ item.answer }} is not there: item has other",)
    assert second.passed is True


def test_an_answer_that_should_be_json_and_is_not() -> None:
    asked = CHECK | {"input": "{{ sample.output_json.city }}"}
    assert graded(asked, '{"city": "Rome"}').score == 1
    assert flags(graded(asked, "Rome")) == {"sample_parse_error"}
    assert flags(graded(asked, '{"town": "Rome"}')) == {"invalid_variable_error"}


# --- models


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("3", 3),
        (" 4.5\n", 4.5),
        ("-2", 0),
        ("17", 5),
        ('{"steps": [], "result": 2.5}', 2.5),
        ('```json\n{"score": 1}\n```', 1),
        ('{"result": "4"}', 4),
        ("Score: 3.", 3),
        ("I give it 3. Final: 3", 3),
        ("2e0", 2),
    ],
)
def test_a_score_is_the_one_number_in_the_answer_clipped(text: str, score: float) -> None:
    grade = graded(SCORE, "Rome", ask=saying(text))
    assert (grade.score, flags(grade)) == (score, set())


@pytest.mark.parametrize(
    "text", ["good", "3 or 4", "4/5", '{"result": true}', '{"x": 1}', "[1]", "null", "v1beta2"]
)
def test_an_answer_without_one_number_is_a_parse_error(text: str) -> None:
    grade = graded(SCORE, "Rome", ask=saying(text))
    assert (grade.score, grade.passed, flags(grade)) == (0, False, {"model_grader_parse_error"})
    assert "one number" in grade.problems[0]


def test_the_question_is_rendered_and_kept_with_the_reply() -> None:
    grade = graded(
        SCORE | {"sampling_params": {"max_completion_tokens": 9, "seed": 1}}, "Milan", ask=saying("2")
    )
    assert grade.question is not None
    assert grade.question.messages == (
        {"role": "developer", "content": "Score it."},
        {"role": "user", "content": "Milan\nvs Rome"},
    )
    assert grade.question.sampling.max_completions_tokens == 9
    assert grade.reply is not None
    assert grade.usage == {"judge-1": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("correct", 1),
        ("Correct.", 1),
        ("incorrect", 0),
        ("The answer is incorrect", 0),
        ("partly correct", 0),
        ('{"result": "correct"}', 1),
        ('"correct"', 1),
    ],
)
def test_a_label_passes_or_does_not(text: str, score: float) -> None:
    grade = graded(LABEL, "Rome", ask=saying(text))
    assert (grade.score, grade.passed, flags(grade)) == (score, score == 1, set())


@pytest.mark.parametrize("text", ["maybe", "correct or incorrect", "uncorrected", "{}", "7"])
def test_no_label_or_two_are_a_parse_error(text: str) -> None:
    assert flags(graded(LABEL, "Rome", ask=saying(text))) == {"model_grader_parse_error"}


def test_a_judge_that_refuses_says_nothing_or_cannot_be_asked() -> None:
    def fail(question: Question) -> Reply:
        raise Unavailable("The engine is busy.")

    assert flags(graded(SCORE, "x", ask=saying("", refusal="No."))) == {"model_grader_refusal_error"}
    assert flags(graded(SCORE, "x", ask=saying("  "))) == {"unresponsive_reward_error"}
    grade = graded(SCORE, "x", ask=fail)
    assert flags(grade) == {"model_grader_server_error"}
    assert grade.errors.model_grader_server_error_details == "The engine is busy."


async def _reply(question: Question) -> Reply:
    return Reply(text="1", model=question.model)


def test_a_judge_may_be_asked_asynchronously() -> None:
    assert graded(SCORE, "x", ask=_reply).score == 1


def test_questions_go_out_in_parallel_but_not_all_at_once() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def ask(question: Question) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return Reply(text=question.messages[1]["content"].split()[0], model="m")

    answers = [answered(str(number), answer="x") for number in range(5)] * 4
    grades = grade_now(READ.validate_python(SCORE), answers, ask=ask, max_asks=3)
    assert [grade.score for grade in grades] == [0, 1, 2, 3, 4] * 4
    assert most == 3


# --- python


def running(*outcomes: Outcome) -> Any:
    def run(source: str, cases: Iterable[tuple[Any, Any]]) -> Iterator[Outcome]:
        assert source == PYTHON["source"]
        for (sample, item), outcome in zip(cases, outcomes, strict=True):
            assert sample["output_text"] == "Rome"
            assert item == {"answer": "Rome"}
            yield outcome

    return run


def test_python_scores_and_faults() -> None:
    assert graded(PYTHON, "Rome", run_python=running(Outcome(score=0.25, seconds=2.0))).seconds == 2
    mine = graded(
        PYTHON, "Rome", run_python=running(Outcome(score=None, fault="grader", details="KeyError: 'x'"))
    )
    assert flags(mine) == {"python_grader_runtime_error"}
    assert mine.errors.python_grader_runtime_error_details == "KeyError: 'x'"
    ours = graded(
        PYTHON, "Rome", run_python=running(Outcome(score=None, fault="sandbox", details="it ended"))
    )
    assert flags(ours) == {"python_grader_server_error"}
    assert ours.errors.python_grader_server_error_type == "sandbox"


# --- multi


def multi(formula: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "multi",
        "graders": {"exact": CHECK, "judge": SCORE},
        "calculate_output": formula,
    } | fields


def test_a_formula_over_graders() -> None:
    grade = graded(multi("0.5 * exact + judge / 10"), "Rome", ask=saying("4"))
    assert (grade.name, grade.score, grade.passed) == ("multi", 0.9, None)
    wire = grade.to_wire()
    assert wire.sub_rewards == {"exact": 1, "judge": 4}
    assert wire.metadata.scores == {"exact": 1, "judge": 4}
    assert wire.metadata.token_usage == 9
    assert wire.metadata.sampled_model_name == "judge-1"


def test_a_failed_part_counts_as_nought_or_spoils_the_whole() -> None:
    plain = graded(multi("exact + judge"), "Rome", ask=saying("good"))
    assert (plain.score, plain.passed, flags(plain)) == (1, False, {"model_grader_parse_error"})
    assert plain.problems[0].startswith("judge: judge-1 was to answer")
    strict = graded(multi("exact + judge", invalid_grade=-1), "Rome", ask=saying("good"))
    assert strict.score == -1


def test_a_formula_without_a_value() -> None:
    grade = graded(multi("1 / exact"), "Milan", ask=saying("1"))
    assert (grade.score, flags(grade)) == (0, {"formula_parse_error"})
    assert grade.problems == ("1 / exact: division by zero",)


def test_graders_in_a_list_go_by_their_names() -> None:
    listed = grader(type="multi", graders=[CHECK, SCORE], calculate_output="exact + judge")
    mapped = grader(type="multi", graders={"exact": CHECK, "judge": SCORE}, calculate_output="exact + judge")
    alone = grader(type="multi", graders=CHECK, calculate_output="exact")
    assert listed == mapped
    assert [*alone.graders] == ["exact"]  # type: ignore[union-attr]


# --- what a grader must be


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        (CHECK | {"operation": "is", "input": "{{ item.x"}, ["operation", "input"]),
        ({key: CHECK[key] for key in ("type", "name")}, ["input", "reference", "operation"]),
        (
            ALIKE | {"evaluation_metric": "bert", "pass_threshold": "high"},
            ["evaluation_metric", "pass_threshold"],
        ),
        (SCORE | {"range": [1, 0]}, ["range"]),
        (SCORE | {"range": [0]}, ["range"]),
        (SCORE | {"input": []}, ["input"]),
        (SCORE | {"input": [{"role": "tool", "content": "{{ x }}"}]}, ["role", "content"]),
        (
            SCORE | {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            ["content"],
        ),
        (SCORE | {"input": [{"role": "user", "content": {"type": "input_audio"}}]}, ["content"]),
        (LABEL | {"passing_labels": ["right"]}, ["passing_labels"]),
        (LABEL | {"labels": ["a", "A"]}, ["labels"]),
        (PYTHON | {"source": ""}, ["source"]),
        (PYTHON | {"source": "#" * 262_145}, ["source"]),
        (multi("exact + other"), ["calculate_output"]),
        (multi("exact +"), ["calculate_output"]),
        (multi("1", graders={}), ["graders"]),
        (multi("1", graders={"min": CHECK}), ["graders"]),
        (multi("1", graders={"a b": CHECK}), ["[key]"]),
        (multi("1", graders={"m": multi("1")}), ["m"]),
        (multi("1", graders=[CHECK, CHECK]), ["graders"]),
    ],
)
def test_every_problem_of_a_grader_is_named(asked: dict[str, Any], places: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        READ.validate_python(asked)
    found = {str(error["loc"][-1]) for error in caught.value.errors()}
    assert found == {*places}


@pytest.mark.parametrize("asked", [SCORE, LABEL, PYTHON, multi("judge")])
def test_what_a_grader_needs_must_be_there(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        graded(asked, "x")


def test_an_empty_batch_has_no_grades() -> None:
    assert grade_now(grader(**CHECK), []) == []
