"""The proof that every job ends with: base against version on the same held-out items."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeVar

from tailor.data import Learnable
from tailor.errors import InvalidRequest
from tailor.evals import verdict
from tailor.evals.agreement import agrees
from tailor.evals.artefacts import artefacts
from tailor.evals.clusters import Asked, by_outcome
from tailor.evals.items import Item, choose, render_items
from tailor.evals.pair import Answer, Pair
from tailor.grading import paired_difference, percentile, wilson
from tailor.models import Template
from tailor.protocol import Arm, Difference, Interval, PairedResult, Proof, ProofItem
from tailor.training import ExampleScore

SHORT_ANSWER_TOKENS = 32
"""References of up to this median length are compared word by word, longer ones by their loss."""
MOVED_NATS = 0.1
"""An item whose loss moved by no more than this per token counts as unchanged."""
MARGIN_TOKENS = 8
"""A model may write this much more than the longest reference before it is cut off."""
MAX_KNOWN = 64
"""Most training items that the version is asked again."""
MAX_READ = 16
"""Most longer answers that are written to see how they look, of up to so many tokens each:"""
READ_TOKENS = 160
MAX_LISTED = 200
MAX_CHARACTERS = 2_000

Outcome = Literal["fixed", "broken", "unchanged"]
Metric = Literal["pass_rate", "loss"]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be proven, and on what."""

    base: str
    """Name of the base."""
    version: str
    """Name of the version."""
    held_out: Sequence[Learnable]
    """Examples that the version never learned from."""
    training: Sequence[Learnable]
    """Examples that it did learn from."""
    data: str
    """Where the held-out examples come from, for people."""
    file: str | None = None
    """Id of their file."""
    seed: int = 0
    """Decides which items are taken where there are more than `max_items`."""
    max_items: int = 400
    """Most held-out items that both models are asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Examined:
    """One model's results on all items."""

    scores: list[ExampleScore]
    answers: list[Answer]
    """Empty where only losses are compared."""
    passed: list[bool]

    @property
    def losses(self) -> list[float]:
        """Nats per answer token, item by item."""
        return [_mean([each]) for each in self.scores]


def prove(
    pair: Pair,
    question: Question,
    template: Template,
    *,
    context_length: int,
    tick: Callable[[float], None] = lambda share: None,
) -> Proof:
    """Examine both models on the same held-out items and compare them item by item.

    Pairs: an item passes if the preferred answer is the likelier one per token. Short references and tool
    calls: both models answer (greedy), and an answer passes if it is the reference. Otherwise the losses of
    the reference answers are compared. `tick` is told after each result what share of the work is done, and
    may raise to stop.

    Raises:
        InvalidRequest: none of the held-out examples fits the context.
    """
    items = render_items(
        choose(question.held_out, question.max_items, seed=question.seed), template, max_tokens=context_length
    )
    if not items:
        raise InvalidRequest(
            "None of the held-out examples fits the model's context.", code="nothing_to_prove"
        )
    known = render_items(
        choose(question.training, len(items), seed=question.seed), template, max_tokens=context_length
    )
    cap = max(item.num_reference_tokens for item in items) + MARGIN_TOKENS
    metric = _metric(items, cap, context_length)
    watch = _Watch(tick, 2 * len(known) + len(items) * (4 if metric == "pass_rate" else 2))
    rejected = [item.rejected for item in items if item.rejected is not None]
    tokenized = [*(item.tokenized for item in items), *rejected]
    base_scores = list(watch(pair.scores("base", tokenized)))
    version_scores = list(watch(pair.scores("version", tokenized)))
    known_scores = list(watch(pair.scores("version", [item.tokenized for item in known])))
    train_loss = _mean(known_scores) if known_scores else None
    answers: dict[Literal["base", "version"], list[Answer]] = {"base": [], "version": []}
    known_answers: list[Answer] = []
    if metric == "pass_rate" and not rejected:
        for arm in answers:
            answers[arm] = list(watch(pair.answers(arm, items, max_tokens=cap)))
        known = known[:MAX_KNOWN]
        known_answers = list(watch(pair.answers("version", known, max_tokens=cap)))
    before = _examined(items, base_scores, answers["base"])
    after = _examined(items, version_scores, answers["version"])
    proof = _proof(question, items, before, after, metric=metric, cap=cap, train_loss=train_loss)
    read = items
    if metric == "loss":
        read = _readable(items, context_length)
        for arm in answers:
            answers[arm] = list(pair.answers(arm, read, max_tokens=READ_TOKENS)) if read else []
    return proof.model_copy(update=_looks(read, answers) | _by_heart(known, known_answers))


