"""Examples that stay hard after training, by the loss file of a job."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tailor.cli import app
from tailor.data.doctor import Losses, read_losses
from tailor.errors import InvalidRequest
from tests.data.doctor.making import answered, diagnosed, jsonl, labelled, only


def losses_of(rows: list[dict[str, Any]]) -> Losses:
    return read_losses(io.BytesIO(jsonl(rows)), name="example_losses.jsonl")


def row(line: int, loss: float, accuracy: float = 1.0) -> dict[str, Any]:
    return {"line": line, "loss": loss, "num_tokens": 3, "token_accuracy": accuracy}


def test_a_label_that_the_trained_model_would_not_give_is_hard_the_highest_loss_first() -> None:
    losses = losses_of(
        [
            row(17, 0.8, 0.5),
            row(40, 2.5, 0.0),
            *(row(line, 0.01) for line in range(1, 61) if line not in (17, 40)),
        ]
    )
    found = only(diagnosed(labelled(60), losses=losses), "hard_example")
    assert found.lines == (17, 40)
    assert [problem.line for problem in found.problems] == [40, 17]
    assert "2.50" in found.problems[0].message


def test_a_free_answer_is_hard_when_its_loss_lies_far_out() -> None:
    losses = losses_of([row(line, 9.0 if line == 5 else 1 + line / 100, 0.6) for line in range(1, 41)])
    found = only(diagnosed(answered(40), losses=losses), "hard_example")
    assert found.lines == (5,)


@pytest.mark.parametrize(
    ("line", "said"),
    [(b'{"line": 0, "loss": 1}\n', "line: "), (b'{"line": 1}\n', "loss: "), (b"step,loss\n", "Line 1")],
)
def test_a_file_that_is_no_loss_file_is_refused_with_its_line(line: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_losses(io.BytesIO(line), name="x.csv")
    assert said in str(error.value)


def test_the_command_joins_a_loss_file_to_its_lines(tmp_path: Path) -> None:
    data, losses = tmp_path / "train.jsonl", tmp_path / "losses.jsonl"
    data.write_bytes(jsonl(labelled(60)))
    losses.write_bytes(
        jsonl([row(line, 1.5 if line == 9 else 0.0, float(line != 9)) for line in range(1, 61)])
    )
    ran = CliRunner().invoke(app, ["data", "check", str(data), "--losses", str(losses), "--json"])
    findings = {each["code"]: each for each in json.loads(ran.stdout)["files"][0]["findings"]}
    assert findings["hard_example"]["lines"] == [9]
    missing = CliRunner().invoke(app, ["data", "check", str(data), "--losses", str(tmp_path / "none")])
    assert missing.exit_code != 0
