"""What a proof says: never more than its figures do."""

from __future__ import annotations

from tailor.evals import verdict
from tailor.evals.agreement import agrees
from tailor.grading import paired_difference
from tailor.protocol import Arm, Difference, Interval


def arm(score: float | None = None, loss: float = 1.0) -> Arm:
    return Arm(
        model="m",
        score=score,
        interval=None,
        loss=loss,
        token_accuracy=0.5,
        prompt_tokens=1,
        completion_tokens=1,
        latency_p50_ms=None,
        latency_p95_ms=None,
    )


def said(before: list[int], after: list[int]) -> str:
    change = paired_difference(before, after)
    difference = Difference(
        metric="pass_rate",
        mean=change.mean,
        interval=Interval(low=change.low, high=change.high),
        p_value=change.p,
        test=change.method,
    )
    return verdict.sentence(
        arm(sum(before) / len(before)), arm(sum(after) / len(after)), difference, num_items=len(before)
    )


def test_better_comes_with_both_figures_interval_and_p() -> None:
    before, after = [1] * 24 + [0] * 176, [1] * 194 + [0] * 6
    assert said(before, after) == (
        "Better: 97 % right against 12 % on 200 held-out examples "
        "(+85 points, 95 % interval 79 to 89, p < 0.001)."
    )


def test_worse_is_said_as_plainly_as_better() -> None:
    assert said([1] * 40, [0] * 20 + [1] * 20).startswith(
        "Worse: 50 % right against 100 % on 40 held-out examples (-50 points"
    )


def test_a_difference_that_may_be_chance_is_no_proof() -> None:
    text = said([1, 1, 0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    assert text.startswith("No proof of a difference: 90 % right against 70 % on 10 held-out examples (+20")


def test_almost_all_is_not_called_all() -> None:
    assert "99.5 % right" in said([0] * 200, [1] * 199 + [0])


def test_less_loss_is_better() -> None:
    difference = Difference(
        metric="loss", mean=-1.45, interval=Interval(low=-1.6, high=-1.3), p_value=0.002, test="t"
    )
    assert verdict.sentence(arm(loss=1.87), arm(loss=0.42), difference, num_items=50) == (
        "Better: loss 0.42 against 1.87 per answer token on 50 held-out examples "
        "(-1.45, 95 % interval -1.60 to -1.30, p = 0.002)."
    )


def test_notes_say_what_the_figures_cannot_show() -> None:
    notes = verdict.notes("pass_rate", num_items=40, num_held_out=90, num_overlap=3, num_cut_off=2, gap=0.9)
    assert notes[0] == "With 40 held-out examples, differences under 15.0 points cannot be shown."
    assert [
        word in note for word, note in zip(("90", "3 of 40", "cut off", "by heart"), notes[1:], strict=True)
    ]
    few = verdict.notes("pass_rate", num_items=5, num_held_out=5, num_overlap=0, num_cut_off=0, gap=0)
    assert few == [
        "5 held-out examples cannot prove anything: at least 6 answers must change before a difference "
        "can be told from chance."
    ]


def test_six_changes_are_the_fewest_that_can_show_something() -> None:
    size = verdict.SMALLEST_UNANIMOUS
    assert said([0] * size, [1] * size).startswith("Better")
    assert said([0] * (size - 1), [1] * (size - 1)).startswith("No proof")


def test_an_answer_agrees_whatever_the_space_around_it() -> None:
    assert agrees(" invoice\n", "invoice")
    assert not agrees("Invoice", "invoice")
    assert not agrees("", "invoice")


def test_calls_agree_by_what_they_say() -> None:
    written = '<tool_call>{"arguments": {"b": 2, "a": 1}, "name": "f"}</tool_call>'
    assert agrees(written, '<tool_call>{"name":"f","arguments":{"a":1,"b":2}}</tool_call>')
    assert not agrees(written, '<tool_call>{"name":"g","arguments":{"a":1,"b":2}}</tool_call>')
    assert not agrees("<tool_call>{broken</tool_call>", written)
