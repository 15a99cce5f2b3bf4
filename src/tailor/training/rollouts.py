"""From prompts to rollouts: the model answers, its answers are graded, groups become items of a step.

Nothing here is drawn from a random state: an answer is a function of the weights and of (seed, step, place
of its prompt in the step, its number), so a run that was killed tries the same answers again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from tailor.grading import Answered, Grade, sample_of
from tailor.models import Template
from tailor.training.batches import Tokenized, TokenizedExample, Trainable
from tailor.training.exploration import Exploration
from tailor.training.learner import Learner
from tailor.training.reinforcement import (
    ReinforcementObjective,
    Rollout,
    advantages_of,
    token_weight,
    total_weight,
)
from tailor.training.tally import Tally, report, tally_of

if TYPE_CHECKING:
    from tailor.data import JsonObject, ReinforcementExample

_LEAST_ANSWER_TOKENS = 8
"""A prompt that leaves less room than this is left out."""

_NOTE_EVERY_STEPS = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenizedPrompt:
    """A prompt as the model sees it, and what its answers are graded by."""

    line: int
    """Line of the training file, from 1."""

    fingerprint: str
    """Identity of the example, wherever it stands in the file."""

    ids: tuple[int, ...]
    """Ends where the answer begins."""

    item: JsonObject
    """The example's row: what graders know as `item`."""

    @property
    def sequences(self) -> tuple[TokenizedExample, ...]:
        """The prompt alone, for the self-check; what is trained on are rollouts."""
        weights = torch.ones(len(self.ids))
        weights[0] = 0.0
        prompt = TokenizedExample(
            line=self.line, fingerprint=self.fingerprint, ids=torch.tensor(self.ids), weights=weights
        )
        return (prompt,)

    @property
    def num_tokens(self) -> int:
        """Of the prompt."""
        return len(self.ids)

    @property
    def total_weight(self) -> float:
        """Prompts count alike."""
        return 1.0


