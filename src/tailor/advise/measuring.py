"""How each arm is measured."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Final

from tailor.advise import classical
from tailor.advise.arms import Arm, ArmResult, Progress, SetUp, Skipped
from tailor.advise.asking import ask, judged, takes
from tailor.advise.passages import finder, fused_finder, of_examples
from tailor.advise.prompts import Prompt, diverse, form_forced, form_named, similar
from tailor.advise.search import candidates, search
from tailor.advise.study import Study
from tailor.advise.tuning import LEAST_TO_TRAIN, Tuning, rows_of, tune
from tailor.errors import InvalidRequest
from tailor.protocol import ModelObject

_EXAMPLES: Final = 8
_PASSAGES: Final = 4


def measure(study: Study, arm: Arm) -> Generator[Progress, None, ArmResult | Skipped]:
    """One arm on the held-out items.

    Raises:
        TailorError: The endpoint cannot be asked, or a training failed.
    """
    match arm.means:
        case "lookup":
            return _looked_up(study, arm)
        case "classical":
            return _classical(study, arm)
        case "tuned":
            return (yield from _tuned(study, arm))
        case "distilled":
            return (yield from _distilled(study, arm))
        case "optimised":
            return (yield from _optimised(study, arm))
        case _:
            return (yield from _asked(study, arm))


def _looked_up(study: Study, arm: Arm) -> ArmResult:
    measure, train = study.material.measure, study.parts.train
    started = time.monotonic()
    if arm.variant == "documents":
        answer = classical.lookup_passage(study.documents)
    else:
        answer = classical.lookup(measure, train)
    seconds = time.monotonic() - started
    return classical.measured(arm, answer, study.parts.held_out, measure, setup_seconds=seconds)


def _classical(study: Study, arm: Arm) -> ArmResult | Skipped:
    measure, parts = study.material.measure, study.parts
    started = time.monotonic()
    try:
        tell = classical.fit(measure, parts.train, parts.development)
    except ModuleNotFoundError as error:
        # Raised, not returned: what is returned is kept, and this can be mended.
        raise InvalidRequest(f"It needs {error.name}.", remedy='pip install "tailor[data]"') from error
    if tell is None:
        return Skipped(arm=arm, reason="There is no classical way to do this task here.")
    return classical.measured(
        arm,
        classical.one_by_one(tell),
        parts.held_out,
        measure,
        setup_seconds=time.monotonic() - started,
    )


def _asked(study: Study, arm: Arm) -> Generator[Progress, None, ArmResult]:
    model = _model(study, arm)
    prompt, notes = _prompt(study, arm, model)
    answered = yield from ask(study.asking(model), prompt, study.parts.held_out, arm=arm)
    return judged(arm, answered, study.parts.held_out, study.material.measure, notes=notes)


def _prompt(study: Study, arm: Arm, model: ModelObject) -> tuple[Prompt, list[str]]:
    """The prompt of an arm, and what to know about it."""
    measure, train = study.material.measure, study.parts.train
    plain = Prompt(room_tokens=study.room(model))
    match arm.means:
        case "structured":
            named = replace(plain, instruction=form_named(measure, train) or "")
            forced = replace(named, response_format=form_forced(measure))
            if forced.response_format is None:
                return named, []
            if takes(study.asking(model), forced, study.parts.development[0]):
                return forced, ["The endpoint held the answers to their form (response_format)."]
            return named, ["The endpoint cannot hold answers to a form: it was only asked for in words."]
        case "few-shot":
            if arm.variant == "similar":
                return replace(plain, choose=similar(train, _EXAMPLES)), []
            return replace(plain, choose=diverse(train, measure, _EXAMPLES)), []
        case "retrieval":
            if arm.variant == "documents":
                return replace(plain, find=finder(study.documents, _PASSAGES)), []
            if arm.variant == "documents by meaning":
                return replace(plain, find=fused_finder(study.documents, _PASSAGES, study.embed)), []
            passages, asked = of_examples(train), [item.asked for item in train]
            if arm.variant == "examples by meaning":
                return replace(plain, find=fused_finder(passages, _PASSAGES, study.embed, asked)), []
            return replace(plain, find=finder(passages, _PASSAGES, asked)), []
        case _:
            return plain, []


def _optimised(study: Study, arm: Arm) -> Generator[Progress, None, ArmResult | Skipped]:
    model, measure, parts = _model(study, arm), study.material.measure, study.parts
    asking = study.asking(model)
    built = candidates(measure, parts.train, room_tokens=study.room(model), seed=study.seed)
    started = time.monotonic()
    found = yield from search(asking, built, parts.development, measure, arm=arm)
    seconds = time.monotonic() - started
    if found.score == 0:
        return Skipped(
            arm=arm,
            reason=f"None of {len(built)} prompts got anything right on the development items.",
        )
    answered = yield from ask(asking, found.best.prompt, parts.held_out, arm=arm)
    tried = ", ".join(f"{words} {score:.0%} of {count}" for words, score, count in found.tried)
    notes = [f"Chosen on the development items: {found.best.words}. Tried: {tried}."]
    return judged(arm, answered, parts.held_out, measure, setup=SetUp(seconds=seconds), notes=notes)


def _tuned(study: Study, arm: Arm) -> Generator[Progress, None, ArmResult]:
    items = study.parts.train[: arm.size]
    result = yield from _trained(study, arm, rows_of(items))
    if arm.size != len(study.parts.train) or study.num_seeds < 2:
        return result
    runs = list(result.runs)
    for seed in range(2, study.num_seeds + 1):
        again = yield from _trained(study, arm, rows_of(items), seed=seed)
        runs += again.runs
        if again.made:
            study.endpoint.delete_model(again.made)
    return replace(
        result, runs=tuple(runs), notes=(*result.notes, f"Trained {len(runs)} times, with other seeds.")
    )


def _distilled(study: Study, arm: Arm) -> Generator[Progress, None, ArmResult]:
    teacher, measure = study.others[0], study.material.measure
    items = study.parts.train[: arm.size]
    prompt = Prompt(
        instruction=form_named(measure, study.parts.train) or "",
        choose=similar(study.parts.development, 4),
        room_tokens=study.room(teacher),
    )
    taught = yield from ask(study.asking(teacher), prompt, items, arm=arm, alone=0)
    rows = rows_of(items, taught.texts)
    if len(rows) < LEAST_TO_TRAIN:
        raise InvalidRequest(f"{teacher.id} answered {len(rows)} of {len(items)} items.")
    right = fmean(measure.score(text, item.answer) for text, item in zip(taught.texts, items, strict=True))
    result = yield from _trained(study, arm, rows)
    setup = replace(
        result.setup,
        teacher_prompt_tokens=round(taught.prompt_tokens * len(items)),
        teacher_completion_tokens=round(taught.completion_tokens * len(items)),
    )
    note = f"{teacher.id} wrote {len(rows):,} answers for it, {right:.1%} {measure.unit} by your own."
    return replace(result, setup=setup, notes=(*result.notes, note))


def _trained(
    study: Study, arm: Arm, rows: Sequence[str], *, seed: int = 1
) -> Generator[Progress, None, ArmResult]:
    tuning = Tuning(endpoint=study.endpoint, base=study.base, max_steps=study.max_steps)
    made = yield from tune(tuning, rows, seed=seed, arm=arm)
    asking = replace(study.asking(study.base), model=made.model)
    answered = yield from ask(
        asking, Prompt(room_tokens=study.room(study.base)), study.parts.held_out, arm=arm
    )
    return judged(
        arm,
        answered,
        study.parts.held_out,
        study.material.measure,
        setup=SetUp(seconds=made.seconds, trained_tokens=made.trained_tokens),
        made=made.model,
    )


def _model(study: Study, arm: Arm) -> ModelObject:
    return next(model for model in (study.base, *study.others) if model.id == arm.model)
