"""Mending: what was chosen and nothing else, every change in the log, and a second time changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailor.data.doctor import Options, diagnose, read_corpus
from tailor.data.doctor.personal import NOUNS
from tailor.data.fixing import Balance, Choices, Contradictions, Fixed, fix
from tailor.data.fixing.lengths import Characters, cut, length_of
from tailor.data.problems import Findings
from tailor.data.rows import Form, open_source
from tailor.errors import InvalidRequest
from tests.data.making import chat, jsonl

Row = dict[str, Any]
EVERYTHING = Choices(
    normalise=True,
    redact=frozenset(map(str, NOUNS)),
    drop_invalid=True,
    drop_duplicates=True,
    near_duplicates=True,
    contradictions=Contradictions.KEEP_MAJORITY,
)


@dataclass(frozen=True)
class Mended:
    rows: list[Row]
    log: list[Row]
    held_out: list[Row]
    data: bytes
    done: Fixed

    def dropped(self, step: str) -> list[int]:
        return [entry["line"] for entry in self.log if (entry["step"], entry["action"]) == (step, "dropped")]


def mend(path: Path, rows: list[Any] | bytes, choices: Choices) -> Mended:
    data = rows if isinstance(rows, bytes) else jsonl(rows)
    path.write_bytes(data)
    out, log, held = io.BytesIO(), io.BytesIO(), io.BytesIO()
    *_, done = fix(open_source(path), choices, out=out, log=log, validation=held)
    assert isinstance(done, Fixed)
    assert path.read_bytes() == data
    read = [[json.loads(line) for line in stream.getvalue().split(b"\n")[:-1]] for stream in (out, log, held)]
    return Mended(rows=read[0], log=read[1], held_out=read[2], data=out.getvalue(), done=done)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


def hash_of(row: Row) -> str:
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


MAILS = [
    ("where is my parcel with the blue shoes", "order"),
    ("the invoice of last month shows the wrong amount", "invoice"),
    ("my password does not work any more", "support"),
    ("you have won a million euros, click here", "spam"),
    ("please send the goods to my neighbour instead", "order"),
    ("the printer prints only green pages", "support"),
]
GOOD = [chat(*mail) for mail in MAILS]


def test_nothing_is_mended_unless_it_is_asked_for(path: Path) -> None:
    rows = [*GOOD, GOOD[0], chat(MAILS[0][0], "Order. "), {"messages": []}]
    mended = mend(path, rows, Choices())
    assert mended.rows == rows
    assert mended.log == []


def test_lines_that_cannot_be_read_are_left_out_and_logged(path: Path) -> None:
    mended = mend(path, jsonl(GOOD[:2]) + b"oops\n[1]\n" + jsonl(GOOD[2:]), Choices())
    assert mended.rows == GOOD
    assert mended.dropped("reading") == [3, 4]
    assert (mended.done.num_read, mended.done.num_unread) == (6, 2)


def test_the_log_has_the_line_and_hashes_and_never_the_text(path: Path) -> None:
    mended = mend(
        path,
        [*GOOD, GOOD[1], chat("a", "Spam. "), chat("b", "spam")],
        replace(EVERYTHING, redact=frozenset()),
    )
    assert [(entry["line"], entry["action"], entry["step"]) for entry in mended.log] == [
        (8, "changed", "normalise"),
        (7, "dropped", "drop_duplicates"),
    ]
    changed, dropped = mended.log
    assert (changed["before"], changed["after"]) == (hash_of(chat("a", "Spam. ")), hash_of(chat("a", "spam")))
    assert (dropped["before"], dropped["after"]) == (hash_of(GOOD[1]), None)
    assert "the same as line 2" in dropped["reason"]
    assert not any(mail in json.dumps(mended.log) for mail, _ in MAILS)


def test_duplicates_keep_the_first_whatever_their_ids(path: Path) -> None:
    mended = mend(path, [GOOD[0] | {"id": 1}, GOOD[1], GOOD[0] | {"id": 2}], Choices(drop_duplicates=True))
    assert mended.rows == [GOOD[0] | {"id": 1}, GOOD[1]]


def test_near_duplicates_with_another_answer_stay(path: Path) -> None:
    almost = MAILS[0][0] + " please"
    rows = [*GOOD, chat(almost, "order"), chat(almost + "!", "support")]
    assert mend(path, rows, Choices(near_duplicates=True)).dropped("near_duplicates") == [7]


@pytest.mark.parametrize(
    ("choice", "dropped"),
    [
        (Contradictions.KEEP_FIRST, [8, 9]),
        (Contradictions.KEEP_MAJORITY, [1, 7]),
        (Contradictions.DROP, [1, 7, 8, 9]),
    ],
)
def test_contradictions_are_settled_as_chosen(path: Path, choice: Contradictions, dropped: list[int]) -> None:
    question = MAILS[0][0]
    others = [
        chat(f"  {question.upper()}?", "order"),
        chat(question, "spam"),
        chat(question.replace("shoes", "sheos"), "spam"),
    ]
    tied = choice is Contradictions.KEEP_MAJORITY
    rows = [*GOOD, *others, *([chat(question, "Spam")] if tied else [])]
    mended = mend(path, rows, Choices(contradictions=choice))
    assert mended.dropped("contradictions") == dropped


def test_labels_take_the_spelling_of_most_and_json_one_form(path: Path) -> None:
    answers = ["spam", "spam", "Spam", " spam", "Label: spam", "spam.", '{"b": 1, "a": 2}', '{"b":3,"a":4}',
               '{"a": 5,  "b": 6}', '```json\n{"b": 7, "a": 8}\n```']  # fmt: skip
    mended = mend(path, [chat(f"{n}", answer) for n, answer in enumerate(answers)], Choices(normalise=True))
    assert [row["messages"][1]["content"] for row in mended.rows] == [
        *["spam"] * 6,
        '{"b": 1, "a": 2}',
        '{"b": 3, "a": 4}',
        '{"b": 6, "a": 5}',
        '{"b": 7, "a": 8}',
    ]


def test_a_prefix_that_few_long_answers_have_is_taken_away_and_one_that_most_have_is_given_to_all(
    path: Path,
) -> None:
    long = "that depends on the weather and on the day of the week, as everybody knows"
    few = [chat("a", long), chat("b", f"Answer: {long}"), chat("c", f"{long} "), chat("d", long)]
    assert {row["messages"][1]["content"] for row in mend(path, few, Choices(normalise=True)).rows} == {long}
    most = [chat("a", f"Answer: {long}"), chat("b", f"Answer: {long}"), chat("c", long)]
    kept = {row["messages"][1]["content"] for row in mend(path, most, Choices(normalise=True)).rows}
    assert kept == {f"Answer: {long}"}


def test_personal_data_is_replaced_in_texts_and_in_arguments_of_calls(path: Path) -> None:
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "mail", "arguments": '{"to": "jo@mailbox.org", "n": 1}'},
    }
    row = {"messages": [{"role": "user", "content": "write to jo@mailbox.org"},
                        {"role": "assistant", "tool_calls": [call]}]}  # fmt: skip
    mended = mend(path, [row, *GOOD], Choices(redact=frozenset(["email"])))
    assert mended.rows[0]["messages"][0]["content"] == "write to [EMAIL]"
    assert (
        mended.rows[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"to": "[EMAIL]", "n": 1}'
    )
    assert mended.rows[1:] == GOOD
    assert mended.log[0]["reason"] == "replaced: email"


def test_rows_that_could_not_be_trained_on_go_if_asked(path: Path) -> None:
    bad = [{"messages": []}, {"messages": [{"role": "user", "content": "a"}]}]
    mended = mend(path, [*GOOD, *bad], Choices(drop_invalid=True))
    assert mended.rows == GOOD
    assert "empty_messages" in mended.log[0]["reason"]


def test_truncating_drops_old_turns_then_shortens_questions_and_never_answers(path: Path) -> None:
    turns = [message for n in range(4) for message in chat(f"question {n}", f"answer {n}")["messages"]]
    system = {"role": "system", "content": "S" * 10}
    rows = [
        {"messages": [system, *turns]},
        chat("first words. " + "word " * 40, "short"),
        chat("a", "x" * 61),
    ]
    mended = mend(path, rows, Choices(truncate=60))
    assert mended.rows[0]["messages"] == [system, *turns[-4:]]
    assert mended.rows[1]["messages"][1]["content"] == "short"
    assert rows[1]["messages"][0]["content"].startswith(mended.rows[1]["messages"][0]["content"])
    assert all(length_of(row, Characters()) <= 60 for row in mended.rows)
    assert mended.dropped("truncate") == [3]


def test_dividing_keeps_every_turn_and_the_system_message_of_each_part(path: Path) -> None:
    turns = [message for n in range(5) for message in chat(f"question {n}", f"answer {n}")["messages"]]
    system = {"role": "system", "content": "S" * 10}
    mended = mend(path, [{"messages": [system, *turns]}, *GOOD], Choices(split_long=60))
    parts = [row["messages"] for row in mended.rows[: -len(GOOD)]]
    assert all(part[0] == system for part in parts)
    assert [message for part in parts for message in part[1:]] == turns
    assert mended.rows[-len(GOOD) :] == GOOD
    assert {(entry["line"], entry["action"]) for entry in mended.log} == {(1, "split")}


def test_texts_are_divided_where_sentences_end(path: Path) -> None:
    text = "One two three. Four five six. Seven eight nine.\n\nTen eleven twelve."
    mended = mend(path, [{"text": text}] * 2, Choices(split_long=32))
    assert [row["text"] for row in mended.rows[:2]] == ["One two three. Four five six.", "Seven eight nine."]
    assert "".join(row["text"] for row in mended.rows).replace(" ", "") == (text * 2).replace(
        "\n", ""
    ).replace(" ", "")


def test_tokens_are_counted_with_a_tokenizer(path: Path) -> None:
    from tailor.data.fixing import Tokens
    from tailor.models import embedded_directory

    measure = Tokens(embedded_directory())
    question = "the quick brown fox jumps over the lazy dog " * 30
    (row,) = mend(path, [chat(question, "yes")], Choices(truncate=50, measure=measure)).rows
    assert length_of(row, measure) <= 50
    assert question.startswith(row["messages"][0]["content"])


def test_classes_are_capped_or_filled_up(path: Path) -> None:
    rows = [chat(f"{label} {n}", label) for label, count in (("a", 20), ("b", 5)) for n in range(count)]
    capped = mend(path, rows, Choices(balance=Balance(how="cap")))
    assert Counter(row["messages"][1]["content"] for row in capped.rows) == {"a": 5, "b": 5}
    assert [row for row in rows if row in capped.rows] == capped.rows
    filled = mend(path, rows, Choices(balance=Balance(how="upsample", num_rows=12)))
    assert Counter(row["messages"][1]["content"] for row in filled.rows) == {"a": 20, "b": 12}
    assert filled.rows[: len(rows)] == rows
    assert filled.done.counts == {"balance copied": 7}
    with pytest.raises(InvalidRequest, match="line 26 is not answered by a label"):
        mend(path, [*rows, chat("a", "x" * 100)], Choices(balance=Balance(how="cap")))


def mails(count: int, *, seed: int = 0) -> list[Row]:
    """Mails of four classes in uneven shares, with some that are nearly the same."""
    draw = random.Random(seed)
    words = [
        f"{draw.choice('bdfgklmnprst')}{draw.choice('aeiou')}{draw.choice('bdfgklmnprst')}{n}"
        for n in range(400)
    ]
    rows: list[Row] = []
    for n in range(count):
        label = draw.choices(["order", "invoice", "support", "spam"], weights=[8, 4, 2, 1])[0]
        text = " ".join(draw.choice(words) for _ in range(12))
        rows.append(chat(text, label))
        if n % 10 == 0:
            rows.append(chat(text + " please", label))
    return rows


def test_a_split_has_equal_shares_of_every_class_and_no_leak(path: Path) -> None:
    rows = mails(1000)
    mended = mend(path, rows, Choices(split=0.2, seed=3))
    assert len(mended.rows) + len(mended.held_out) == len(rows)
    assert abs(len(mended.held_out) - 0.2 * len(rows)) <= 4
    whole = Counter(row["messages"][1]["content"] for row in rows)
    held = Counter(row["messages"][1]["content"] for row in mended.held_out)
    assert all(abs(held[label] - 0.2 * count) <= 2 for label, count in whole.items())
    assert [entry["action"] for entry in mended.log] == ["moved"] * len(mended.held_out)
    assert mend(path, rows, Choices(split=0.2, seed=3)).held_out == mended.held_out
    assert mend(path, rows, Choices(split=0.2, seed=4)).held_out != mended.held_out
    codes = leaks(path, mended)
    assert not codes & {"overlap", "overlapping_prompt", "near_overlap"}


def leaks(path: Path, mended: Mended) -> set[str]:
    held = path.with_name("held.jsonl")
    held.write_bytes(jsonl(mended.held_out))
    path.write_bytes(mended.data)
    options, findings = Options(), Findings()
    validation, _ = read_corpus(
        open_source(held).rows(), name="held", form=Form.CHAT, options=options, findings=findings
    )
    diagnosis = diagnose(open_source(path).rows(), name="x", form=Form.CHAT, validation=validation)
    return {finding.code for finding in diagnosis.findings}


def test_what_is_mended_is_clean_when_it_is_checked(path: Path) -> None:
    rows: list[Any] = mails(300)
    draw = random.Random(1)
    for row in draw.sample(rows, 30):
        asked, said = row["messages"][0]["content"], row["messages"][1]["content"]
        rows += [
            row,
            chat(asked, said.title()),
            chat(asked, f"{said} "),
            chat(asked, "order" if said != "order" else "spam"),
        ]
        rows += [chat(f"{asked} and thanks", said), {"messages": row["messages"][:1]}]
        rows += [chat(f"{asked} write to jo{len(rows)}@mailbox.org", said)]
    path.write_bytes(jsonl(rows))
    before = {
        finding.code for finding in diagnose(open_source(path).rows(), name="x", form=Form.CHAT).findings
    }
    cured = {"duplicate", "near_duplicate", "contradiction", "near_contradiction", "mixed_spelling",
             "no_assistant_message", "format_space_after", "personal_data"}  # fmt: skip
    assert {"duplicate", "near_duplicate", "contradiction", "mixed_spelling"} <= before
    path.write_bytes(mend(path, rows, EVERYTHING).data)
    after = diagnose(open_source(path).rows(), name="x", form=Form.CHAT)
    assert after.ok
    assert not {finding.code for finding in after.findings} & cured


LABELS = st.sampled_from(
    ["spam", "Spam", "spam.", "Label: ham", "ham", " ham", "x" * 70, "Answer: " + "y" * 70, "",
     '{"a": 1, "b": 2}', '{"b":2,"a":1}', '```json\n{"a": 1}\n```']
)  # fmt: skip
QUESTIONS = st.sampled_from(
    ["where is my parcel", "Where is my parcel?", "where is my parcle", "where is my parcel please now",
     "call me at +49 170 1234567", "mail jo@mailbox.org or al@mailbox.org", "something else entirely " * 4,
     "something else entirely " * 4 + "too", "IBAN DE89370400440532013000", "a", ""]
)  # fmt: skip
CHATS = st.builds(chat, QUESTIONS, LABELS)
LONG = st.builds(
    lambda parts: {"messages": [message for part in parts for message in part["messages"]]},
    st.lists(CHATS, min_size=1, max_size=4),
)
ANYTHING = st.one_of(CHATS, CHATS, LONG, st.just({"messages": [{"role": "user", "content": "a"}]}))
CHOICES = st.builds(
    Choices,
    normalise=st.booleans(),
    redact=st.sampled_from([frozenset(), frozenset(map(str, NOUNS)), frozenset(["email"])]),
    truncate=st.sampled_from([None, 30, 90]),
    drop_invalid=st.booleans(),
    drop_duplicates=st.booleans(),
    near_duplicates=st.booleans(),
    contradictions=st.sampled_from([None, *Contradictions]),
    balance=st.sampled_from(
        [None, None, Balance(how="cap"), Balance(how="cap", num_rows=2), Balance(how="upsample"),
         Balance(how="upsample", num_rows=3)]
    ),
    seed=st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ANYTHING, min_size=1, max_size=14), choices=CHOICES, divide=st.sampled_from([None, 40]))
def test_mending_twice_changes_nothing(
    tmp_path: Path, rows: list[Row], choices: Choices, divide: int | None
) -> None:
    if divide is not None:
        choices = replace(choices, truncate=None, split_long=divide)
    path = tmp_path / "x.jsonl"
    try:
        once = mend(path, rows, choices)
    except InvalidRequest:
        return  # nothing was left, or there were no classes to balance
    again = mend(path, once.data, choices)
    assert again.data == once.data
    changed = {entry["before"] for entry in once.log} | {entry["after"] for entry in once.log}
    assert all(row in rows or hash_of(row) in changed for row in once.rows)
    lost = Counter(map(hash_of, rows)) - Counter(map(hash_of, once.rows))
    assert set(lost) <= changed


@pytest.mark.parametrize(
    "wrong",
    [{"split": 1.0}, {"split": 0}, {"truncate": 0}, {"truncate": 5, "split_long": 5}, {"similarity": 0}],
)
def test_choices_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Choices(**wrong)


@pytest.mark.parametrize("length", [1, 5, 13, 17, 100])
def test_a_cut_text_is_its_beginning(length: int) -> None:
    text = "One two. Three four.\n\nFive six seven."
    assert text.startswith(cut(text, length, Characters()))
    assert len(cut(text, length, Characters())) <= length
