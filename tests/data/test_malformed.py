"""Programme T11: every malformed file is answered with the right line and reason, no sound one refused."""

import io
import json

import pytest

from tailor.data import check_syntax, read_supervised
from tests.data.malformed import FAULTS, malformed_file, sound_file


def check_malformed(seed: int) -> None:
    made = malformed_file(seed)
    report = read_supervised(io.BytesIO(made.data), name="train.jsonl").report
    found = [(problem.line, problem.code) for problem in report.blocking]
    where = f"seed {seed}: {made.fault.name}: {[str(problem) for problem in report.blocking]}"
    assert {line for line, _ in found} == {made.line}, where
    assert made.fault.code in {code for _, code in found}, where
    if made.fault.field:
        assert made.fault.field in {problem.field for problem in report.blocking}, where
    assert all(problem.remedy for problem in report.problems), where
    json.dumps(report.to_dict(), allow_nan=False).encode()
    report.job_error(param="training_file")["message"].encode()


def check_sound(seed: int) -> None:
    data = sound_file(seed)
    dataset = read_supervised(io.BytesIO(data), name="train.jsonl")
    assert dataset.report.ok, f"seed {seed}: {dataset.report.listing()}"
    assert len(dataset) == dataset.report.num_lines >= 10
    assert check_syntax(io.BytesIO(data), name="train.jsonl").ok


def test_600_malformed_files_are_answered_with_the_right_line_and_reason() -> None:
    for seed in range(600):
        check_malformed(seed)


def test_600_sound_files_are_not_refused() -> None:
    for seed in range(600):
        check_sound(seed)


@pytest.mark.slow
def test_10_000_of_each() -> None:
    for seed in range(600, 10_600):
        check_malformed(seed)
        check_sound(seed)


def test_the_faults_are_many_and_their_names_differ() -> None:
    assert len(FAULTS) == len({fault.name for fault in FAULTS}) >= 60
