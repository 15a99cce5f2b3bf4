"""Cases through an endpoint: counted, judged, compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tailor.client import Contest, Endpoint, Graded, Score, judge, run_cases
from tailor.data import Case
from tailor.errors import InvalidRequest, NotFound
from tests.client.stub import Asked, Stub, error, serving

ANSWERS = {"good": {"pay?": "Invoice", "late?": "the ORDER is late"}, "bad": {"pay?": "spam"}}


def answer(asked: Asked) -> tuple[int, Any]:
    model, prompt = asked.body["model"], asked.body["messages"][-1]["content"]
    if model not in ANSWERS:
        return 404, error("There is no such model.", code="model_not_found")
    if prompt == "too long?":
        return 400, error("The prompt has too many tokens.", param="messages")
    return 200, {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": ANSWERS[model].get(prompt, "?")},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    stub = Stub()
    stub.on("POST", "/chat/completions", answer)
    with serving(stub):
        endpoint = Endpoint(stub.base_url, "sk-test")
        yield endpoint
        endpoint.close()


def case(line: int, prompt: str, **expected: Any) -> Case:
    return Case(line=line, messages=({"role": "user", "content": prompt},), **expected)


CASES = (
    case(1, "pay?", reference="Invoice"),
    case(2, "late?", expected_patterns=("order", "LATE")),
    case(3, "else?", expected_patterns=("order",)),
    case(4, "too long?", reference="x"),
)


def test_a_score_has_what_the_mission_asks_for(endpoint: Endpoint) -> None:
    result = run_cases(endpoint, "good", CASES, concurrency=2).to_dict()
    assert (result["total"], result["passed"], result["failed"], result["pass_rate"]) == (4, 2, 2, 0.5)
    assert result["failures"] == [
        {"line": 3, "input": "else?", "expected": ("order",), "actual": "?"},
        {"line": 4, "input": "too long?", "expected": "x", "actual": "The prompt has too many tokens."},
    ]
    assert 0 < result["interval"]["low"] < 0.5 < result["interval"]["high"] < 1


def test_every_pattern_must_occur_and_a_reference_must_be_equal() -> None:
    both = case(1, "?", expected_patterns=("refund", "3 days"))
    assert judge(both, "Your REFUND takes 3 Days.")
    assert not judge(both, "Your refund is on its way.")
    assert judge(case(1, "?", reference="order"), " order\n")
    assert not judge(case(1, "?", reference="order"), "the order")


def test_two_models_are_compared_case_by_case(endpoint: Endpoint) -> None:
    good, bad = (run_cases(endpoint, name, CASES[:3]) for name in ("good", "bad"))
    contest = Contest(model=good, against=bad)
    assert contest.outcomes == ("fixed", "fixed", "unchanged")
    assert contest.difference.mean == pytest.approx(2 / 3)
    assert contest.difference.p == pytest.approx(0.5)
    assert contest.to_dict()["fixed"] == 2


def test_the_difference_is_in_favour_of_the_model_asked_about() -> None:
    def score(name: str, passes: list[bool]) -> Score:
        graded = (
            Graded(line=line, input="", expected="", actual="", passed=passed)
            for line, passed in enumerate(passes)
        )
        return Score(model=name, graded=tuple(graded))

    contest = Contest(model=score("new", [True] * 9 + [False]), against=score("old", [False] * 10))
    assert contest.difference.mean == pytest.approx(0.9)
    assert contest.difference.low > 0
    assert contest.difference.p < 0.01


def test_an_unknown_model_scores_nothing(endpoint: Endpoint) -> None:
    with pytest.raises(NotFound, match="no such model"):
        run_cases(endpoint, "absent", CASES)


def test_no_cases_are_no_score(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidRequest, match="no cases"):
        run_cases(endpoint, "good", ())
