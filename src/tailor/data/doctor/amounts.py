"""Whether there are enough examples for what the model is to learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Gain, Options
from tailor.data.doctor.task import Goal


@dataclass(frozen=True, slots=True)
class Amount:
    """How many good examples a goal takes."""

    words: str
    """The goal, for people."""

    minimum: int
    """Fewer will hardly show."""

    recommended: int
    """From here on it works well."""


AMOUNTS: Final[dict[Goal, Amount]] = {
    "format": Amount("keep to a format", 50, 100),
    "style": Amount("take on a style", 100, 300),
    "domain": Amount("know a domain's language", 500, 1_000),
    "behaviour": Amount("behave in a complex way", 1_000, 5_000),
}
"""Rules of thumb, where there is no learning curve on the data itself."""

_PROMPT_INSTEAD: Final = 50
_WORTH_IT: Final = 0.01
"""Quality that twice the data must bring to be worth collecting."""


def find_too_few(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Fewer examples than the goal takes; copies do not count."""
    goal = options.goal or corpus.task.goal
    amount = AMOUNTS[goal]
    count = len(np.unique(corpus.facts.example))
    yield Figure(
        name="amount",
        data={
            "goal": goal, "words": amount.words, "count": count,
            "minimum": amount.minimum, "recommended": amount.recommended,
        },
    )  # fmt: skip
    if options.gain is not None:
        yield from _by_curve(options.gain, count)
        return
    if count >= amount.recommended:
        return
    have = counted(count, "different example")
    if count < _PROMPT_INSTEAD:
        said = f"{have}: under {_PROMPT_INSTEAD} a prompt with a few of them does better."
        remedy = "Put your best examples into the prompt, and collect more before you train."
    elif count < amount.minimum:
        said = f"{have} are under the {amount.minimum:,} it takes to {amount.words}."
        remedy = f"Collect {amount.recommended:,} or more; expect overfitting or no effect before."
    else:
        said = f"{have} may do to {amount.words}; {amount.recommended:,} do it well."
        remedy = "Look at the learning curve before you collect more."
    yield from finding(
        [advice(None, "few_examples", said, remedy)],
        title="Few examples",
        message=said,
        why="Too few examples are learned by heart: the loss falls and new items come out no better.",
        remedy=remedy,
        total=len(corpus),
        badness=3 if count < amount.minimum else 0.5,
    )


def _by_curve(gain: Gain, count: int) -> Iterator[Evidence]:
    """More examples are asked for only where the curve says that they would surely help."""
    yield Figure(name="gain_of_2x", data={"sentence": gain.sentence, "low": gain.low, "high": gain.high})
    if gain.low < _WORTH_IT:
        return
    remedy = "Collect more of the kinds that come out wrong."
    said = f"the learning curve still rises: {gain.sentence}"
    yield from finding(
        [advice(None, "few_examples", said, remedy)],
        title="More would help",
        message=said[0].upper() + said[1:],
        why="Twice the examples would bring that much, measured on this task.",
        remedy=remedy,
        total=count,
        badness=1,
    )