def tokenize_prompts(
    examples: Iterable[ReinforcementExample], template: Template, *, max_tokens: int
) -> Tokenized[TokenizedPrompt]:
    """Prompts exactly as they are served; those that leave no room for an answer are left out."""
    kept, skipped = [], []
    for example in examples:
        ids = template.render(example.messages, example.tools, add_generation_prompt=True).ids
        if len(ids) + _LEAST_ANSWER_TOKENS > max_tokens:
            skipped.append(example.line)
            continue
        kept.append(
            TokenizedPrompt(
                line=example.line, fingerprint=example.fingerprint, ids=tuple(ids), item=example.item
            )
        )
    return Tokenized(examples=tuple(kept), skipped_lines=tuple(skipped), truncated_lines=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A prompt to be answered several times."""

    prompt_ids: tuple[int, ...]
    num_answers: int
    max_tokens: int
    temperature: float
    seed: int
    """With the number of an answer it decides all that is random about it."""


class Written(Protocol):
    """One answer."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Every token that was drawn, the end of turn among them."""
        ...

    @property
    def text(self) -> str:
        """As a caller would have got it."""
        ...

    @property
    def is_complete(self) -> bool:
        """False if it was cut off."""
        ...


Tick = Callable[[], None]
Write = Callable[[Sequence[Asked], Tick], Sequence[Sequence[Written]]]
"""Answers with the weights as they are; the same answers to the same questions, to the byte."""

GradeAll = Callable[[Sequence[Answered], Tick], Sequence[Grade]]
"""One grade for each answer, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What a step's answers gave."""

    items: Sequence[Rollout]
    """Those that teach something; there may be none."""

    num_updates: int
    """Optimiser updates to be made on them."""

    tally: Tally
    note: str | None = None
    """Something that the user should know."""
    figures: Mapping[str, float] = field(default_factory=dict)

    def report(self, validated: Tally | None, *, seconds_training: float) -> dict[str, Any]:
        """The step's figures under OpenAI's names."""
        return report(self.tally, validated, seconds_training=seconds_training)


class Practice:
    """Where a step's items come from, if they are made by trying."""

    validates = True
    """Validation prompts are answered and graded, instead of being looked at as in supervised training."""

    def __init__(
        self,
        *,
        write: Write,
        grade: GradeAll,
        exploration: Exploration,
        seed: int,
        max_context_tokens: int,
        validation: Sequence[TokenizedPrompt] = (),
    ) -> None:
        self._write, self._grade = write, grade
        self._asked, self._seed, self._limit = exploration, seed, max_context_tokens
        self._validation = validation

    def gather(
        self, learner: Learner, prompts: Sequence[TokenizedPrompt], step: int, *, tick: Tick
    ) -> Gathered:
        """Try each prompt `group_size` times and make of the answers what a step is computed from."""
        answers, grades, tally = self._tried(prompts, self._asked.group_size, f"{step}", tick)
        rollouts, num_flat = self._rollouts(prompts, answers, grades)
        rollouts = self._measured(learner, rollouts)
        note = None
        if not rollouts and step % _NOTE_EVERY_STEPS == 0:
            note = (
                f"Step {step + 1}: all answers to each of the {len(prompts)} prompts got the same reward "
                f"(mean {tally.mean_reward:.2f}), so there is nothing to learn. Look at the grader, "
                "take easier or harder prompts, or train on examples first."
            )
        return Gathered(
            items=rollouts,
            num_updates=self._asked.num_updates,
            tally=replace(tally, num_flat_groups=num_flat),
            note=note,
        )

    def is_due(self, step: int, *, is_last: bool) -> bool:
        """Whether validation prompts are answered after this step, counted from 0."""
        return bool(self._validation) and (is_last or (step + 1) % self._asked.eval_interval == 0)

    def validate(self, *, tick: Tick) -> Tally:
        """How the validation prompts are answered; with the same random numbers every time."""
        return self._tried(self._validation, self._asked.eval_samples, "validation", tick)[2]

    def _tried(
        self, prompts: Sequence[TokenizedPrompt], num_answers: int, occasion: str, tick: Tick
    ) -> tuple[Sequence[Sequence[Written]], list[Sequence[Grade]], Tally]:
        begun_at = time.monotonic()
        asked = [
            Asked(
                prompt_ids=prompt.ids,
                num_answers=num_answers,
                max_tokens=min(self._asked.max_tokens, self._limit - len(prompt.ids)),
                temperature=self._asked.temperature,
                seed=seed_of(self._seed, occasion, place),
            )
            for place, prompt in enumerate(prompts)
        ]
        answers = self._write(asked, tick)
        written_at = time.monotonic()
        flat = self._grade(
            [
                Answered(item=prompt.item, sample=sample_of(answer.text))
                for prompt, group in zip(prompts, answers, strict=True)
                for answer in group
            ],
            tick,
        )
        grades = [flat[begin : begin + num_answers] for begin in range(0, len(flat), num_answers)]
        tally = tally_of(
            [grade for group in grades for grade in group],
            num_tokens=[len(answer.token_ids) for group in answers for answer in group],
            num_truncated=sum(not answer.is_complete for group in answers for answer in group),
            num_groups=len(prompts),
            seconds_sampling=written_at - begun_at,
            seconds_grading=time.monotonic() - written_at,
        )
        return answers, grades, tally

    def _rollouts(
        self,
        prompts: Sequence[TokenizedPrompt],
        answers: Sequence[Sequence[Written]],
        grades: Sequence[Sequence[Grade]],
    ) -> tuple[list[Rollout], int]:
        """The rollouts that teach something, and how many groups teach nothing."""
        loss = self._asked.loss
        kept: list[Rollout] = []
        num_flat, divisor = 0, 0.0
        for prompt, group, marks in zip(prompts, answers, grades, strict=True):
            # A grader that could not be run says nothing about the answer.
            known = [place for place, mark in enumerate(marks) if not _is_ours_to_blame(mark)]
            advantages = advantages_of([marks[place].score for place in known], loss)
            is_flat = not any(advantages)
            num_flat += is_flat
            for place, advantage in zip(known, advantages, strict=True):
                answer = group[place]
                if self._asked.mask_truncated and not answer.is_complete:
                    continue
                count = len(answer.token_ids)
                # Prompts without a lesson are left out of dapo's mean; elsewhere they make the step smaller.
                divisor += total_weight(loss, count) * (not is_flat or loss != "dapo")
                if not is_flat or self._asked.kl:
                    kept.append(
                        Rollout(
                            example=answered(prompt, prompt.ids, answer),
                            advantage=advantage,
                            token_weight=token_weight(loss, count, self._asked.max_tokens),
                            total_weight=total_weight(loss, count),
                        )
                    )
        scale = divisor / max(1e-12, sum(rollout.total_weight for rollout in kept))
        return [replace(each, total_weight=scale * each.total_weight) for each in kept], num_flat

    def _measured(self, learner: Learner, rollouts: list[Rollout]) -> list[Rollout]:
        """With the likelihoods that do not change during the step's updates."""
        objective = learner.objective
        if not isinstance(objective, ReinforcementObjective):
            raise TypeError("rollouts are for the method 'reinforcement'")
        examples = [rollout.example for rollout in rollouts]
        room = learner.recipe.max_microbatch_tokens
        if rollouts and self._asked.num_updates > 1:
            found = objective.log_likelihoods(learner.loaded, examples, max_tokens=room)
            rollouts = [replace(each, before_N=own) for each, own in zip(rollouts, found, strict=True)]
        if rollouts and self._asked.kl:
            found = objective.start_log_likelihoods(learner.loaded, examples, max_tokens=room)
            rollouts = [replace(each, start_N=own) for each, own in zip(rollouts, found, strict=True)]
        return rollouts


def answered(prompt: Trainable, prompt_ids: tuple[int, ...], answer: Written) -> TokenizedExample:
    """A prompt with an answer that a model has written, its tokens with weight."""
    weights = torch.zeros(len(prompt_ids) + len(answer.token_ids))
    weights[len(prompt_ids) :] = 1.0
    return TokenizedExample(
        line=prompt.line,
        fingerprint=prompt.fingerprint,
        ids=torch.tensor((*prompt_ids, *answer.token_ids)),
        weights=weights,
    )


def _is_ours_to_blame(grade: Grade) -> bool:
    return grade.errors.python_grader_server_error or grade.errors.model_grader_server_error


def seed_of(*parts: object) -> int:
    """A number below 2**63 that follows from the parts."""
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
