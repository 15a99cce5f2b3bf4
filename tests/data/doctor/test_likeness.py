"""Near copies, contradictions and leaks: what is alike, and what only looks so."""

from __future__ import annotations

import io
from random import Random

import numpy as np
import pytest

from tailor.data.doctor import diagnose, diagnose_jsonl
from tailor.data.doctor.corpus import Table
from tailor.data.doctor.duplicates import near_duplicates
from tailor.data.doctor.examine import facts_of
from tailor.data.doctor.items import Items
from tailor.data.doctor.options import Options
from tailor.data.doctor.similar import band_keys, shape_of_bands, similarity, windows
from tailor.data.doctor.wording import same_question
from tailor.data.problems import Findings
from tailor.data.rows import Form, Row
from tests.data.doctor.making import (
    THINGS,
    TOPICS,
    VERBS,
    answered,
    chat,
    codes,
    corpus_of,
    diagnosed,
    jsonl,
    labelled,
    only,
    question,
)


def test_near_duplicates_are_led_by_the_first_and_compared_exactly() -> None:
    texts = [
        "where is my parcel now",
        "something else",
        "Where is  my parcel now!",
        "",
        "",
        "where is my parcel",
    ]
    assert near_duplicates(texts, threshold=0.8) == [(0, 2)]
    assert near_duplicates([], threshold=0.8) == []


def test_what_comparing_every_pair_finds_is_found() -> None:
    random = Random(1)
    words = [*VERBS, *TOPICS, *THINGS]
    texts = [" ".join(random.choices(words, k=random.randint(6, 12))) for _ in range(200)]
    texts += [f"{random.choice(texts)} {random.choice(words)}" for _ in range(200)]
    sets = [windows(text) for text in texts]
    groups = near_duplicates(texts, threshold=0.7)
    assert all(similarity(sets[first], sets[other]) >= 0.7 for first, *others in groups for other in others)
    followers = {place for _, *others in groups for place in others}
    kept = [place for place in range(len(texts)) if place not in followers]
    assert len(followers) > 100
    # No two of those that would be kept are alike: what MinHash may miss at the threshold is under 1 %.
    alike = [
        (one, other)
        for at, one in enumerate(kept)
        for other in kept[:at]
        if similarity(sets[one], sets[other]) >= 0.7
    ]
    assert len(alike) <= 0.02 * len(followers)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_the_bands_miss_less_than_one_per_cent_at_the_threshold(threshold: float) -> None:
    bands, rows = shape_of_bands(threshold)
    assert (1 - threshold**rows) ** bands <= 0.01
    assert bands * rows <= 128


def test_keys_depend_on_the_text_alone() -> None:
    texts = [question(number) for number in range(50)] + ["", "a"]
    whole = band_keys(texts, threshold=0.8)
    parts = np.concatenate([band_keys(texts[:17], threshold=0.8), band_keys(texts[17:], threshold=0.8)])
    assert (whole == parts).all()
    assert (whole[-2] == 0).all()


def test_facts_of_blocks_are_those_of_the_whole() -> None:
    rows = [Row(line=line, file="x", value=value) for line, value in enumerate(labelled(60), start=1)]
    items = list(Items(rows, form=Form.CHAT, name="x", findings=Findings()))
    whole = facts_of(items, files={}, options=Options(), thorough=True)
    files: dict[str, int] = {}
    blocks = [
        facts_of(part, files=files, options=Options(), thorough=True) for part in (items[:25], items[25:])
    ]
    table = Table()
    for block in blocks:
        table.extend(block)
    merged = table.facts()
    assert all((one == other).all() for one, other in zip(merged.bands, whole.bands, strict=True))
    assert (merged.label == whole.label).all()
    assert (merged.tokens == whole.tokens).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my refund?", "where is my refnud"),
        ("cancel the order", "please cancel order, thanks"),
        ("HELLO, can you check-in me", "can you check in me"),
        ("I lost my password", "i lost my passwrd!"),
    ],
)
def test_the_same_question_in_other_spelling(one: str, other: str) -> None:
    assert same_question(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cancel my order", "change my order"),
        ("translate cat into Russian", "translate bat into Russian"),
        ("book a table for 4", "book a table for 5"),
        ("show order", "show orders"),
        ("jump left twice", "jump twice left"),
        ("I want it", "I do not want it"),
    ],
)
def test_another_word_is_another_question(one: str, other: str) -> None:
    assert not same_question(one, other)


def test_near_copies_with_another_answer_are_no_duplicates() -> None:
    rows = [*labelled(60), chat(question(0) + "!", "spam"), chat(question(1) + "!", "invoice")]
    found = diagnosed(rows)
    assert only(found, "near_duplicate").lines == (61,)
    assert only(found, "near_contradiction").lines == (2, 62)


def test_several_right_answers_are_told_mildly_where_they_are_the_rule() -> None:
    rows = [
        chat(question(number // 3), f"Answer {number} says it in its own words, at some length.")
        for number in range(90)
    ]
    found = diagnosed(rows)
    assert "contradiction" not in codes(found)
    assert "30 questions" in only(found, "several_answers").message


def test_a_system_prompt_makes_another_question() -> None:
    def with_system(prompt: str, answer: str) -> dict[str, object]:
        row = chat(question(3), answer)
        row["messages"].insert(0, {"role": "system", "content": prompt})
        return row

    rows = [*labelled(40), with_system("Sort it.", "spam"), with_system("Name the colour.", "order")]
    assert not codes(diagnosed(rows)) & {"contradiction", "near_contradiction"}


def test_leaks_are_told_with_the_lines_of_the_validation_file() -> None:
    train = labelled(60)
    held_out = corpus_of(
        [
            chat("a new question about whales", "spam"),
            train[4],
            chat(question(5), "other"),
            chat(question(6) + " please", "spam"),
            chat(question(7).upper() + " !", "order"),
        ]
    )
    rows = (Row(line=line, file="t", value=value) for line, value in enumerate(train, start=1))
    found = diagnose(rows, name="train.jsonl", form=Form.CHAT, validation=held_out)
    assert only(found, "overlap").lines == (2,)
    assert only(found, "overlapping_prompt").lines == (3,)
    assert only(found, "near_overlap").lines == (4,)
    assert only(found, "respelled_overlap").lines == (5,)
    assert only(found, "overlap").file == "held_out.jsonl"
    assert found.ok


def test_one_text_many_times_is_not_like_one_text_a_few_times() -> None:
    rows = [*answered(50), chat("say walk", "WALK " * 40), chat("say walk now", "WALK " * 10)]
    assert "near_duplicate" not in codes(diagnose_jsonl(io.BytesIO(jsonl(rows)), name="x"))
