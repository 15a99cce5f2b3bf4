"""Probes of general ability, the same for every model: plain English, grammar, sense, conversation.

Small enough for a base of a few million parameters to have something to lose, and quick: only likelihoods are
looked at, nothing is generated. The sentences are our own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, Final, Literal

from tailor.data import Example, TextExample
from tailor.evals.pair import Arm
from tailor.grading import paired_difference
from tailor.models import Template
from tailor.protocol import ProbeResult
from tailor.training import ExampleScore, TokenizedExample, tokenize, tokenize_texts

LEAST_ACCURACY: Final = 0.6
"""A base that chooses right less often than this hardly has the ability: nothing can be said of its loss."""
CHANCE: Final = 0.5
_SEED: Final = 6
_MAX_TOKENS: Final = 1_000
"""More than any of our sentences has, so that none is cut, whatever context a job was given."""

ProbeName = Literal["English", "grammar", "sense", "conversation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Likelihoods to compare: of texts and of the same in random order, or of right and wrong sentences."""

    name: ProbeName
    metric: Literal["loss", "accuracy"]
    right: tuple[TokenizedExample, ...]
    wrong: tuple[TokenizedExample, ...]
    """For accuracy, sentence by sentence what should be less likely; for loss, the words in random order."""

    def beside(self, arm: Arm) -> tuple[TokenizedExample, ...]:
        """What a model has to score besides what is right."""
        return self.wrong if arm == "base" or self.metric == "accuracy" else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Battery:
    """All probes, as one model's tokens."""

    name: str
    probes: tuple[Probe, ...]

    @classmethod
    def read(cls, template: Template) -> Battery:
        """The battery that ships with tailor, rendered by the template of the base."""
        content = _content()
        texts = _Texts(template)
        shuffled = [_shuffled(text) for text in content["english"]]
        chats = content["chat"]
        return cls(
            name=content["name"],
            probes=(
                Probe(name="English", metric="loss", right=texts(content["english"]), wrong=texts(shuffled)),
                *(
                    Probe(
                        name=name,
                        metric="accuracy",
                        right=texts([pair[0] for pair in content[name]]),
                        wrong=texts([pair[1] for pair in content[name]]),
                    )
                    for name in ("grammar", "sense")
                ),
                Probe(
                    name="conversation",
                    metric="loss",
                    right=texts.chats([(asked, answer) for asked, answer in chats]),
                    wrong=texts.chats([(asked, _shuffled(answer)) for asked, answer in chats]),
                ),
            ),
        )

    def examples(self, arm: Arm) -> list[TokenizedExample]:
        """What a model is to score, in the order that `judge` takes it back.

        Words in random order are only for the base: they say what its loss would be without the ability.
        """
        return [example for probe in self.probes for example in (*probe.right, *probe.beside(arm))]

    def judge(self, before: Sequence[ExampleScore], after: Sequence[ExampleScore]) -> list[ProbeResult]:
        """What became of each ability, from the scores of `examples` under base and version."""
        old, new = iter(before), iter(after)
        found = []
        for probe in self.probes:
            count = len(probe.right)
            base = list(islice(old, count + len(probe.beside("base"))))
            version = list(islice(new, count + len(probe.beside("version"))))
            found.append(_judged(probe, base, version))
        return found


def _judged(probe: Probe, before: Sequence[ExampleScore], after: Sequence[ExampleScore]) -> ProbeResult:
    count = len(probe.right)
    if probe.metric == "accuracy":
        old, new = _chosen(before, count), _chosen(after, count)
        nothing, ability = CHANCE, sum(old) / count - CHANCE
        has_ability = sum(old) / count >= LEAST_ACCURACY
    else:
        old, new = _losses(before[:count]), _losses(after[:count])
        nothing = sum(_losses(before[count:])) / count
        ability = nothing - sum(old) / count
        has_ability = ability > 0
    was, now = sum(old) / count, sum(new) / count
    left = (now - nothing) / (was - nothing) if has_ability else None
    return ProbeResult(
        name=probe.name,
        metric=probe.metric,
        num_items=count,
        before=round(was, 4),
        after=round(now, 4),
        nothing=round(nothing, 4),
        kept=None if left is None else round(min(max(left, 0.0), 1.0), 4),
        p_value=paired_difference(old, new).p,
    )


def _chosen(scores: Sequence[ExampleScore], count: int) -> list[float]:
    """1 where the right sentence is the likelier one."""
    return [
        float(right.loss_sum < wrong.loss_sum)
        for right, wrong in zip(scores[:count], scores[count:], strict=True)
    ]


def _losses(scores: Sequence[ExampleScore]) -> list[float]:
    return [score.loss_sum / max(1, score.num_tokens) for score in scores]


class _Texts:
    """Sentences and conversations as tokens."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def __call__(self, texts: Sequence[str]) -> tuple[TokenizedExample, ...]:
        documents = [TextExample(line=line, text=text) for line, text in enumerate(texts, start=1)]
        return tokenize_texts(documents, self._template, max_tokens=_MAX_TOKENS).examples

    def chats(self, pairs: Sequence[tuple[str, str]]) -> tuple[TokenizedExample, ...]:
        examples = [
            Example(
                line=line,
                messages=(
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": answer},
                ),
            )
            for line, (asked, answer) in enumerate(pairs, start=1)
        ]
        return tokenize(examples, self._template, max_tokens=_MAX_TOKENS).examples


def _shuffled(text: str) -> str:
    """The same words in an order that says nothing, the same every time."""
    words = text.split()
    random.Random(f"{_SEED}:{text}").shuffle(words)  # noqa: S311 - an order, not a secret
    return " ".join(words)


@cache
def _content() -> dict[str, Any]:
    text = files("tailor.evals").joinpath("battery.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
