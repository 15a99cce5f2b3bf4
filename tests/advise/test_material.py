"""Reading, splitting and judging."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tailor.advise.material import asked_of, read_material, row_of, split
from tailor.advise.measure import Measure, measure_of
from tailor.data.doctor.wording import loose_key
from tailor.data.rows import open_source
from tailor.errors import InvalidRequest
from tests.advise.making import item


def test_no_question_is_on_two_sides_however_it_is_spelled() -> None:
    items = [item(f"where is parcel {number}?", "order", line=number) for number in range(200)]
    items += [item(f"Where is  parcel {number}", "order", line=200 + number) for number in range(100)]
    parts = split(items)
    sides = [
        {loose_key(each.asked) for each in side} for side in (parts.train, parts.development, parts.held_out)
    ]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert sum(map(len, (parts.train, parts.development, parts.held_out))) == 300
    assert 60 <= len(parts.held_out) <= 75


def test_the_order_of_the_lines_changes_no_split() -> None:
    items = [item(f"question {number}", "yes", line=number) for number in range(100)]
    shuffled = random.Random(1).sample(items, len(items))
    for one, other in zip(
        (split(items).train, split(items).held_out),
        (split(shuffled).train, split(shuffled).held_out),
        strict=True,
    ):
        assert {each.asked for each in one} == {each.asked for each in other}
    assert {e.asked for e in split(items).held_out} != {e.asked for e in split(items, seed=1).held_out}


def test_few_items_are_held_out_where_answers_are_long() -> None:
    items = [item(f"question {number}", "word " * 300) for number in range(1_000)]
    assert len(split(items).held_out) == 40


def test_a_table_is_read_and_its_task_is_told(tmp_path: Path) -> None:
    lines = [
        "text,label",
        *(f"parcel {n} is late,order" for n in range(20)),
        *(f"prize {n},spam" for n in range(20)),
    ]
    path = tmp_path / "mails.csv"
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    material = read_material(open_source(path))
    assert str(material.measure) == "classification with 2 labels"
    assert (len(material.items), material.num_copies) == (40, 1)
    assert material.fingerprint != read_material(open_source(path), kind="text").fingerprint


def test_too_few_examples_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text("text,label\n" + "".join(f"mail {number},spam\n" for number in range(12)))
    with pytest.raises(InvalidRequest, match="12 different sound examples"):
        read_material(open_source(path))


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["spam", "Spam.", "ham"] * 20, "classification"),
        ([f'{{"city": "c{number}"}}' for number in range(60)], "extraction"),
        ([f"a{number}" for number in range(60)], "exact"),
        ([f"dear customer number {number}, we are sorry" for number in range(60)], "text"),
    ],
)
def test_the_kind_is_told_by_the_answers(answers: list[str], kind: str) -> None:
    items = [item(f"what is a{number}", answer) for number, answer in enumerate(answers)]
    assert measure_of(items).kind == kind


def test_labels_keep_the_spelling_that_is_most_frequent() -> None:
    items = [item(f"m{n}", answer) for n, answer in enumerate(["Spam", "Spam", "spam.", "ham"])]
    assert measure_of(items, kind="classification").labels == ("Spam", "ham")


def test_an_answer_is_judged_by_what_it_says_not_how_it_is_spelled() -> None:
    label = Measure(kind="classification", labels=("refund request", "spam"))
    assert label.score(" Refund_Request.", "refund request") == 1
    assert label.score('{"label": "spam"}', "spam") == 1
    assert label.score("spam or not", "spam") == 0
    exact = Measure(kind="exact")
    assert exact.score("I_WALK  I_RUN\n", "I_WALK I_RUN") == 1
    calls = Measure(kind="tool calls")
    said = '[{"arguments":"{\\"a\\": 1, \\"b\\": 2}","name":"f"}]'
    assert calls.score(said, '[{"arguments":"{\\"b\\":2,\\"a\\":1}","name":"f"}]') == 1
    assert calls.score("f(1, 2)", said) == 0
    text = Measure(kind="text")
    assert text.score("the cat sat", "the cat sat") == 1 and 0 < text.score("the cat ran", "the cat sat") < 1


def test_fields_count_one_by_one() -> None:
    measure = Measure(kind="extraction")
    wanted = json.dumps({"city": "Rome", "people": 2, "days": ["mon", "tue"]})
    assert measure.score(wanted, wanted) == 1
    assert measure.score('```json\n{"people": 2, "city": "rome", "days": ["tue", "mon"]}\n```', wanted) == 1
    assert measure.score('{"city": "Rome"}', wanted) == pytest.approx(2 / 5)
    assert measure.score("Rome", wanted) == 0


def test_a_row_is_what_the_training_file_had_but_for_another_answer() -> None:
    example = item("hello", "world", system="be kind")
    assert [message["role"] for message in asked_of(example)] == ["system", "user"]
    assert json.loads(row_of(example))["messages"][-1]["content"] == "world"
    assert json.loads(row_of(example, "there"))["messages"][-1]["content"] == "there"
