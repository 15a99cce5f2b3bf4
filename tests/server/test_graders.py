"""Graders tried out through the API, with the official client."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import openai
import pytest

from tailor.sandbox import SandboxMissing, find_sandbox

CHECK = {
    "type": "string_check",
    "name": "exact",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": "tailor-mini-2",
    "input": [{"role": "user", "content": "Score {{ sample.output_text }} from 0 to 1."}],
    "sampling_params": {"max_completions_tokens": 4, "seed": 1},
}
SOURCE = """
def grade(sample, item):
    from rapidfuzz import fuzz
    return fuzz.ratio(sample["output_text"], item["answer"]) / 100
"""
PYTHON = {"type": "python", "name": "near", "source": SOURCE, "image_tag": "2025-05-08"}
RUN = "/v1/fine_tuning/alpha/graders/run"
VALIDATE = "/v1/fine_tuning/alpha/graders/validate"


@pytest.fixture(scope="module", autouse=True)
def can_shut_in() -> bool:
    try:
        find_sandbox()
    except SandboxMissing:
        return False
    return True


def run(client: openai.OpenAI, grader: Any, text: str, **item: Any) -> Any:
    return client.fine_tuning.alpha.graders.run(grader=grader, model_sample=text, item=item)


def test_a_grader_is_run_on_one_answer(client: openai.OpenAI) -> None:
    answer = run(client, CHECK, "Rome", answer="Rome")
    assert answer.reward == 1
    assert answer.sub_rewards == {}
    assert answer.metadata.name == "exact"
    assert answer.metadata.type == "string_check"
    assert answer.metadata.scores == {"exact": 1}
    assert answer.metadata.token_usage is None
    assert not any(value is True for _, value in answer.metadata.errors)


def test_what_goes_wrong_while_grading_is_a_flag_and_a_sentence(client: openai.OpenAI) -> None:
    answer = run(client, CHECK, "Rome")
    assert answer.reward == 0
    assert answer.metadata.errors.invalid_variable_error
    assert answer.metadata.tailor["problems"] == ["{{ item.answer }} is not there: item is empty"]


def test_a_served_model_judges_and_its_tokens_are_counted(client: openai.OpenAI) -> None:
    answer = run(client, JUDGE, "Rome")
    usage = answer.api_model_grader_token_usage_per_model["tailor-mini-2"]
    assert usage["completion_tokens"] in range(1, 5)
    assert answer.metadata.token_usage == usage["total_tokens"]
    assert answer.metadata.sampled_model_name == "tailor-mini-2"
    errors = answer.metadata.errors
    assert 0 <= answer.reward <= 1
    assert answer.reward > 0 or not errors.api_model_grader_server_error


def test_a_formula_over_code_and_strings(client: openai.OpenAI, can_shut_in: bool) -> None:
    if not can_shut_in:
        pytest.skip("this machine cannot shut code in")
    multi = {
        "type": "multi",
        "graders": {"exact": CHECK, "near": PYTHON},
        "calculate_output": "0.5 * exact + 0.5 * near",
    }
    answer = run(client, multi, "Roma", answer="Rome")
    assert answer.sub_rewards == {"exact": 0, "near": 0.75}
    assert answer.reward == 0.375
    assert answer.metadata.type == "multi"


def test_code_that_fails_is_told_with_its_line(client: openai.OpenAI, can_shut_in: bool) -> None:
    if not can_shut_in:
        pytest.skip("this machine cannot shut code in")
    answer = run(client, PYTHON, "Roma")
    assert answer.reward == 0
    assert answer.metadata.errors.python_grader_runtime_error
    assert answer.metadata.errors.python_grader_runtime_error_details == (
        'KeyError: \'answer\' (line 4: return fuzz.ratio(sample["output_text"], item["answer"]) / 100)'
    )


ALIKE = {key: CHECK[key] for key in ("name", "input", "reference")} | {
    "type": "text_similarity",
    "evaluation_metric": "bleu",
}


@pytest.mark.parametrize(
    ("grader", "understood"),
    [
        (CHECK, CHECK),
        (ALIKE, ALIKE),
        (ALIKE | {"pass_threshold": 0.5, "unknown": 1}, ALIKE | {"pass_threshold": 0.5}),
        (JUDGE, JUDGE | {"range": [0, 1]}),
    ],
)
def test_a_good_grader_comes_back_as_it_was_understood(
    client: openai.OpenAI, grader: Any, understood: Any
) -> None:
    told = client.fine_tuning.alpha.graders.validate(grader=grader).grader
    assert told is not None
    assert told.to_dict() == understood


def test_a_good_grader_needs_no_item_to_be_validated(http: httpx2.Client, can_shut_in: bool) -> None:
    if not can_shut_in:
        pytest.skip("this machine cannot shut code in")
    answer = http.post(VALIDATE, json={"grader": PYTHON})
    assert answer.status_code == 200
    assert answer.json() == {"grader": PYTHON}
    multi = {"type": "multi", "graders": [CHECK], "calculate_output": "exact ^ 2"}
    understood = http.post(VALIDATE, json={"grader": multi}).json()["grader"]
    assert understood == multi | {"name": "multi", "graders": {"exact": CHECK}}


@pytest.mark.parametrize(
    ("grader", "param", "told"),
    [
        ({}, "grader", "string_check, text_similarity"),
        (CHECK | {"operation": "is"}, "grader.operation", "'eq', 'ne', 'like' or 'ilike'"),
        (
            CHECK | {"input": "{{ item.a | upper }}", "reference": "{{ x }}"},
            "grader.input",
            "grader.reference",
        ),
        (JUDGE | {"model": "gpt-none"}, None, ""),
        (JUDGE | {"model": "ft:none:none::12345678"}, "grader.model", "does not exist"),
        (JUDGE | {"range": [1, 0]}, "grader.range", "less than"),
        (
            CHECK | {"type": "text_similarity", "evaluation_metric": "cosine"},
            "grader.evaluation_metric",
            "rouge_l",
        ),
        (
            {"type": "multi", "graders": {"a": CHECK}, "calculate_output": "a + b"},
            "grader.calculate_output",
            "b is no grader",
        ),
        (
            {"type": "multi", "graders": {"a": CHECK | {"operation": 1}}, "calculate_output": "a"},
            "grader.graders.a.operation",
            "eq",
        ),
    ],
)
@pytest.mark.parametrize("path", [VALIDATE, RUN])
def test_a_grader_that_cannot_grade_is_refused_by_field(
    http: httpx2.Client, path: str, grader: Any, param: str | None, told: str
) -> None:
    answer = http.post(path, json={"grader": grader, "model_sample": "x"})
    if param is None:  # OpenAI's names stand for the default base
        assert answer.status_code == 200
        return
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert told in error["message"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def grade(:", "line 1"),
        ("x = 1", "defines no function grade"),
        # Without namespaces (or with a library folder below /tmp) torch is seen and may not be read.
        ("import torch", "No module named 'torch'|Permission denied"),
    ],
)
def test_code_that_does_not_load_is_refused(
    http: httpx2.Client, can_shut_in: bool, source: str, told: str
) -> None:
    answer = http.post(VALIDATE, json={"grader": PYTHON | {"source": source}})
    assert answer.status_code == 400
    error = answer.json()["error"]
    if can_shut_in:
        assert (error["param"], error["code"]) == ("grader.source", "invalid_grader")
        assert re.search(told, error["message"])
    else:
        assert error["code"] == "python_graders_unavailable"
