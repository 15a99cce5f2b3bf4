"""The gate in front of an alias: what opens it, what shuts it, and on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tailor.evals.promotion import Candidate, judge
from tailor.protocol import Forgetting, PairedResult, Proof

ARM = {
    "score": None,
    "interval": None,
    "loss": 1.0,
    "token_accuracy": 0.5,
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "latency_p50_ms": None,
    "latency_p95_ms": None,
}


def proof(base: Sequence[float], version: Sequence[float], **more: Any) -> Proof:
    """A proof in short: what base and version got on each item."""
    given: dict[str, Any] = {
        "created_at": 1,
        "model": "m",
        "base": "tiny",
        "data": "held out",
        "file": "file-a",
        "num_items": len(base),
        "num_overlap": 0,
        "metric": "pass_rate",
        "arms": {name: ARM | {"model": name} for name in ("base", "version")},
        "difference": {
            "metric": "pass_rate",
            "mean": 0.0,
            "interval": {"low": 0.0, "high": 0.0},
            "p_value": 1.0,
            "test": "t",
        },
        "fixed": 0,
        "broken": 0,
        "unchanged": 0,
        "items": [],
        "train_loss": None,
        "train_held_out_gap": None,
        "verdict": "v",
        "notes": [],
        "settings": {},
        "results": [
            PairedResult(key=str(place), base=old, version=new)
            for place, (old, new) in enumerate(zip(base, version, strict=True))
        ],
    }
    return Proof.model_validate(given | more)


def version(name: str, results: Proof | None) -> Candidate:
    return Candidate(name=name, base="tiny", proof=results)


GOOD, BAD = [1.0] * 30 + [0.0] * 10, [1.0] * 15 + [0.0] * 25
NOTHING = [0.0] * 40
BASE = Candidate(name="tiny", base="tiny")


def test_a_version_that_beats_its_base_may_take_a_new_alias() -> None:
    gate = judge(version("new", proof(NOTHING, GOOD)), None)

    assert gate.is_open and gate.verdict == "better" and gate.against == "tiny"
    assert (gate.fixed, gate.broken, gate.evidence) == (30, 0, "proof")


def test_a_version_that_is_worse_than_what_stands_there_is_refused() -> None:
    gate = judge(version("new", proof(NOTHING, BAD)), version("old", proof(NOTHING, GOOD)))

    assert not gate.is_open and gate.verdict == "worse" and gate.evidence == "proofs"
    assert gate.difference is not None and gate.difference.mean == -15 / 40
    assert "new is worse than old on 40 items (-37.5 points" in gate.reasons[0]


def test_no_proof_of_a_difference_opens_the_gate_unless_a_margin_is_asked_for() -> None:
    nearly = [1.0] * 29 + [0.0] * 11
    new, old = version("new", proof(NOTHING, nearly)), version("old", proof(NOTHING, GOOD))

    assert judge(new, old).is_open
    shut = judge(new, old, margin=0.02)
    assert not shut.is_open and "40 items cannot tell" in shut.reasons[0]
    assert judge(new, old, margin=0.2).verdict == "no worse"


def test_losses_count_the_other_way_round() -> None:
    low, high = [1.0 + place / 100 for place in range(40)], [2.0 + place / 90 for place in range(40)]
    old = version("old", proof(high, low, metric="loss"))

    worse = judge(version("new", proof(high, high, metric="loss")), old)
    assert worse.verdict == "worse" and worse.difference is not None and worse.difference.mean > 1
    elsewhere = proof(high, high, metric="loss").model_copy(update={"base": "other"})
    other_base = Candidate(name="new", base="other", proof=elsewhere)
    assert judge(other_base, old).verdict == "not compared"


def test_going_back_to_the_base_is_judged_by_the_same_proof() -> None:
    gate = judge(BASE, version("old", proof(NOTHING, GOOD)))

    assert not gate.is_open and gate.verdict == "worse" and (gate.fixed, gate.broken) == (0, 30)


def test_what_nothing_compares_is_refused() -> None:
    few = proof(NOTHING[:9], GOOD[:9])
    gate = judge(version("new", few), version("old", proof(NOTHING, GOOD)))

    assert not gate.is_open and gate.verdict == "not compared"
    assert gate.reasons == ["Nothing compares new with old on the same items."]
    assert judge(BASE, None).is_open


def test_an_old_proof_without_results_still_speaks_against_the_base() -> None:
    worse = {"metric": "pass_rate", "mean": -0.5, "interval": {"low": -0.7, "high": -0.3}, "p_value": 0.001}
    old = proof(NOTHING, GOOD, results=[], difference=worse | {"test": "t"})

    assert judge(version("new", old), None).verdict == "worse"
    fine = proof(NOTHING, GOOD, results=[])
    assert judge(version("new", fine), None).is_open
    assert not judge(version("new", fine), None, margin=0.1).is_open


def test_a_version_that_has_forgotten_too_much_is_refused_however_good_it_is() -> None:
    forgetting = Forgetting(
        battery="general-1",
        probes=[],
        kept=0.1,
        limit=0.5,
        is_blocked=True,
        reasons=["It keeps 10 %."],
        remedies=["Train at a lower rate"],
    )
    gate = judge(version("new", proof(NOTHING, GOOD, forgetting=forgetting)), None)

    assert gate.verdict == "better" and not gate.is_open
    assert (gate.reasons, gate.remedies) == (["It keeps 10 %."], ["Train at a lower rate"])
