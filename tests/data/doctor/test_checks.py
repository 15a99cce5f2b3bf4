"""What each check finds in a small file, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tailor.data.doctor import TokenCount
from tailor.data.doctor.format import plain_label
from tailor.data.doctor.labels import judge
from tailor.data.doctor.refusals import HEDGES, REFUSES, manner_of
from tests.data.doctor.making import answered, chat, codes, diagnosed, labelled, only, question

NOISE = {"few_examples", "personal_names", "thin_region", "loner", "near_duplicate"}


def test_a_sound_file_is_left_alone() -> None:
    assert codes(diagnosed(labelled(300))) <= NOISE
    assert codes(diagnosed(answered(300))) <= NOISE


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (labelled(30), "classification with 3 labels"),
        (answered(30), "free answers"),
        (
            [chat(question(n), json.dumps({"city": "Rome", "day": n})) for n in range(30)],
            "extraction to JSON",
        ),
        ([{"text": f"A document about {question(n)}."} for n in range(30)], "plain text"),
        (
            [
                {
                    "input": {"messages": [{"role": "user", "content": question(n)}]},
                    "preferred_output": [{"role": "assistant", "content": f"good {n}"}],
                    "non_preferred_output": [{"role": "assistant", "content": f"a much worse one {n}"}],
                }
                for n in range(30)
            ],
            "preference pairs",
        ),
        (
            [{"messages": [{"role": "user", "content": question(n)}], "answer": n} for n in range(30)],
            "prompts for reinforcement",
        ),
    ],
)
def test_the_task_is_told_from_the_answers(rows: list[Any], kind: str) -> None:
    found = diagnosed(rows)
    assert str(found.task) == kind
    assert found.ok


def test_json_that_does_not_parse_or_has_another_shape() -> None:
    rows = [
        chat(question(n), json.dumps({"intent": "x", "slots": [{"name": "a", "value": "b"}]}))
        for n in range(80)
    ]
    rows[10] = chat(question(10), '{"intent": "x", "slots": []')
    rows[20] = chat(question(20), json.dumps({"Intent": "x", "slots": []}))
    rows[30] = chat(question(30), json.dumps({"intent": "x", "slots": [{"name": 4, "value": "b"}]}))
    rows[40] = chat(question(40), "```json\n" + rows[0]["messages"][1]["content"] + "\n```")
    found = diagnosed(rows)
    assert only(found, "broken_json").lines == (11, 41)
    assert only(found, "json_shape").lines == (21, 31)
    assert "is missing" in only(found, "json_shape").problems[0].message


def test_answers_in_another_form_than_nearly_all_others() -> None:
    rows = answered(200)
    rows[7] = chat(question(7), "Answer: " + rows[7]["messages"][1]["content"])
    rows[8] = chat(question(8), rows[8]["messages"][1]["content"] + " ")
    rows[9] = chat(question(9), rows[9]["messages"][1]["content"][:-1])
    found = diagnosed(rows)
    assert only(found, "format_prefix").lines == (8,)
    assert only(found, "white_space").lines == (9,)
    assert only(found, "format_full_stop").lines == (10,)


def test_spellings_of_one_label_are_one_label() -> None:
    for spelling in ("Spam", " spam", "spam.", '"Spam"', "Label: spam", "```\nspam\n```", "**SPAM**"):
        assert plain_label(spelling) == "spam"
    assert plain_label("not_spam") == plain_label("Not spam") != "spam"


def test_refusals_and_hedges() -> None:
    assert manner_of("I'm sorry, but I can't help with that.") == REFUSES
    assert manner_of("Paris. As an AI language model I have no opinions.") == HEDGES
    assert manner_of("I can't wait to see you in Paris!") == 0


def test_tool_calls_are_held_against_their_schemas() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}

    def calling(name: str, arguments: str, **more: Any) -> dict[str, Any]:
        call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
        said = [{"role": "user", "content": "rain?"}, {"role": "assistant", "tool_calls": [call]}]
        return {"messages": said, "tools": [tool], **more}

    far = {
        "type": "function",
        "function": {"name": "far", "parameters": {"$ref": "http://127.0.0.1:9/schema"}},
    }
    rows = [
        calling("weather", '{"city": "Rome"}'),
        calling("weather", '{"town": "Rome"}'),
        calling("wether", '{"city": "Rome"}'),
        calling("far", "{}", tools=[far]),
    ]
    found = diagnosed(rows)
    assert str(found.task) == "calling tools"
    assert only(found, "tool_arguments").lines == (2,)
    assert "'city' is a required property" in only(found, "tool_arguments").problems[0].message
    assert only(found, "tool_not_offered").lines == (3,)
    assert only(found, "tool_schema").lines == (4,)  # it points elsewhere, and nothing is fetched


def test_flipped_labels_are_ranked_first() -> None:
    rng = np.random.default_rng(3)
    words = {0: "parcel late lost delivery", 1: "invoice bill payment refund", 2: "prize winner free click"}
    labels = rng.integers(0, 3, 600)
    texts = [
        " ".join(rng.choice(words[label].split(), 3)) + " " + question(number)
        for number, label in enumerate(labels)
    ]
    flipped = rng.choice(600, 30, replace=False)
    given = labels.copy()
    given[flipped] = (labels[flipped] + 1) % 3
    found = judge(texts, given, num_labels=3, seed=0)
    first = set(np.argsort(-found.gap)[:60].tolist())
    assert len(first & set(flipped.tolist())) >= 27
    assert (found.better[flipped] == labels[flipped]).mean() > 0.9


def test_what_the_model_cannot_hold_is_told_longest_first() -> None:
    rows = answered(40)
    rows[3] = chat(question(3), "word " * 300)
    rows[5] = chat(question(5), "word " * 600)
    found = diagnosed(rows, tokens=TokenCount(context=200))
    assert only(found, "truncated").lines == (4, 6)
    assert [problem.line for problem in only(found, "truncated").problems] == [6, 4]
    assert found.tokens is not None
    assert found.tokens.trained == 3 * found.tokens.total


def test_languages_that_a_few_examples_are_in() -> None:
    rows = [
        chat(f"Could you please {question(n)} and tell me what I have to do next?", "Yes.") for n in range(60)
    ]
    rows[9] = chat(
        "Bitte erklären Sie mir genau, warum meine Rechnung in diesem Monat so hoch ist.", "Gern. " * 12
    )
    assert only(diagnosed(rows), "other_language").lines == (10,)


def test_the_amount_is_judged_by_the_goal_and_copies_do_not_count() -> None:
    rows = labelled(40) * 5
    assert "under 50" in only(diagnosed(rows), "few_examples").message
    assert "few_examples" not in codes(diagnosed(labelled(120)))
    assert "5,000" in only(diagnosed(labelled(120), goal="behaviour"), "few_examples").remedy


def test_pairs_that_contradict_each_other_or_give_themselves_away() -> None:
    def pair(number: int, better: str, worse: str) -> dict[str, Any]:
        return {
            "input": {"messages": [{"role": "user", "content": question(number)}]},
            "preferred_output": [{"role": "assistant", "content": better}],
            "non_preferred_output": [{"role": "assistant", "content": worse}],
        }

    rows = [pair(n, f"a long and patient answer number {n}", f"no {n}") for n in range(30)]
    rows.append(pair(4, "no 4", "a long and patient answer number 4"))
    found = diagnosed(rows)
    assert only(found, "opposite_pair").lines == (31,)
    assert "longer" in only(found, "length_habit").message


def test_blocking_problems_keep_every_line() -> None:
    rows: list[Any] = answered(300)
    for line in range(1, 251):
        rows[line] = {"messages": [{"role": "user", "content": "hello"}]}
    found = diagnosed(rows)
    assert not found.ok
    blocking = only(found, "no_assistant_message")
    assert blocking.severity == "blocking"
    assert blocking.lines == tuple(range(2, 252))
    assert len(blocking.problems) == 20
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_empty_file_is_diagnosed_too() -> None:
    found = diagnosed([])
    assert not found.ok
    assert found.tokens is None
    json.dumps(found.to_dict(), allow_nan=False)
