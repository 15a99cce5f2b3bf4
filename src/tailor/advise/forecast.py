"""What more data would bring: from tuned arms at nested sizes, or the classical one in their stead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal

from tailor.advise import classical
from tailor.advise.arms import ArmResult
from tailor.advise.material import Material, Parts
from tailor.grading import Forecast, LearningCurve, Point, learning_curve

_SHARES: Final = (16, 8, 4, 2, 1)
_LEAST: Final = 12
_TIMES: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """A learning curve of one of the arms."""

    of: Literal["tuned", "classical"]
    """What learnt."""

    points: tuple[Point, ...]
    """As measured."""

    fitted: LearningCurve | None
    """None: too few sizes."""

    @property
    def sentence(self) -> str:
        """What twice the data would bring."""
        if self.fitted is None:
            return f"{_TIMES}x the data: not known from {len({p.size for p in self.points})} sizes."
        said = self.fitted.sentence(_TIMES)
        return said if said.endswith(".") else f"{said}."

    def gain(self) -> Forecast | None:
        """By twice the data."""
        return None if self.fitted is None else self.fitted.gain(_TIMES * self.fitted.largest)

    def to_dict(self) -> dict[str, Any]:
        """For programs: points, the fitted curve at some sizes, and the forecast."""
        fitted = []
        if self.fitted is not None:
            largest = self.fitted.largest
            for share in (0.125, 0.25, 0.5, 1.0, 1.5, 2.0):
                at = self.fitted.at(share * largest)
                fitted.append(
                    {"size": round(share * largest), "quality": at.value, "low": at.low, "high": at.high}
                )
        gain = self.gain()
        return {
            "of": self.of,
            "points": [
                {"size": point.size, "quality": point.quality, "items": point.items} for point in self.points
            ],
            "fitted": fitted,
            "gain_of_2x": gain and {"value": gain.value, "low": gain.low, "high": gain.high},
            "sentence": self.sentence,
        }


def tuned_curve(results: Sequence[ArmResult]) -> Curve | None:
    """From the tuned arms and the base as it is; every run of a size is a point."""
    tuned = [result for result in results if result.arm.means == "tuned"]
    if not tuned:
        return None
    base = [
        result
        for result in results
        if result.arm.means == "prompt" and result.arm.model == tuned[0].arm.model
    ]
    points = [Point(size=0, quality=result.quality, items=len(result.scores)) for result in base[:1]]
    points += [
        Point(size=result.arm.size or 0, quality=fmean(run), items=len(run))
        for result in tuned
        for run in result.runs
    ]
    return _fitted("tuned", points)


def classical_curve(material: Material, parts: Parts) -> Curve | None:
    """From the classical arm at nested sizes, where there is one: seconds of work."""
    points = []
    for share in _SHARES:
        size = len(parts.train) // share
        if size < _LEAST:
            continue
        try:
            tell = classical.fit(material.measure, parts.train[:size], parts.development)
        except ModuleNotFoundError:
            return None
        if tell is None:
            return None
        answers = tell([item.asked for item in parts.held_out])
        scores = [
            material.measure.score(answer, item.answer)
            for answer, item in zip(answers, parts.held_out, strict=True)
        ]
        points.append(Point(size=size, quality=fmean(scores), items=len(scores)))
    return _fitted("classical", points) if points else None


def _fitted(of: Literal["tuned", "classical"], points: Sequence[Point]) -> Curve:
    fitted = learning_curve(points) if len({point.size for point in points}) > 2 else None
    return Curve(of=of, points=tuple(points), fitted=fitted)
