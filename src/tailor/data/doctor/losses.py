"""Examples that a model finds hard even after it was trained on them: the loss file of a job, line by line.

A wrong label, a garbled text or a question without its context is learned last: among the examples with
the highest loss after training are the bad ones (Swayamdipta et al. 2020, "Dataset Cartography").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt, ValidationError

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.errors import InvalidRequest

_FAR_OUT: Final = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""

_NOTHING: Final = 0.05
"""Nats an answer token: a loss below is no difficulty, however far out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """What a job's loss file says, in order of lines."""

    line: Columns
    """uint32: of the training file."""
    loss: Columns
    """float32: nats per answer token."""
    accuracy: Columns
    """float32: share of the answer's tokens that the trained model would write itself."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    line: PositiveInt
    loss: NonNegativeFloat
    token_accuracy: float = 1.0


def read_losses(stream: BinaryIO, *, name: str) -> Losses:
    """Read `example_losses.jsonl`, the result file of a job.

    Raises:
        InvalidRequest: a line is not of such a file.
    """
    rows: list[tuple[int, float, float]] = []
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(
                f"Line {number} of {Path(name).name} is no line of a loss file: "
                f"{f'{field}: ' if field else ''}{first['msg']}.",
                param="losses",
                remedy="Give `example_losses.jsonl` of a job's result files, or the job's id.",
            ) from error
        rows.append((row.line, row.loss, row.token_accuracy))
    rows.sort()
    lines, losses, accuracies = zip(*rows, strict=True) if rows else ((), (), ())
    return Losses(
        line=np.array(lines, dtype=np.uint32),
        loss=np.array(losses, dtype=np.float32),
        accuracy=np.array(accuracies, dtype=np.float32),
    )


def find_hard(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Examples that the trained model still gets wrong, the highest loss first."""
    losses = options.losses
    if losses is None or not len(losses.line) or len(corpus.files) > 1:
        return
    at = np.minimum(np.searchsorted(losses.line, corpus.facts.line), len(losses.line) - 1)
    known = np.flatnonzero(losses.line[at] == corpus.facts.line)
    if not len(known):
        return
    loss, accuracy = losses.loss[at[known]], losses.accuracy[at[known]]
    yield Figure(
        name="losses", data={"matched": len(known), "of": len(corpus), "median": float(np.median(loss))}
    )
    if corpus.task.has_one_right_answer:
        is_hard = (accuracy < 1) & (loss > _NOTHING)
        said = "the trained model would still answer otherwise"
    else:
        is_hard = (_outlying(np.log(loss + 1e-4)) > _FAR_OUT) & (loss > _NOTHING)
        said = "the trained model still finds the answer far less likely than other answers"
    hard = np.flatnonzero(is_hard)
    hard = hard[np.argsort(-loss[hard], kind="stable")]
    places = known[hard]
    remedy = "Read it: correct the answer, add what the question lacks, or leave it out."
    yield from finding(
        [
            advice(line, "hard_example", f"{said} (loss {value:.2f} nats a token).", remedy)
            for line, value in zip(corpus.lines(places[:200]), loss[hard[:200]].tolist(), strict=True)
        ],
        title="Hard after training",
        message=f"{counted(len(places), 'example')} of {len(known):,} where {said}.",
        why="What stays hard after training on it is often wrong, garbled or lacks what the answer rests on.",
        remedy="Read these lines, the first ones first; correct them, and train again.",
        total=len(corpus),
        lines=corpus.lines(places),
        num_problems=len(places),
        badness=5,
    )


def _outlying(values: Columns) -> Columns:
    """How far above the middle each value is, in robust standard deviations."""
    middle = np.median(values)
    spread = float(np.median(np.abs(values - middle))) or 1e-6
    scores: Columns = 0.6745 * (values - middle) / spread
    return scores
