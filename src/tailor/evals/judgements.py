"""The proof of a reward model: which of two held-out answers it finds better, and the base likelier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tailor.errors import InvalidRequest
from tailor.evals import verdict
from tailor.evals.examined import Outcome, clip, measured_difference, pass_rate, places_listed
from tailor.evals.frame import Compared, Question, framed, num_overlapping
from tailor.evals.items import Item, choose, render_items
from tailor.evals.pair import Pair
from tailor.models import Template
from tailor.protocol import Arm, Proof, ProofItem
from tailor.training import ExampleScore, TokenizedExample

Rewards = Callable[[Sequence[TokenizedExample]], Sequence[float]]
"""Of conversations, under the version."""

_AT_ONCE = 32


def prove_judgements(
    pair: Pair,
    question: Question,
    template: Template,
    rewards: Rewards,
    *,
    context_length: int,
    tick: Callable[[float], None] = lambda share: None,
) -> Proof:
    """Let the version judge both answers of held-out pairs, and count how often it prefers the right one.

    The base judges by likelihood: it prefers the answer that is likelier per token. `tick` is told what share
    of the work is done, and may raise to stop.

    Raises:
        InvalidRequest: none of the held-out pairs fits the context.
    """
    held_out = choose(question.held_out, question.max_items, seed=question.seed)
    items = render_items(held_out, template, max_tokens=context_length)
    rejected = [item.rejected for item in items if item.rejected is not None]
    if not items or len(rejected) < len(items):
        raise InvalidRequest("None of the held-out pairs fits the model's context.", code="nothing_to_prove")
    both = [*(item.tokenized for item in items), *rejected]
    scores: list[ExampleScore] = []
    for score in pair.scores("base", both):
        scores.append(score)
        tick(len(scores) / (2 * len(both)))
    found: list[float] = []
    for begin in range(0, len(both), _AT_ONCE):
        found += rewards(both[begin : begin + _AT_ONCE])
        tick((len(both) + len(found)) / (2 * len(both)))
    better, worse = found[: len(items)], found[len(items) :]
    likely = [_loss(one) < _loss(other) for one, other in zip(scores, scores[len(items) :], strict=False)]
    right = [one > other for one, other in zip(better, worse, strict=True)]
    return _proof(question, items, scores, likely, list(zip(better, worse, strict=True)), right)


def _loss(score: ExampleScore) -> float:
    return score.loss_sum / max(1, score.num_tokens)


def _proof(
    question: Question,
    items: list[Item],
    scores: list[ExampleScore],
    likely: list[bool],
    rewards: list[tuple[float, float]],
    right: list[bool],
) -> Proof:
    difference = measured_difference("pass_rate", likely, right)
    base, version = _arm(question.base, items, likely), _arm(question.version, items, right)
    outcomes: list[Outcome] = [
        "unchanged" if old == new else "fixed" if new else "broken"
        for old, new in zip(likely, right, strict=True)
    ]
    return framed(
        question,
        items,
        Compared(metric="pass_rate", base=base, version=version, difference=difference, outcomes=outcomes),
        items=[
            ProofItem(
                line=items[index].line,
                outcome=outcomes[index],
                passed=right[index],
                prompt=clip(items[index].prompt_text),
                expected=clip(items[index].reference_text),
                base_answer=None,
                version_answer=None,
                base_loss=_loss(scores[index]),
                version_loss=None,
                # By how much it finds the right answer better.
                version_reward=rewards[index][0] - rewards[index][1],
            )
            for index in places_listed(outcomes)
        ],
        train_loss=None,
        train_held_out_gap=None,
        notes=verdict.notes(
            "pass_rate",
            num_items=len(items),
            num_held_out=len(question.held_out),
            num_overlap=num_overlapping(question, items),
            num_cut_off=0,
            gap=0.0,
        ),
        settings={
            "seed": question.seed,
            "max_items": question.max_items,
            "comparison": "base: the preferred answer is likelier per token; version: its reward is higher",
        },
    )


def _arm(name: str, items: list[Item], right: list[bool]) -> Arm:
    score, interval = pass_rate(right)
    return Arm(
        model=name,
        score=score,
        interval=interval,
        loss=None,
        token_accuracy=None,
        prompt_tokens=sum(len(item.prompt_ids) for item in items),
        completion_tokens=sum(item.num_reference_tokens for item in items),
        latency_p50_ms=None,
        latency_p95_ms=None,
    )
