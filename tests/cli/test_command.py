"""`tailor` as a whole: quick to start, light to import, clear when it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tailor.cli import command
from tailor.errors import Internal, InvalidRequest, NotFound, Unavailable
from tests.cli.conftest import Tailor

VERBS = ("check", "train", "eval", "chat", "jobs", "models", "serve", "keys", "doctor")
HEAVY = (
    "torch",
    "transformers",
    "openai",
    "sqlalchemy",
    "fastapi",
    "scipy",
    "numpy",
    "httpx2",
    "tailor.protocol",
)

HELP_IN_A_FRESH_PROCESS = """
import sys, time
started = time.perf_counter()
from tailor.cli import main
sys.argv = ["tailor", *sys.argv[1:], "--help"]
try:
    main()
except SystemExit:
    pass
print(time.perf_counter() - started, *sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)
"""


def help_in_a_fresh_process(*verb: str) -> tuple[float, list[str]]:
    """Seconds until the help was printed, and the heavy modules that it took."""
    program = HELP_IN_A_FRESH_PROCESS.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program, *verb], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    seconds, *heavy = done.stderr.split()
    return float(seconds), heavy


def test_help_imports_nothing_heavy_and_comes_at_once() -> None:
    taken = [help_in_a_fresh_process() for _ in range(3)]
    assert [heavy for _, heavy in taken] == [[], [], []]
    # The aim is 0.3 s; a busy machine may take longer, a heavy import takes far longer.
    assert min(seconds for seconds, _ in taken) < 0.6


@pytest.mark.parametrize("verb", [("train",), ("jobs", "follow"), ("models", "add"), ("keys", "create")])
def test_a_verbs_help_imports_nothing_heavy(verb: tuple[str, ...]) -> None:
    assert help_in_a_fresh_process(*verb)[1] == []


def test_every_verb_is_in_the_help(tailor: Tailor) -> None:
    shown = tailor("--help").stdout
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest("Bad.", remedy="Do better."), 2),
        (NotFound("Gone."), 2),
        (Unavailable("Nobody there.", code="unreachable"), 3),
        (Internal("Broken."), 1),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(
    tailor: Tailor, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(_value: bool) -> None:
        raise error

    monkeypatch.setattr("tailor.cli.machine.examine", fail)
    result = tailor("doctor")
    assert result.exit_code == code
    assert result.stderr.startswith(str(error))
    assert result.stdout == ""


def test_an_unexpected_error_shows_no_traceback_and_no_path(
    tailor: Tailor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_home: Path) -> None:
        raise ZeroDivisionError("/secret/place")

    monkeypatch.setattr("tailor.cli.machine.examine", fail)
    result = tailor("doctor")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "TAILOR_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr
    assert "/secret" not in result.stderr


def test_the_traceback_is_there_for_who_asks(tailor: Tailor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_home: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setenv("TAILOR_DEBUG", "1")
    monkeypatch.setattr("tailor.cli.machine.examine", fail)
    assert isinstance(tailor("doctor").exception, ZeroDivisionError)


def test_ctrl_c_ends_with_130(tailor: Tailor, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_home: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tailor.cli.machine.examine", interrupt)
    assert tailor("doctor").exit_code == 130


def test_a_missing_part_is_named_with_what_to_install(
    tailor: Tailor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for name in [name for name in sys.modules if name.startswith("tailor.store")]:
        monkeypatch.delitem(sys.modules, name)
    result = tailor("keys", "list")
    assert result.exit_code == 2
    assert 'pip install "tailor[local]"' in result.stderr


@pytest.mark.parametrize("arguments", [("nonsense",), ("check",), ("train", "x", "--epochs", "0")])
def test_a_wrong_command_line_ends_with_2(tailor: Tailor, arguments: tuple[str, ...]) -> None:
    assert tailor(*arguments).exit_code == 2


def test_the_exit_codes_are_those_documented() -> None:
    assert {code.name: code.value for code in command.ExitCode} == {
        "FAILED": 1,
        "USAGE": 2,
        "UNREACHABLE": 3,
    }
