"""Models on the same items, side by side: made of runs of one eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from tailor.data import canonical_json
from tailor.evals.clusters import Asked, by_outcome
from tailor.evals.questions import expected_of, key_of
from tailor.grading import Difference, bootstrap, paired_differences, wilson
from tailor.protocol import Difference as WireDifference
from tailor.protocol import Interval
from tailor.protocol.comparisons import ComparedItem, ComparedModel, ComparedPair, Comparison
from tailor.store import Eval, EvalItem, EvalRun

JsonObject = dict[str, Any]

MAX_LISTED = 200
ALPHA = 0.05
_MAX_CHARACTERS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One model's run with its graded rows."""

    run: EvalRun
    items: Sequence[EvalItem]


def compare(evaluation: Eval, answered: Sequence[Answered]) -> Comparison:
    """The comparison as far as it has come; figures once every run has completed.

    Only items that every model was asked count: equal rows, wherever they stood.
    """
    states = {each.run.status for each in answered}
    status: Literal["in_progress", "completed", "failed"] = (
        "completed"
        if states == {"completed"}
        else "failed"
        if states & {"failed", "canceled"}
        else "in_progress"
    )
    source = answered[0].run.data_source.get("source") or {}
    table = _common(answered) if status == "completed" else {}
    models = [each.run.model or each.run.name for each in answered]
    is_passes = all(score in (0.0, 1.0) for row in table.values() for score in _scores(row))
    return Comparison(
        id=evaluation.id,
        name=evaluation.name,
        created_at=evaluation.created_at,
        status=status,
        file=source.get("id"),
        metric="pass_rate" if is_passes else "score",
        num_asked=sum(each.run.total for each in answered),
        num_items=len(table),
        models=[
            _model(each, [_scores(row)[place] for row in table.values()], is_passes=is_passes)
            for place, each in enumerate(answered)
        ],
        pairs=_pairs(models, table, is_passes=is_passes) if table else [],
        items=_differing(table),
        notes=_notes(answered, table),
    )


def values_of(answered: Sequence[Answered]) -> list[list[float]]:
    """Each model's scores on the items that all were asked, in the same order."""
    rows = [_scores(row) for row in _common(answered).values()]
    return [[row[place] for row in rows] for place in range(len(answered))]


Row = list[EvalItem]


def _common(answered: Sequence[Answered]) -> dict[str, Row]:
    """The items of all models by what was asked; of equal rows in one run the first."""
    tables: list[dict[str, EvalItem]] = []
    for each in answered:
        table: dict[str, EvalItem] = {}
        for item in each.items:
            table.setdefault(key_of(item.row["item"]), item)
        tables.append(table)
    return {key: [table[key] for table in tables] for key in tables[0] if all(key in one for one in tables)}


def _scores(row: Row) -> list[float]:
    return [_score(item) for item in row]


def _score(item: EvalItem) -> float:
    """1 or 0, or where a criterion says more than that the mean of the criteria's scores."""
    results = item.results or []
    if item.status == "error" or not results:
        return 0.0
    scores = [float(result["score"]) for result in results]
    if all(score in (0.0, 1.0) for score in scores):
        return float(item.status == "pass")
    return fmean(scores)


def _model(each: Answered, scores: Sequence[float], *, is_passes: bool) -> ComparedModel:
    run, tally = each.run, each.run.tally
    usage = tally.usage.get(run.model or "", {})
    interval = None
    if scores and is_passes:
        bounds = wilson(round(sum(scores)), len(scores))
        interval = Interval(low=bounds.low, high=bounds.high)
    elif scores:
        found = bootstrap(fmean_of, scores, resamples=999)
        interval = Interval(low=found.low, high=found.high)
    return ComparedModel(
        model=run.model or run.name,
        run=run.id,
        status=run.status,
        num_done=tally.passed + tally.failed + tally.errored,
        passed=tally.passed,
        errored=tally.errored,
        score=fmean(scores) if scores else None,
        interval=interval,
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
    )


def fmean_of(values: Any) -> float:
    """The mean of an array."""
    return float(values.mean())


def _pairs(models: Sequence[str], table: Mapping[str, Row], *, is_passes: bool) -> list[ComparedPair]:
    rows = list(table.values())
    columns = [[_scores(row)[place] for row in rows] for place in range(len(models))]
    first = columns[0]
    # Names may repeat (a model against itself), places do not.
    differences = paired_differences(first, {str(place): columns[place] for place in range(1, len(models))})
    return [
        _pair(models[0], models[place], rows, first, columns[place], differences[str(place)], is_passes)
        for place in range(1, len(models))
    ]


