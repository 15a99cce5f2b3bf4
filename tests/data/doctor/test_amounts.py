"""Whether there are enough examples: by rules of thumb, or by a learning curve."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from tailor.cli import app
from tailor.data.doctor import Gain
from tests.data.doctor.making import codes, diagnosed, jsonl, labelled, only


def test_a_learning_curve_takes_the_place_of_the_rules_of_thumb() -> None:
    rows = labelled(60)
    assert "few_examples" in codes(diagnosed(rows))
    flat = Gain(sentence="2x the data: +0.2 points (-1.0 to 1.4)", low=-0.01, high=0.014)
    assert "few_examples" not in codes(diagnosed(rows, gain=flat))
    rising = Gain(sentence="2x the data: +6 points (3 to 9)", low=0.03, high=0.09)
    assert "+6 points (3 to 9)" in only(diagnosed(rows, gain=rising), "few_examples").message


def test_the_command_reads_the_curve_from_what_advise_printed(tmp_path: Path) -> None:
    data, advice = tmp_path / "train.jsonl", tmp_path / "advice.json"
    data.write_bytes(jsonl(labelled(60)))
    curve = {
        "sentence": "2x the data: +6 points (3 to 9)",
        "gain_of_2x": {"value": 0.06, "low": 0.03, "high": 0.09},
    }
    advice.write_text(json.dumps({"learning_curves": [{"gain_of_2x": None}, curve]}))
    ran = CliRunner().invoke(app, ["data", "check", str(data), "--advice", str(advice), "--json"])
    found = {each["code"]: each["message"] for each in json.loads(ran.stdout)["files"][0]["findings"]}
    assert "+6 points" in found["few_examples"]
    advice.write_text("[]")
    refused = CliRunner().invoke(app, ["data", "check", str(data), "--advice", str(advice)])
    assert refused.exit_code != 0
