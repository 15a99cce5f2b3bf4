"""How answers look, whatever they say: length, declining, form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from tailor.data.doctor.format import FEATURES, features_of, is_json
from tailor.data.doctor.refusals import REFUSES, manner_of
from tailor.protocol import Artefacts

Arm = Literal["base", "version"]

_ALWAYS: Final = 0.95
"""What so many expected answers have, or have not, is their form."""
_LONG: Final = 1.5
_SHORT: Final = 0.67
_MORE_REFUSALS: Final = 0.05
_OUT_OF_FORM: Final = 0.05


def artefacts(expected: Sequence[str], base: Sequence[str], version: Sequence[str]) -> Artefacts:
    """Compare the looks of both models' answers with what was expected, item by item.

    Without expected answers (all empty) the base's are the measure of length and form.
    """
    wanted = expected if any(expected) else base
    answers: dict[Arm, Sequence[str]] = {"base": base, "version": version}
    lengths = max(1, sum(map(len, wanted)))
    ratios = {arm: round(sum(map(len, said)) / lengths, 3) for arm, said in answers.items()}
    refusals = {arm: round(_refusing(said), 4) for arm, said in answers.items()}
    in_form = {arm: round(_in_form(wanted, said), 4) for arm, said in answers.items()}
    expected_refusals = round(_refusing(wanted), 4)
    return Artefacts(
        num_items=len(wanted),
        length_ratio=ratios,
        refusals=refusals,
        expected_refusals=expected_refusals,
        in_format=in_form,
        notes=_notes(ratios["version"], refusals["version"], expected_refusals, in_form["version"]),
    )


def _refusing(answers: Sequence[str]) -> float:
    return sum(manner_of(answer) == REFUSES for answer in answers) / max(1, len(answers))


def _in_form(wanted: Sequence[str], answers: Sequence[str]) -> float:
    """Share of answers that have what nearly all wanted ones have, and lack what nearly all lack."""
    bits = [features_of(answer) for answer in wanted if answer]
    if not bits:
        return 1.0
    must = must_not = 0
    for place in range(len(FEATURES)):
        share = sum(each >> place & 1 for each in bits) / len(bits)
        must |= (share >= _ALWAYS) << place
        must_not |= (share <= 1 - _ALWAYS) << place
    json_wanted = all(is_json(answer) for answer in wanted if answer)

    def fits(answer: str) -> bool:
        found = features_of(answer)
        return (
            bool(answer)
            and not must & ~found
            and not must_not & found
            and not (json_wanted > is_json(answer))
        )

    return sum(map(fits, answers)) / max(1, len(answers))


def _notes(ratio: float, refusals: float, expected_refusals: float, in_form: float) -> list[str]:
    notes = []
    if ratio > _LONG:
        notes.append(f"The version's answers are {ratio:.1f} times as long as expected.")
    if ratio < _SHORT:
        notes.append(f"The version's answers have {100 * ratio:.0f} % of the expected length.")
    if refusals > expected_refusals + _MORE_REFUSALS:
        notes.append(
            f"The version declines to answer {100 * refusals:.0f} % of the prompts, of which "
            f"{100 * expected_refusals:.0f} % were expected to be declined."
        )
    if in_form < 1 - _OUT_OF_FORM:
        notes.append(
            f"{100 * (1 - in_form):.0f} % of the version's answers do not have the form of the others."
        )
    return notes
