"""Trying answers in a worker: the model in training writes them itself, between two of its own steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tailor.inference import (
    EngineLimits,
    GenerationRequest,
    ModelKey,
    SamplingParameters,
    Writer,
    WrittenAnswer,
)
from tailor.models import twin_of
from tailor.training import Aligner, Asked, GradeAll, Learner, OwnAnswers, Practice, TokenizedPrompt, Write

_LIMITS = EngineLimits(max_running=128, max_tokens_per_step=2048)
"""Nobody waits for a first token here, so prompts are read in large pieces."""


def make_practice(learner: Learner, grade: GradeAll, validation: Sequence[TokenizedPrompt]) -> Practice:
    """Where the steps of a reinforcement job get their items from."""
    recipe = learner.recipe
    if recipe.exploration is None:
        raise TypeError("a recipe of another method has nothing to try")
    return Practice(
        write=_write(learner),
        grade=grade,
        exploration=recipe.exploration,
        seed=recipe.seed,
        max_context_tokens=recipe.max_context_tokens,
        validation=validation,
    )


def make_own_answers(learner: Learner, aligner: Aligner | None) -> OwnAnswers:
    """Where the steps of a distillation get the answers from that the student writes."""
    recipe = learner.recipe
    if recipe.imitation is None:
        raise TypeError("a recipe of another method imitates nobody")
    return OwnAnswers(
        write=_write(learner),
        imitation=recipe.imitation,
        seed=recipe.seed,
        max_context_tokens=recipe.max_context_tokens,
        aligner=aligner,
    )


def _write(learner: Learner) -> Write:
    """Answers of the weights as they are."""
    recipe = learner.recipe
    writer = Writer(twin_of(learner.loaded), context_length=recipe.max_context_tokens, limits=_LIMITS)
    model = ModelKey(base=learner.loaded.digest)

    def write(asked: Sequence[Asked], tick: Callable[[], None]) -> list[tuple[WrittenAnswer, ...]]:
        requests = [
            GenerationRequest(
                model=model,
                prompt_ids=each.prompt_ids,
                parameters=SamplingParameters(
                    max_tokens=each.max_tokens, temperature=each.temperature, seed=each.seed
                ),
                n=each.num_answers,
            )
            for each in asked
        ]
        return writer.write(requests, tick)

    return write
