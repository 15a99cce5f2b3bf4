"""The proof of reinforcement: base against version by what a grader gives their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from tailor.data import ReinforcementExample
from tailor.errors import InvalidRequest
from tailor.evals import verdict
from tailor.evals.artefacts import artefacts
from tailor.evals.clusters import Asked, by_outcome
from tailor.evals.examined import Outcome, clip, measured_difference, pass_rate, places_listed
from tailor.evals.frame import Compared, Question, framed, num_overlapping
from tailor.evals.items import Item, choose
from tailor.evals.pair import Answer, Pair
from tailor.grading import Answered, Grade, percentile, sample_of
from tailor.models import Template
from tailor.protocol import Arm, PairedResult, Proof, ProofItem
from tailor.training import GradeAll, TokenizedPrompt, tokenize_prompts

_SAME_REWARD = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class _Graded:
    """One model's answers to all prompts."""

    answers: list[Answer]
    grades: Sequence[Grade]

    @property
    def rewards(self) -> list[float]:
        """Prompt by prompt."""
        return [grade.score for grade in self.grades]


def prove_rewards(
    pair: Pair,
    question: Question,
    template: Template,
    grade: GradeAll,
    *,
    context_length: int,
    max_tokens: int,
    tick: Callable[[float], None] = lambda share: None,
) -> Proof:
    """Let both models answer the same held-out prompts, greedily, and compare the grader's rewards.

    `tick` is told what share of the work is done, and may raise to stop.

    Raises:
        InvalidRequest: none of the held-out prompts fits the context.
    """
    examples = cast("Sequence[ReinforcementExample]", question.held_out)
    held_out = choose(examples, question.max_items, seed=question.seed)
    prompts = tokenize_prompts(held_out, template, max_tokens=context_length).examples
    if not prompts:
        raise InvalidRequest(
            "None of the held-out prompts fits the model's context.", code="nothing_to_prove"
        )
    by_line = {example.line: example for example in held_out}
    items = [_item(prompt, by_line[prompt.line]) for prompt in prompts]
    cap = min(max_tokens, context_length - max(prompt.num_tokens for prompt in prompts))
    done = 0

    def graded(arm: Literal["base", "version"]) -> _Graded:
        nonlocal done
        answers = []
        for answer in pair.answers(arm, items, max_tokens=cap):
            answers.append(answer)
            done += 1
            tick(done / (2 * len(items)))
        asked = [
            Answered(item=prompt.item, sample=sample_of(answer.text))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return _Graded(answers=answers, grades=grade(asked, lambda: tick(done / (2 * len(items)))))

    return _proof(question, items, graded("base"), graded("version"), cap=cap)


def _item(prompt: TokenizedPrompt, example: ReinforcementExample) -> Item:
    return Item(
        line=prompt.line,
        prompt_key=example.prompt_key(),
        prompt_text=str(example.messages[-1].get("content") or ""),
        prompt_ids=prompt.ids,
        num_reference_tokens=0,
        reference_text="",
        tokenized=prompt.sequences[0],
    )


def _proof(question: Question, items: list[Item], before: _Graded, after: _Graded, *, cap: int) -> Proof:
    passes = [grade.passed for grade in (*before.grades, *after.grades)]
    has_passes = None not in passes
    outcomes = [_outcome(old, new, has_passes) for old, new in zip(before.grades, after.grades, strict=True)]
    difference = measured_difference("reward", before.rewards, after.rewards)
    base = _arm(question.base, items, before, has_passes)
    version = _arm(question.version, items, after, has_passes)
    return framed(
        question,
        items,
        Compared(metric="reward", base=base, version=version, difference=difference, outcomes=outcomes),
        items=_listed(items, outcomes, before, after),
        train_loss=None,
        train_held_out_gap=None,
        notes=verdict.reward_notes(
            num_items=len(items),
            num_held_out=len(question.held_out),
            num_overlap=num_overlapping(question, items),
            num_cut_off=sum(not answer.is_complete for answer in after.answers),
            num_ungraded=sum(grade.errors.has_any for grade in (*before.grades, *after.grades)),
        ),
        settings={
            "seed": question.seed,
            "max_items": question.max_items,
            "decoding": "greedy",
            "max_tokens": cap,
            "fixed_and_broken": "by the grader's pass" if has_passes else "by a higher or lower reward",
            "latency": "per item, from asking to the last token, up to 32 items answered together",
        },
        clusters=by_outcome([Asked(line=item.line, prompt=item.prompt_text) for item in items], outcomes),
        artefacts=artefacts(
            [""] * len(items),
            [answer.text for answer in before.answers],
            [answer.text for answer in after.answers],
        ),
        results=[
            PairedResult(key=item.key, base=round(old, 5), version=round(new, 5))
            for item, old, new in zip(items, before.rewards, after.rewards, strict=True)
        ],
    )


def _outcome(old: Grade, new: Grade, has_passes: bool) -> Outcome:
    gain = float(new.passed or 0) - float(old.passed or 0) if has_passes else new.score - old.score
    if abs(gain) <= _SAME_REWARD:
        return "unchanged"
    return "fixed" if gain > 0 else "broken"


def _arm(name: str, items: list[Item], graded: _Graded, has_passes: bool) -> Arm:
    score = interval = None
    if has_passes:
        score, interval = pass_rate([bool(grade.passed) for grade in graded.grades])
    milliseconds = [1000 * answer.seconds for answer in graded.answers]
    return Arm(
        model=name,
        score=score,
        interval=interval,
        reward=sum(graded.rewards) / len(items),
        loss=None,
        token_accuracy=None,
        prompt_tokens=sum(len(item.prompt_ids) for item in items),
        completion_tokens=sum(answer.num_tokens for answer in graded.answers),
        latency_p50_ms=percentile(milliseconds, 50),
        latency_p95_ms=percentile(milliseconds, 95),
    )


def _listed(items: list[Item], outcomes: list[Outcome], before: _Graded, after: _Graded) -> list[ProofItem]:
    return [
        ProofItem(
            line=items[index].line,
            outcome=outcomes[index],
            passed=after.grades[index].passed,
            prompt=clip(items[index].prompt_text),
            expected="",
            base_answer=clip(before.answers[index].text),
            version_answer=clip(after.answers[index].text),
            base_loss=None,
            version_loss=None,
            base_reward=before.rewards[index],
            version_reward=after.rewards[index],
        )
        for index in places_listed(outcomes)
    ]