def _readable(items: list[Item], context_length: int) -> list[Item]:
    """Some items with longer answers, to see how the models' own look."""
    return [
        item
        for item in items
        if item.rejected is None
        and not item.is_text
        and item.num_reference_tokens + MARGIN_TOKENS <= READ_TOKENS
        and len(item.prompt_ids) + READ_TOKENS <= context_length
    ][:MAX_READ]


def _looks(items: list[Item], answers: Mapping[Literal["base", "version"], list[Answer]]) -> dict[str, Any]:
    """How the answers look, where there are any to look at."""
    if not answers["version"]:
        return {}
    base = [answer.text for answer in answers["base"]]
    version = [answer.text for answer in answers["version"]]
    return {"artefacts": artefacts([item.reference_text for item in items], base, version)}


def _by_heart(known: list[Item], answers: list[Answer]) -> dict[str, Any]:
    """How many of the items that it learned from the version passes."""
    if not answers:
        return {}
    passed = [_passes(item, answer) for item, answer in zip(known, answers, strict=True)]
    return {"train_score": sum(passed) / len(passed), "train_score_items": len(passed)}


def _passes(item: Item, answer: Answer) -> bool:
    return answer.is_complete and agrees(answer.text, item.reference_text)


def _metric(items: Sequence[Item], cap: int, context_length: int) -> Metric:
    """Whether what the models answer can be compared word by word, and there is room for an answer."""
    if any(item.is_text for item in items):
        return "loss"
    if all(item.rejected is not None for item in items):
        return "pass_rate"
    num_calls = sum(item.has_calls for item in items)
    is_short = median(item.num_reference_tokens for item in items) <= SHORT_ANSWER_TOKENS
    has_room = max(len(item.prompt_ids) for item in items) + cap <= context_length
    return "pass_rate" if has_room and (is_short or 2 * num_calls >= len(items)) else "loss"


