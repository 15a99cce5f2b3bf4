"""Figures as people read them, and what a display knows of a running job."""

from __future__ import annotations

import pytest
from rich.text import Text

from tailor.cli.figures import count, duration, p_value, printable, shortened, size, sparkline
from tailor.cli.view import View
from tailor.cli.watch import Course
from tailor.client import Update
from tailor.protocol import EventObject, JobObject
from tests.client.stub import event, job


def update(step: int, *events: dict[str, object], phase: str = "training") -> Update:
    state = job(tailor={"phase": phase, "step": step, "total_steps": 100})
    return Update(
        job=JobObject.model_validate(state),
        events=tuple(EventObject.model_validate(event) for event in events),
    )


def test_figures_are_short() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 7260)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "2 h 01 min",
    ]
    assert [size(number) for number in (1, 2048, 3 << 20, 5 << 30)] == ["1 B", "2 KiB", "3 MiB", "5.0 GiB"]
    assert (count(1, "job"), count(1200, "job")) == ("1 job", "1,200 jobs")
    assert (p_value(0.00099), p_value(0.0421)) == ("p < 0.001", "p = 0.042")
    assert shortened("a\n b" + "c" * 20, most=6) == "a bcc…"


def test_a_sparkline_has_the_shape_of_its_values() -> None:
    assert sparkline([]) == ""
    assert sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert sparkline([1.0, 1.0]) == "▁▁"
    falling = sparkline([float(value) for value in range(1000, 0, -1)], width=30)
    assert len(falling) == 30
    assert list(falling) == sorted(falling, reverse=True)


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\r", "\x9b", "\u202e", "\ud800"])
def test_what_steers_a_terminal_is_replaced(letter: str) -> None:
    assert printable(f"a{letter}b") == "a\ufffdb"


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Grüße, 你好 👨\u200d👩\u200d👧\n\tend"
    assert printable(text) == text


def test_the_time_left_counts_from_where_this_display_began() -> None:
    course = Course()
    course.take(update(40, event(1, step=1, train_loss=3.0), event(2, step=40, train_loss=1.0)), now=100.0)
    assert course.seconds_left(now=100.0) is None
    course.take(update(50, event(3, step=50, train_loss=0.9, full_valid_loss=1.1)), now=120.0)
    assert course.seconds_left(now=120.0) == pytest.approx(100.0)
    assert course.figures(now=120.0) == "loss 0.900, validation loss 1.100, about 1 min 40 s left"


def test_no_time_is_promised_outside_training() -> None:
    course = Course()
    course.take(update(0, phase="preparing"), now=0.0)
    course.take(update(1), now=1.0)
    course.take(update(100), now=5.0)
    course.take(update(100, phase="evaluating"), now=6.0)
    assert course.phase() == "comparing with the base"
    assert course.seconds_left(now=6.0) is None


def test_a_models_name_is_never_read_as_an_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    view = View.open()
    view.say("ft:tailor-mini-2:local:x:abc")
    view.people.print(Text("ft:base:local:smile:abc"))
    view.people.print("ft:base:local:+1:abc")
    said = capsys.readouterr().out
    assert said.split() == ["ft:tailor-mini-2:local:x:abc", "ft:base:local:smile:abc", "ft:base:local:+1:abc"]