def _pair(
    against: str,
    model: str,
    rows: Sequence[Row],
    before: Sequence[float],
    after: Sequence[float],
    difference: Difference,
    is_passes: bool,
) -> ComparedPair:
    outcomes = [
        "fixed" if new > old else "broken" if new < old else "unchanged"
        for old, new in zip(before, after, strict=True)
    ]
    verdict = verdict_of(difference)
    metric: Literal["pass_rate", "score"] = "pass_rate" if is_passes else "score"
    return ComparedPair(
        model=model,
        against=against,
        verdict=verdict,
        sentence=_sentence(model, against, difference, verdict, fmean(before), fmean(after), len(rows)),
        difference=to_wire(difference, metric),
        fixed=outcomes.count("fixed"),
        broken=outcomes.count("broken"),
        unchanged=outcomes.count("unchanged"),
        clusters=by_outcome([_asked(row[0]) for row in rows], outcomes),
    )


def verdict_of(difference: Difference) -> Literal["better", "worse", "no proof of a difference"]:
    """What may be said where more is better: both the test and the interval must agree."""
    if difference.p >= ALPHA or difference.low <= 0 <= difference.high:
        return "no proof of a difference"
    return "better" if difference.mean > 0 else "worse"


def to_wire(
    difference: Difference, metric: Literal["pass_rate", "loss", "reward", "score"]
) -> WireDifference:
    """A difference on the wire; losses are turned round again, for there less is better."""
    sign = -1 if metric == "loss" else 1
    low, high = sorted((sign * difference.low, sign * difference.high))
    return WireDifference(
        metric=metric,
        mean=sign * difference.mean,
        interval=Interval(low=low, high=high),
        p_value=difference.p,
        test=difference.method,
    )


def _sentence(
    model: str, against: str, difference: Difference, verdict: str, before: float, after: float, count: int
) -> str:
    said = {"better": "is better than", "worse": "is worse than"}.get(verdict, "is not proven different from")
    return (
        f"{model} {said} {against}: {100 * after:.1f} % against {100 * before:.1f} % on {count:,} items "
        f"({100 * difference.mean:+.1f} points, 95 % interval {100 * difference.low:.1f} to "
        f"{100 * difference.high:.1f}, p = {difference.p:.2g})."
    )


def _differing(table: Mapping[str, Row]) -> list[ComparedItem]:
    rows = [row for row in table.values() if len(set(_scores(row))) > 1]
    return [
        ComparedItem(
            line=_asked(row[0]).line,
            prompt=_clip(_asked(row[0]).prompt),
            expected=_clip(_asked(row[0]).expected),
            scores=_scores(row),
            answers=[_clip(_answer(item)) for item in row],
        )
        for row in rows[:MAX_LISTED]
    ]


def _asked(item: EvalItem) -> Asked:
    row = item.row["item"]
    messages = row.get("messages") or row.get("input")
    last = messages[-1] if isinstance(messages, list) and messages else None
    text = last.get("content") if isinstance(last, dict) else None
    line = row.get("line")
    return Asked(
        line=line if isinstance(line, int) else item.position + 1,
        prompt=text if isinstance(text, str) else canonical_json(row),
        expected=expected_of(row),
    )


def _answer(item: EvalItem) -> str:
    if item.sample is None:
        return str((item.row.get("sample") or {}).get("output_text", ""))
    error = item.sample.get("error")
    if error:
        return f"({error.get('message')})"
    output = item.sample.get("output") or [{}]
    return str(output[0].get("content", ""))


def _clip(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 4] + " ..."


def _notes(answered: Sequence[Answered], table: Mapping[str, Row]) -> list[str]:
    notes = [
        f"{each.run.model}: {each.run.error['message']}" for each in answered if each.run.error is not None
    ]
    errored = [each for each in answered if each.run.tally.errored]
    notes += [
        f"{each.run.model or each.run.name} could not be asked {each.run.tally.errored} of "
        f"{each.run.total} items; they count as failed."
        for each in errored
    ]
    most = max(each.run.total for each in answered)
    if table and len(table) < most:
        notes.append(f"{len(table)} of {most} items were asked of every model and differ from each other.")
    if len(answered) > 2 and table:
        notes.append(f"p-values and intervals are corrected for {len(answered) - 1} comparisons.")
    return notes
