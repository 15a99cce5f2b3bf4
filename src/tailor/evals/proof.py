"""The proof that every job ends with: base against version on the same held-out items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Literal, TypeVar

from tailor.errors import InvalidRequest
from tailor.evals import verdict
from tailor.evals.artefacts import artefacts
from tailor.evals.clusters import by_outcome
from tailor.evals.examined import (
    MOVED_NATS,
    Examined,
    Metric,
    arm_of,
    asked_of,
    difference_of,
    examined,
    listed,
    mean_loss,
    outcomes_of,
    passes,
    results_of,
)
from tailor.evals.frame import Compared, Question, framed, num_overlapping
from tailor.evals.items import Item, choose, render_items
from tailor.evals.pair import Answer, Pair
from tailor.models import Template
from tailor.protocol import Proof

SHORT_ANSWER_TOKENS = 32
"""References of up to this median length are compared word by word, longer ones by their loss."""
MARGIN_TOKENS = 8
"""A model may write this much more than the longest reference before it is cut off."""
MAX_KNOWN = 64
"""Most training items that the version is asked again."""
MAX_READ = 16
"""Most longer answers that are written to see how they look, of up to so many tokens each:"""
READ_TOKENS = 160

Result = TypeVar("Result")


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
    train_loss = mean_loss(known_scores) if known_scores else None
    answers: dict[Literal["base", "version"], list[Answer]] = {"base": [], "version": []}
    known_answers: list[Answer] = []
    if metric == "pass_rate" and not rejected:
        for arm in answers:
            answers[arm] = list(watch(pair.answers(arm, items, max_tokens=cap)))
        known = known[:MAX_KNOWN]
        known_answers = list(watch(pair.answers("version", known, max_tokens=cap)))
    before = examined(items, base_scores, answers["base"])
    after = examined(items, version_scores, answers["version"])
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
    passed = [passes(item, answer) for item, answer in zip(known, answers, strict=True)]
    return {"train_score": sum(passed) / len(passed), "train_score_items": len(passed)}


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


def _proof(
    question: Question,
    items: list[Item],
    before: Examined,
    after: Examined,
    *,
    metric: Metric,
    cap: int,
    train_loss: float | None,
) -> Proof:
    outcomes = outcomes_of(before, after, metric)
    difference = difference_of(before, after, metric)
    base, version = arm_of(question.base, items, before), arm_of(question.version, items, after)
    gap = None if train_loss is None else mean_loss(after.scores) - train_loss
    return framed(
        question,
        items,
        Compared(metric=metric, base=base, version=version, difference=difference, outcomes=outcomes),
        items=listed(items, outcomes, before, after),
        train_loss=train_loss,
        train_held_out_gap=gap,
        notes=verdict.notes(
            metric,
            num_items=len(items),
            num_held_out=len(question.held_out),
            num_overlap=num_overlapping(question, items),
            num_cut_off=sum(not answer.is_complete for answer in after.answers),
            gap=gap or 0.0,
        ),
        settings=_settings(question, metric=metric, cap=cap, are_pairs=items[0].rejected is not None),
        results=results_of(items, before, after, metric),
        clusters=by_outcome([asked_of(item) for item in items], outcomes),
    )


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
