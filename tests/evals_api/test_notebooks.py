"""What people's notebooks do with evals, unchanged but for the address, with the official client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailor.sandbox import SandboxMissing, find_sandbox
from tests.evals_api.conftest import Finish

TICKETS = [
    {"ticket": "My printer is on fire", "label": "hardware"},
    {"ticket": "I cannot log in", "label": "account"},
    {"ticket": "The screen is black", "label": "hardware"},
]
SCHEMA = {
    "type": "object",
    "properties": {"ticket": {"type": "string"}, "label": {"type": "string"}},
    "required": ["ticket", "label"],
}
PYTHON = """
def grade(sample, item):
    return 1.0 if sample["output_text"].strip().lower() == item["label"] else 0.25
"""


@pytest.fixture(scope="module")
def can_shut_in() -> bool:
    try:
        find_sandbox()
    except SandboxMissing:
        return False
    return True


def test_answers_that_are_in_the_data_are_graded_without_asking_anybody(client: Any, finish: Finish) -> None:
    evaluation = client.evals.create(
        name="tickets",
        data_source_config={"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True},
        testing_criteria=[
            {
                "type": "string_check",
                "name": "exact",
                "input": "{{ sample.output_text }}",
                "reference": "{{ item.label }}",
                "operation": "eq",
            }
        ],
        metadata={"usecase": "tickets"},
    )
    answers = ["hardware", "hardware", "hardware"]
    rows = [
        {"item": item, "sample": {"output_text": answer}}
        for item, answer in zip(TICKETS, answers, strict=True)
    ]
    run = client.evals.runs.create(
        evaluation.id,
        name="by hand",
        data_source={"type": "jsonl", "source": {"type": "file_content", "content": rows}},
    )
    assert run.status in ("queued", "in_progress")
    run = finish(run)
    assert run.status == "completed"
    assert run.result_counts.to_dict() == {"total": 3, "passed": 2, "failed": 1, "errored": 0}
    assert run.per_model_usage == []
    [criterion] = run.per_testing_criteria_results
    assert (criterion.testing_criteria, criterion.passed, criterion.failed) == ("exact", 2, 1)

    failed = list(client.evals.runs.output_items.list(run.id, eval_id=evaluation.id, status="fail"))
    assert [item.datasource_item for item in failed] == [TICKETS[1]]
    assert failed[0].results[0].passed is False
    assert failed[0].sample.output[0].content == "hardware"
    one = client.evals.runs.output_items.retrieve(failed[0].id, eval_id=evaluation.id, run_id=run.id)
    assert one.to_dict() == failed[0].to_dict()


def test_a_model_answers_from_a_template_and_a_model_scores_in_a_range(client: Any, finish: Finish) -> None:
    evaluation = client.evals.create(
        name="scored",
        data_source_config={"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True},
        testing_criteria=[
            {
                "type": "score_model",
                "name": "helpful",
                "model": "o3-mini",  # OpenAI's names stand for the default base
                "input": [
                    {"role": "system", "content": "Score from 1 to 7."},
                    {"role": "user", "content": "{{ item.ticket }}: {{ sample.output_text }}"},
                ],
                "range": [1, 7],
                "pass_threshold": 5.5,
                "sampling_params": {"max_completions_tokens": 4, "temperature": 0},
            }
        ],
    )
    run = client.evals.runs.create(
        evaluation.id,
        data_source={
            "type": "completions",
            "source": {"type": "file_content", "content": [{"item": item} for item in TICKETS]},
            "input_messages": {
                "type": "template",
                "template": [
                    {
                        "type": "message",
                        "role": "developer",
                        "content": {"type": "input_text", "text": "Sort."},
                    },
                    {"type": "message", "role": "user", "content": "{{ item.ticket }}"},
                ],
            },
            "model": "gpt-4o-mini",
            "sampling_params": {"temperature": 0.0, "max_completions_tokens": 8, "top_p": 0.9, "seed": 42},
        },
    )
    assert run.model == "gpt-4o-mini"
    run = finish(run)
    assert run.status == "completed"
    assert run.result_counts.total == 3
    [usage] = run.per_model_usage
    assert usage.invocation_count == 6  # three answers, three judgements
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens

    items = list(client.evals.runs.output_items.list(run.id, eval_id=evaluation.id, limit=1))
    assert [item.datasource_item_id for item in items] == [0, 1, 2]
    for item in items:
        assert [message.role for message in item.sample.input] == ["developer", "user"]
        assert item.sample.input[1].content == item.datasource_item["ticket"]
        assert item.sample.usage.completion_tokens in range(1, 9)
        assert (item.sample.seed, item.sample.temperature, item.sample.max_completion_tokens) == (42, 0, 8)
        judgement: Any = item.results[0].sample
        assert isinstance(judgement["output"][0]["content"], str)
        assert item.results[0].score == 0 or 1 <= item.results[0].score <= 7


def test_code_and_formulas_grade(client: Any, lenient: Any, finish: Finish, can_shut_in: bool) -> None:
    if not can_shut_in:
        pytest.skip("this machine cannot shut code in")
    multi: Any = {
        "type": "multi",
        "name": "mean",
        "graders": {
            "code": {"type": "python", "name": "code", "source": PYTHON},
            "same": {
                "type": "string_check",
                "name": "same",
                "input": "{{ sample.output_text }}",
                "reference": "{{ item.label }}",
                "operation": "ilike",
            },
        },
        "calculate_output": "(code + same) / 2",
        "pass_threshold": 0.9,
    }
    code: Any = {"type": "python", "name": "code", "source": PYTHON, "pass_threshold": 0.5}
    evaluation = lenient.evals.create(
        data_source_config={"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True},
        testing_criteria=[code, multi],
    )
    rows = [{"item": item, "sample": {"output_text": "Hardware"}} for item in TICKETS]
    run = client.evals.runs.create(
        evaluation.id,
        data_source={"type": "jsonl", "source": {"type": "file_content", "content": rows}},
    )
    run = finish(run)
    assert run.status == "completed", run.error
    assert run.result_counts.to_dict() == {"total": 3, "passed": 2, "failed": 1, "errored": 0}
    items = list(client.evals.runs.output_items.list(run.id, eval_id=evaluation.id))
    assert [[result.score for result in item.results] for item in items] == [[1, 1], [0.25, 0.125], [1, 1]]
    assert items[1].results[1].model_extra["tailor"]["scores"] == {"code": 0.25, "same": 0}


def test_stored_completions_are_graded_as_they_are_and_asked_again(client: Any, finish: Finish) -> None:
    tag = {"usecase": "greetings"}
    for name in ("Ada", "Alan"):
        client.chat.completions.create(
            model="tailor-mini-2",
            messages=[{"role": "user", "content": f"Greet {name}"}],
            max_tokens=4,
            store=True,
            metadata=tag,
        )
    evaluation = client.evals.create(
        name="greetings",
        data_source_config={"type": "logs", "metadata": tag},
        testing_criteria=[
            {
                "type": "label_model",
                "name": "polite",
                "model": "gpt-4o",
                "input": [
                    {"role": "developer", "content": "Is this polite? Answer yes or no."},
                    {"role": "user", "content": "{{ item.input }} {{ sample.output_text }}"},
                ],
                "labels": ["yes", "no"],
                "passing_labels": ["yes"],
            },
            {
                "type": "text_similarity",
                "name": "like before",
                "input": "{{ sample.output_text }}",
                "reference": "{{ item.output }}",
                "evaluation_metric": "fuzzy_match",
                "pass_threshold": 0.5,
            },
        ],
    )
    assert evaluation.data_source_config.type == "logs"
    as_it_was = finish(
        client.evals.runs.create(
            evaluation.id,
            data_source={"type": "completions", "source": {"type": "stored_completions", "metadata": tag}},
        )
    )
    assert as_it_was.status == "completed", as_it_was.error
    assert as_it_was.result_counts.total == 2
    assert as_it_was.per_testing_criteria_results[1].passed == 2
    again = finish(
        client.evals.runs.create(
            evaluation.id,
            data_source={
                "type": "completions",
                "model": "gpt-4o-mini",
                "input_messages": {"type": "item_reference", "item_reference": "item.input"},
                "source": {"type": "stored_completions", "limit": 1},
                "sampling_params": {"max_completion_tokens": 4},
            },
        )
    )
    assert again.status == "completed", again.error
    [item] = client.evals.runs.output_items.list(again.id, eval_id=evaluation.id)
    assert item.sample.input[0].content == "Greet Alan"  # the newest


def test_rows_come_from_a_file_and_the_responses_words_are_understood(
    client: Any, lenient: Any, finish: Finish
) -> None:
    data = b"".join(json.dumps({"item": item}).encode() + b"\n" for item in TICKETS)
    file = lenient.files.create(file=("tickets.jsonl", data), purpose="evals")
    evaluation = client.evals.create(
        data_source_config={"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True},
        testing_criteria=[
            {
                "type": "string_check",
                "name": "anything",
                "input": "{{ sample.output_text }}",
                "reference": "",
                "operation": "like",
            }
        ],
    )
    run = client.evals.runs.create(
        evaluation.id,
        data_source={
            "type": "responses",
            "model": "gpt-4.1",
            "source": {"type": "file_id", "id": file.id},
            "input_messages": {
                "type": "template",
                "template": [
                    {"role": "user", "content": {"type": "input_text", "text": "{{ item.ticket }}"}}
                ],
            },
            "sampling_params": {"max_completion_tokens": 4, "text": {"format": {"type": "text"}}},
        },
    )
    client.files.delete(file.id)  # the run has the bytes
    run = finish(run)
    assert run.status == "completed", run.error
    assert run.result_counts.passed == 3