class _Watch:
    """Counts results as they pass."""

    def __init__(self, tick: Callable[[float], None], total: int) -> None:
        self._tick = tick
        self._total = total
        self._done = 0

    def __call__(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            self._done += 1
            self._tick(self._done / self._total)
            yield result


def _examined(items: list[Item], scores: list[ExampleScore], answers: list[Answer]) -> _Examined:
    if len(scores) > len(items):
        preferred, rejected = scores[: len(items)], scores[len(items) :]
        likelier = [_mean([one]) < _mean([other]) for one, other in zip(preferred, rejected, strict=True)]
        return _Examined(scores=preferred, answers=[], passed=likelier)
    # zip ends early, with nothing, where no answers were asked for.
    passed = [_passes(item, answer) for item, answer in zip(items, answers, strict=False)]
    return _Examined(scores=scores, answers=answers, passed=passed)


def _proof(
    question: Question,
    items: list[Item],
    before: _Examined,
    after: _Examined,
    *,
    metric: Metric,
    cap: int,
    train_loss: float | None,
) -> Proof:
    outcomes = _outcomes(before, after, metric)
    difference = _difference(before, after, metric)
    base, version = _arm(question.base, items, before), _arm(question.version, items, after)
    known = {example.prompt_key() for example in question.training}
    overlap = sum(item.prompt_key in known for item in items)
    gap = None if train_loss is None else _mean(after.scores) - train_loss
    return Proof(
        created_at=int(time.time()),
        model=question.version,
        base=question.base,
        data=question.data,
        file=question.file,
        num_items=len(items),
        num_overlap=overlap,
        metric=metric,
        arms={"base": base, "version": version},
        difference=difference,
        fixed=outcomes.count("fixed"),
        broken=outcomes.count("broken"),
        unchanged=outcomes.count("unchanged"),
        items=_listed(items, outcomes, before, after),
        train_loss=train_loss,
        train_held_out_gap=gap,
        verdict=verdict.sentence(base, version, difference, num_items=len(items)),
        notes=verdict.notes(
            metric,
            num_items=len(items),
            num_held_out=len(question.held_out),
            num_overlap=overlap,
            num_cut_off=sum(not answer.is_complete for answer in after.answers),
            gap=gap or 0.0,
        ),
        settings=_settings(question, metric=metric, cap=cap, are_pairs=items[0].rejected is not None),
        results=_results(items, before, after, metric),
        clusters=by_outcome([_asked(item) for item in items], outcomes),
    )


def _asked(item: Item) -> Asked:
    return Asked(line=item.line, prompt=item.prompt_text, expected=item.reference_text)


def _results(items: list[Item], before: _Examined, after: _Examined, metric: Metric) -> list[PairedResult]:
    old, new = (before.passed, after.passed) if metric == "pass_rate" else (before.losses, after.losses)
    return [
        PairedResult(key=item.key, base=round(float(base), 5), version=round(float(version), 5))
        for item, base, version in zip(items, old, new, strict=True)
    ]


def _outcomes(before: _Examined, after: _Examined, metric: Metric) -> list[Outcome]:
    if metric == "pass_rate":
        gains = [float(new) - float(old) for old, new in zip(before.passed, after.passed, strict=True)]
    else:
        moves = [old - new for old, new in zip(before.losses, after.losses, strict=True)]
        gains = [move if abs(move) > MOVED_NATS else 0.0 for move in moves]
    return ["fixed" if gain > 0 else "broken" if gain < 0 else "unchanged" for gain in gains]


def _difference(before: _Examined, after: _Examined, metric: Metric) -> Difference:
    change = (
        paired_difference(before.passed, after.passed)
        if metric == "pass_rate"
        else paired_difference(before.losses, after.losses)
    )
    return Difference(
        metric=metric,
        mean=change.mean,
        interval=Interval(low=change.low, high=change.high),
        p_value=change.p,
        test=change.method,
    )


def _arm(name: str, items: list[Item], examined: _Examined) -> Arm:
    score = interval = fast = slow = None
    completion_tokens = sum(item.num_reference_tokens for item in items)
    if examined.passed:
        score = sum(examined.passed) / len(examined.passed)
        bounds = wilson(sum(examined.passed), len(examined.passed))
        interval = Interval(low=bounds.low, high=bounds.high)
    if examined.answers:
        milliseconds = [1000 * answer.seconds for answer in examined.answers]
        fast, slow = percentile(milliseconds, 50), percentile(milliseconds, 95)
        completion_tokens = sum(answer.num_tokens for answer in examined.answers)
    num_correct = sum(each.num_correct for each in examined.scores)
    return Arm(
        model=name,
        score=score,
        interval=interval,
        loss=_mean(examined.scores),
        token_accuracy=num_correct / sum(each.num_tokens for each in examined.scores),
        prompt_tokens=sum(len(item.prompt_ids) for item in items),
        completion_tokens=completion_tokens,
        latency_p50_ms=fast,
        latency_p95_ms=slow,
    )


def _mean(scores: Sequence[ExampleScore]) -> float:
    """Nats per answer token over all of them together; 0 for none."""
    return sum(each.loss_sum for each in scores) / max(1, sum(each.num_tokens for each in scores))


def _listed(
    items: list[Item], outcomes: list[Outcome], before: _Examined, after: _Examined
) -> list[ProofItem]:
    ranks = {"broken": 0, "fixed": 1, "unchanged": 2}
    order = sorted(range(len(items)), key=lambda index: (ranks[outcomes[index]], index))
    return [
        ProofItem(
            line=items[index].line,
            outcome=outcomes[index],
            passed=after.passed[index] if after.passed else None,
            prompt=clip(items[index].prompt_text),
            expected=clip(items[index].reference_text),
            base_answer=clip(before.answers[index].text) if before.answers else None,
            version_answer=clip(after.answers[index].text) if after.answers else None,
            base_loss=before.losses[index],
            version_loss=after.losses[index],
        )
        for index in order[:MAX_LISTED]
    ]


def clip(text: str) -> str:
    """As much of a text as a proof shows."""
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 4] + " ..."


def _settings(question: Question, *, metric: Metric, cap: int, are_pairs: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"seed": question.seed, "max_items": question.max_items}
    if metric == "loss":
        return settings | {"moved_nats_per_token": MOVED_NATS}
    if are_pairs:
        return settings | {"comparison": "the preferred answer is likelier per token than the other one"}
    return settings | {
        "decoding": "greedy",
        "max_tokens": cap,
        "comparison": "equal but for white space around it; tool calls by name and JSON value",
        "latency": "per item, from asking to the last token, up to 32 items answered together",
    }
