from typing import Any

from tailor.data import Dataset
from tests.data.test_reading import chat, read

LONG = "This is a long enough answer that says everything that has to be said about the question, and more."


def advice(*rows: Any) -> list[tuple[int | None, str]]:
    report = read(*rows).report
    assert report.ok, report.listing()
    return [(problem.line, problem.code) for problem in report.problems]


def labelled(*labels: str) -> list[dict[str, Any]]:
    return [chat(f"This is the mail with the number {number}", label) for number, label in enumerate(labels)]


def test_one_word_answers_of_a_classifier_are_right() -> None:
    assert advice(*labelled(*["spam", "order", "invoice"] * 10)) == []


def test_a_short_answer_among_long_ones_is_flagged() -> None:
    rows = [chat(f"Please explain the thing number {number}.", " ".join([LONG] * 3)) for number in range(10)]
    assert advice(*rows, chat("Please explain the last thing.", "No idea.")) == [(11, "short_answer")]


def test_a_short_question_among_long_ones_is_flagged() -> None:
    assert advice(*labelled(*["spam", "order"] * 10), chat("hm", "spam")) == [(21, "short_message")]


def test_duplicates_name_the_first_line() -> None:
    rows = [*labelled(*["spam", "order"] * 5), *labelled("spam")]
    (problem,) = read(*rows).report.problems
    assert (problem.line, problem.code) == (11, "duplicate")
    assert "line 1" in problem.message


def test_contradictions_name_all_lines() -> None:
    rows = labelled(*["spam", "order"] * 5)
    dataset = read(*rows, chat("This is the mail with the number 0", "order"))
    (problem,) = dataset.report.problems
    assert (problem.line, problem.code) == (1, "contradiction")
    assert "lines 1 and 11" in problem.message


def test_refusals_are_flagged_and_polite_answers_are_not() -> None:
    refusals = [
        "I cannot help with that.",
        "I'm sorry, but I can't do this.",
        "As an AI language model, I have no",
    ]
    others = [
        "I cannot recommend it more highly.",
        "Sorry for the delay! Your parcel is here.",
        "I can't wait to see",
    ]
    rows = [
        chat(f"Please answer question {n}", text + " " + LONG) for n, text in enumerate(refusals + others)
    ]
    assert advice(*rows) == [(1, "refusal"), (2, "refusal"), (3, "refusal")]


def test_spellings_of_one_label_are_flagged_where_they_differ_from_the_usual() -> None:
    labels = ["spam"] * 8 + ["Spam", "spam.", " spam"] + ["order"] * 6
    assert advice(*labelled(*labels)) == [
        (9, "mixed_spelling"),
        (10, "mixed_spelling"),
        (11, "white_space"),
    ]


def test_rare_and_dominant_classes_are_flagged() -> None:
    found = advice(*labelled(*["spam"] * 50, *["order"] * 2))
    assert (51, "rare_class") in found
    assert (None, "dominant_class") in found


def test_many_equally_frequent_classes_are_not_rare() -> None:
    assert advice(*labelled(*[f"intent {number % 150}" for number in range(1500)])) == []


def with_system(prompt: str | None, number: int) -> dict[str, Any]:
    row = chat(f"This is the mail with the number {number}", ["spam", "order"][number % 2])
    if prompt is not None:
        row["messages"].insert(0, {"role": "system", "content": prompt})
    return row


def test_system_prompts_that_are_empty_missing_or_different_are_flagged() -> None:
    usual = [with_system("Sort the mail.", number) for number in range(20)]
    assert advice(*usual) == []
    assert advice(*usual, with_system("", 20)) == [(None, "empty_system_prompt")]
    assert advice(*usual, with_system(None, 20)) == [(None, "system_prompt_missing")]
    assert advice(*usual, with_system("Sort the mails!", 20)) == [(None, "system_prompt_differs")]


def test_personal_data_is_counted() -> None:
    def codes(text: str) -> list[str]:
        rows = [*labelled(*["spam", "order"] * 10), chat(text, "spam")]
        return [problem.message for problem in read(*rows).report.problems]

    assert "1 example holds e-mail addresses (line 21)." in codes("Write to jane.doe@corp.org, please")
    assert "1 example holds telephone numbers (line 21)." in codes("Call me at +44 20 7946 0958 today")
    assert "1 example holds card numbers (line 21)." in codes("My card is 4111 1111 1111 1111, thanks")
    assert codes("Write to jane@example.com on 2026-11-20 about order 4111111111111112") == []


def test_calls_of_tools_that_are_not_offered_are_flagged() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "Will it rain?"},
            {"role": "assistant", "tool_calls": [call]},
        ]
    }
    assert advice(row) == [(1, "tool_not_offered")]


def test_advice_of_one_kind_does_not_crowd_out_the_rest() -> None:
    rows = [*labelled("spam") * 300, *[chat("Please answer this", "I cannot help with that. " + LONG)] * 2]
    dataset: Dataset = read(*rows)
    assert dataset.report.counts["duplicate"] == 300
    assert "refusal" in {problem.code for problem in dataset.report.problems}
