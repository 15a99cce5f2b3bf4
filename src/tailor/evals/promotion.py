"""The gate in front of an alias: whether a model may take the place of another, and on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tailor.evals.comparison import ALPHA, Answered, to_wire, values_of, verdict_of
from tailor.grading import no_worse, paired_difference
from tailor.protocol import Difference, Proof
from tailor.protocol.aliases import Gate, GateVerdict

Metric = Literal["pass_rate", "loss", "reward", "score"]

LEAST_COMMON: Final = 10
"""Proofs with fewer items in common are not held against each other."""
_MOVED: Final = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model that could answer under an alias, with what was measured of it."""

    name: str
    base: str
    """Its base; its own name, if it is one."""
    proof: Proof | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Two models on the same items; more is better."""

    source: str
    metric: Metric
    before: Sequence[float]
    after: Sequence[float]


def judge(
    candidate: Candidate,
    current: Candidate | None,
    *,
    compared: tuple[str, Sequence[Answered]] | None = None,
    margin: float | None = None,
) -> Gate:
    """Whether the candidate may be promoted.

    Shut if it is significantly worse than what the alias stands for (than its own base, if it stands for
    nothing); if nothing says how they compare; with a `margin`, unless it is shown to be no worse by more;
    and if the version has forgotten more than its limit allows. `compared`: an eval's id and the rows of
    both, current first; it counts before the proofs.
    """
    against = current.name if current else (candidate.base if candidate.base != candidate.name else None)
    evidence = _evidence(candidate, current, compared)
    reasons: list[str] = []
    remedies: list[str] = []
    gate = _measured(candidate, against, evidence, margin, reasons, remedies)
    if evidence is None and against is not None and against != candidate.name:
        old = _difference_alone(candidate, against)
        if old is not None:
            gate = _from_old_proof(gate, candidate, old, margin, reasons, remedies)
        else:
            reasons.append(f"Nothing compares {candidate.name} with {against} on the same items.")
            remedies.append(f"tailor compare {against} {candidate.name} --data FILE")
    forgetting = candidate.proof.forgetting if candidate.proof else None
    if forgetting is not None and forgetting.is_blocked:
        reasons += forgetting.reasons
        remedies += forgetting.remedies
    return gate.model_copy(update={"is_open": not reasons, "reasons": reasons, "remedies": remedies})


def is_compared(gate: Gate) -> bool:
    """Whether there was anything to go by."""
    return gate.verdict != "not compared" or gate.against is None


def _measured(
    candidate: Candidate,
    against: str | None,
    evidence: Evidence | None,
    margin: float | None,
    reasons: list[str],
    remedies: list[str],
) -> Gate:
    """The gate as the evidence has it; says in `reasons` why it is shut."""
    if evidence is None:
        return Gate(
            model=candidate.name,
            against=against,
            is_open=True,
            verdict="not compared",
            evidence=None,
            num_items=0,
            difference=None,
            fixed=None,
            broken=None,
            margin=margin,
            reasons=[],
            remedies=[],
        )
    found = paired_difference(evidence.before, evidence.after)
    said = verdict_of(found)
    verdict: GateVerdict = "cannot tell" if said == "no proof of a difference" else said
    if verdict == "worse":
        reasons.append(_worse(candidate.name, against, to_wire(found, evidence.metric), len(evidence.after)))
        remedies.append(f"Look at what it broke: tailor compare {against} {candidate.name}")
    elif margin is not None:
        shown = no_worse(evidence.before, evidence.after, margin=margin)
        if shown.verdict == "no worse":
            verdict = "no worse"
        else:
            reasons.append(shown.sentence)
            remedies.append("More held-out items, or a wider margin.")
    moves = [new - old for old, new in zip(evidence.before, evidence.after, strict=True)]
    return Gate(
        model=candidate.name,
        against=against,
        is_open=True,
        verdict=verdict,
        evidence=evidence.source,
        num_items=len(moves),
        difference=to_wire(found, evidence.metric),
        fixed=sum(move > _MOVED for move in moves),
        broken=sum(move < -_MOVED for move in moves),
        margin=margin,
        reasons=[],
        remedies=[],
    )


def _from_old_proof(
    gate: Gate,
    candidate: Candidate,
    difference: Difference,
    margin: float | None,
    reasons: list[str],
    remedies: list[str],
) -> Gate:
    """From a proof of a time when not every item was kept: its difference, with no margin to show."""
    verdict: GateVerdict = "cannot tell"
    low, high = difference.interval.low, difference.interval.high
    if difference.p_value < ALPHA and not low <= 0 <= high:
        gained = difference.mean < 0 if difference.metric == "loss" else difference.mean > 0
        verdict = "better" if gained else "worse"
    proof = candidate.proof
    num_items = proof.num_items if proof else 0
    if verdict == "worse":
        reasons.append(_worse(candidate.name, gate.against, difference, num_items))
    elif margin is not None:
        reasons.append("The proof is too old to show a margin.")
        remedies.append(f"tailor compare {gate.against} {candidate.name}")
    return gate.model_copy(
        update={
            "verdict": verdict,
            "evidence": "proof",
            "difference": difference,
            "num_items": num_items,
            "fixed": proof.fixed if proof else None,
            "broken": proof.broken if proof else None,
        }
    )


def _worse(model: str, against: str | None, difference: Difference, num_items: int) -> str:
    low, high = difference.interval.low, difference.interval.high
    if difference.metric in ("pass_rate", "score"):
        figures = f"{100 * difference.mean:+.1f} points, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
    else:
        figures = f"{difference.metric} {difference.mean:+.3f}, 95 % interval {low:.3f} to {high:.3f}"
    return (
        f"{model} is worse than {against} on {num_items:,} items ({figures}, p = {difference.p_value:.2g})."
    )


def _evidence(
    candidate: Candidate, current: Candidate | None, compared: tuple[str, Sequence[Answered]] | None
) -> Evidence | None:
    """What holds both against the same items: a comparison, else their proofs."""
    if compared is not None:
        before, after = values_of(compared[1])
        if before:
            is_passes = {*before, *after} <= {0.0, 1.0}
            return Evidence(
                source=f"comparison {compared[0]}",
                metric="pass_rate" if is_passes else "score",
                before=before,
                after=after,
            )
    against = current.name if current else candidate.base
    if candidate.proof is not None and against == candidate.base and candidate.proof.results:
        return _of_proof(candidate.proof)
    if current is None or current.proof is None or not current.proof.results:
        return None
    if candidate.name == current.base:  # back to the base: the same proof, the other way round
        turned = _of_proof(current.proof)
        return Evidence(source=turned.source, metric=turned.metric, before=turned.after, after=turned.before)
    if candidate.proof is not None and candidate.proof.metric == current.proof.metric:
        return _of_both(candidate.proof, current.proof)
    return None


def _of_proof(proof: Proof) -> Evidence:
    sign = -1.0 if proof.metric == "loss" else 1.0
    return Evidence(
        source="proof",
        metric=proof.metric,
        before=[sign * result.base for result in proof.results],
        after=[sign * result.version for result in proof.results],
    )


def _of_both(candidate: Proof, current: Proof) -> Evidence | None:
    """Both versions on the held-out items that their proofs share; losses only where tokens are the same."""
    if candidate.metric == "loss" and candidate.base != current.base:
        return None
    sign = -1.0 if candidate.metric == "loss" else 1.0
    old = {result.key: result.version for result in current.results}
    new = {result.key: result.version for result in candidate.results}
    common = [key for key in new if key in old]
    if len(common) < max(LEAST_COMMON, len(new) / 2):
        return None
    return Evidence(
        source="proofs",
        metric=candidate.metric,
        before=[sign * old[key] for key in common],
        after=[sign * new[key] for key in common],
    )


def _difference_alone(candidate: Candidate, against: str) -> Difference | None:
    proof = candidate.proof
    return proof.difference if proof is not None and against == candidate.base else None
