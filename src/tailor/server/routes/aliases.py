"""Aliases (ours): a name for whatever model should answer, moved through a gate, and back."""

from __future__ import annotations

from collections.abc import Sequence

from tailor.errors import InvalidRequest, NotFound
from tailor.evals.comparison import Answered
from tailor.evals.promotion import Candidate, is_compared, judge
from tailor.evals.questions import COMPARISON
from tailor.protocol import Proof, VersionName, WholeList
from tailor.protocol.aliases import AliasDeleted, AliasMove, AliasObject, Gate, Promotion, Rollback
from tailor.server.calls import Call, Reading, Writing
from tailor.server.layers import caller_of
from tailor.server.requests import new_router
from tailor.server.routes.comparisons import answered_runs
from tailor.store import Alias, EvalRun, Version, check_alias_name

router = new_router("tailor", "/v1/tailor/aliases")


@router.get("")
def list_aliases(call: Reading) -> WholeList[AliasObject]:
    """All aliases, by name."""
    return WholeList(data=[_object(alias) for alias in call.store.aliases.list(call.tenant)])


@router.get("/{name}")
def retrieve_alias(call: Reading, name: str) -> AliasObject:
    """One alias with its history."""
    return _with_history(call, call.store.aliases.get(call.tenant, name))


@router.post("/{name}")
def promote(call: Writing, name: str, body: Promotion) -> AliasObject:
    """Let an alias stand for a model, unless the gate is shut: worse than before, or too much forgotten."""
    if body.force and not body.reason:
        raise InvalidRequest(
            "Moving an alias through a shut gate needs a reason, which is kept.",
            param="reason",
            code="missing_required_parameter",
        )
    check_alias_name(name)
    current = _current(call, name)
    candidate = _candidate(call, body.model)
    if current is not None and current.name == candidate.name:
        return _with_history(call, call.store.aliases.get(call.tenant, name))
    compared = _compared(call, current.name if current else candidate.base, candidate.name, body.comparison)
    gate = judge(candidate, current, compared=compared, margin=body.margin)
    if not gate.is_open and not body.force:
        raise _refusal(name, gate)
    alias = call.store.aliases.promote(
        call.tenant,
        name,
        candidate.name,
        expected=current.name if current else None,
        key_id=caller_of(call.request.scope).key_id,
        forced=not gate.is_open,
        reason=body.reason,
        gate=gate.model_dump(mode="json"),
    )
    return _with_history(call, alias)


@router.post("/{name}/rollback")
def roll_back(call: Writing, name: str, body: Rollback) -> AliasObject:
    """Let an alias stand for what it stood for before; no gate is asked."""
    key_id = caller_of(call.request.scope).key_id
    alias = call.store.aliases.roll_back(call.tenant, name, key_id=key_id, reason=body.reason)
    return _with_history(call, alias)


@router.delete("/{name}")
def delete_alias(call: Writing, name: str) -> AliasDeleted:
    """Take an alias back; its history and the model that it stood for stay."""
    call.store.aliases.remove(call.tenant, name, key_id=caller_of(call.request.scope).key_id)
    return AliasDeleted(name=name)


def _current(call: Call, name: str) -> Candidate | None:
    """What the alias stands for; None where it stands for nothing yet."""
    try:
        model = call.store.aliases.get(call.tenant, name).model
    except NotFound:
        return None
    try:
        return _candidate(call, model)
    except NotFound:  # a base that the operator has removed: the alias must still be movable
        return Candidate(name=model, base=model)


def _candidate(call: Call, model: str) -> Candidate:
    """A version or a base by its name, or by another alias."""
    if VersionName.parse(model):
        found = call.store.versions.get(call.tenant, model)
    else:
        meant = call.store.aliases.resolve(call.tenant, model) or call.store.bases.resolve(model).base
        if not isinstance(meant, Version):
            return Candidate(name=meant.name, base=meant.name)
        found = meant
    proof = Proof.model_validate(found.proof) if found.proof else None
    return Candidate(name=found.id, base=found.base, proof=proof)


def _compared(
    call: Call, against: str, model: str, comparison: str | None
) -> tuple[str, Sequence[Answered]] | None:
    """The rows of both models from the comparison that was named, or else the newest that has both."""
    if comparison is None:
        pair = _newest(call, against, model)
        return (pair[0].eval_id, answered_runs(call, pair)) if pair else None
    call.store.evals.get(call.tenant, comparison)
    runs = [
        next((run for run in _completed(call, name) if run.eval_id == comparison), None)
        for name in (against, model)
    ]
    first, second = runs
    if first is None or second is None:
        raise InvalidRequest(
            f"{comparison} has no finished run of {against if first is None else model}.",
            param="comparison",
            code="comparison_incomplete",
            remedy=f"Compare {against} with {model}.",
        )
    return comparison, answered_runs(call, [first, second])


def _newest(call: Call, against: str, model: str) -> list[EvalRun] | None:
    others = {run.eval_id: run for run in reversed(_completed(call, against))}
    for run in _completed(call, model):
        if run.eval_id in others:
            metadata = call.store.evals.get(call.tenant, run.eval_id).metadata or {}
            if metadata.items() >= COMPARISON.items():
                return [others[run.eval_id], run]
    return None


def _completed(call: Call, model: str) -> list[EvalRun]:
    return [run for run in call.store.eval_runs.of_model(call.tenant, model) if run.status == "completed"]


def _refusal(name: str, gate: Gate) -> InvalidRequest:
    return InvalidRequest(
        f"{gate.model} is not promoted to {name}: {' '.join(gate.reasons)}",
        param="model",
        code="promotion_refused" if is_compared(gate) else "comparison_needed",
        remedy=" ".join([*(f"{remedy.rstrip('.')}." for remedy in gate.remedies), _OR_ELSE]),
        details={"gate": gate.model_dump(mode="json")},
    )


_OR_ELSE = "Or force it with a reason, which is kept: `--force --reason TEXT`."


def _object(alias: Alias) -> AliasObject:
    return AliasObject(name=alias.name, model=alias.model, moved_at=alias.moved_at)


def _with_history(call: Call, alias: Alias) -> AliasObject:
    history = [
        AliasMove(
            created_at=move.created_at,
            action=move.action,
            model=move.model,
            previous=move.previous,
            key_id=move.key_id,
            forced=move.forced,
            reason=move.reason,
            gate=Gate.model_validate(move.gate) if move.gate else None,
        )
        for move in call.store.aliases.history(call.tenant, alias.name)
    ]
    return _object(alias).model_copy(update={"history": history})
