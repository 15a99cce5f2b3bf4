import random

import pytest

from tailor.data import Dataset, hold_out, overlap
from tailor.errors import InvalidRequest
from tests.data.test_reading import chat, read


def mails(count: int) -> Dataset:
    return read(*[chat(f"Mail number {number}", ["spam", "order"][number % 2]) for number in range(count)])


def prompts(dataset: Dataset) -> set[str]:
    return {example.prompt_key() for example in dataset.examples}


def test_a_share_is_held_out_and_nothing_is_lost() -> None:
    train, held_out = hold_out(mails(200), share=0.1, maximum=500, seed=1)
    assert (len(train), len(held_out)) == (180, 20)
    assert not prompts(train) & prompts(held_out)


def test_the_maximum_limits_it() -> None:
    assert len(hold_out(mails(200), share=0.5, maximum=7, seed=1)[1]) == 7


def test_the_split_does_not_depend_on_the_order_of_lines() -> None:
    rows = [chat(f"Mail number {number}", "spam") for number in range(100)]
    shuffled = random.Random(3).sample(rows, len(rows))
    one, other = (hold_out(read(*each), share=0.2, maximum=99, seed=5)[1] for each in (rows, shuffled))
    assert {e.fingerprint for e in one.examples} == {e.fingerprint for e in other.examples}
    assert prompts(one) != prompts(hold_out(read(*rows), share=0.2, maximum=99, seed=6)[1])


def test_equal_prompts_stay_on_one_side() -> None:
    rows = [chat(f"Mail number {number % 20}", ["spam", "order"][number // 50]) for number in range(100)]
    train, held_out = hold_out(read(*rows), share=0.2, maximum=99, seed=2)
    assert len(held_out) == 20
    assert not prompts(train) & prompts(held_out)
    assert overlap(train, held_out) == ()


def test_a_tiny_dataset_keeps_everything_for_training() -> None:
    train, held_out = hold_out(mails(1), share=0.5, maximum=10, seed=0)
    assert (len(train), len(held_out)) == (1, 0)
    same = read(*[chat()] * 10)
    assert len(hold_out(same, share=0.3, maximum=10, seed=0)[1]) == 0


def test_a_share_of_everything_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        hold_out(mails(10), share=1.0, maximum=5, seed=0)


def test_overlap_names_both_lines() -> None:
    train = read(
        chat("One question here", "a"), chat("Another question", "b"), chat("One question here", "a")
    )
    validation = read(
        chat("A new question", "a"), chat("One question here", "a"), chat("Another question", "c")
    )
    problems = overlap(train, validation)
    assert [(problem.line, problem.code) for problem in problems] == [
        (2, "overlap"),
        (3, "overlapping_prompt"),
    ]
    assert "line 1" in problems[0].message
    report = validation.report.including(problems)
    assert report.num_advice == validation.report.num_advice + 2
    assert report.ok
