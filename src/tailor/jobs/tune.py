"""The second half of a job: prepare, train, prove, publish. Brings torch along."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

from tailor.errors import StorageFull
from tailor.evals import Along, Battery, LocalPair, Question, prove, prove_judgements, prove_rewards
from tailor.evals.canaries import Canaries
from tailor.jobs.asking import Asking
from tailor.jobs.attempt import Attempt, Stuck, record_incident
from tailor.jobs.canaries import read_canaries
from tailor.jobs.fit import Fit
from tailor.jobs.losses import write_losses
from tailor.jobs.names import version_name
from tailor.jobs.prepare import Prepared, prepare
from tailor.jobs.publish import publish_final, publish_weights
from tailor.jobs.pulse import BLOCK_PATIENCE_SECONDS, Interrupted
from tailor.jobs.reading import HeldOut
from tailor.protocol import Proof
from tailor.store import LeaseLost, reach, remove_directory
from tailor.training import RewardModel


def tune(attempt: Attempt) -> None:
    """Turn a job into a version."""
    lease = attempt.lease
    reach("after_claim")
    lease.add_event("Fine-tuning job started", once_key="started")
    with Asking(attempt) as asking:
        _tune(attempt, asking)


def _tune(attempt: Attempt, asking: Asking) -> None:
    lease, pulse = attempt.lease, attempt.pulse
    canaries = read_canaries(attempt)
    prepared, start = prepare(attempt, asking)
    progress = Fit(attempt, prepared, start).run()
    pulse.enter("evaluating", patience_seconds=BLOCK_PATIENCE_SECONDS)
    pulse.expect(estimated_finish=None)
    digest = publish_weights(attempt, prepared, start.learner, step=progress.step)
    losses = write_losses(attempt, prepared, start.learner)
    # From here on only the published files count. Modules refer to each other, so ask for the memory back.
    del start
    gc.collect()
    proof = None
    if prepared.held_out is not None:
        proof = _proof(
            attempt,
            prepared,
            prepared.held_out,
            digest,
            canaries=canaries,
            is_packed=progress.is_packed is not False,
        )
    pulse.stop_if_asked()
    lease.heartbeat(phase="publishing")
    publish_final(attempt, prepared, digest=digest, progress=progress, proof=proof, losses=losses)
    remove_directory(lease.directory)


def _proof(
    attempt: Attempt,
    prepared: Prepared,
    held_out: HeldOut,
    digest: str,
    *,
    canaries: Canaries | None,
    is_packed: bool,
) -> Proof | None:
    """Base against version; a fault in here costs the proof, never the model."""
    question = Question(
        base=prepared.base.name,
        version=version_name(attempt.job, attempt.settings.organization),
        held_out=held_out.dataset.examples,
        training=prepared.training.examples,
        data=held_out.data,
        file=held_out.file,
        seed=attempt.job.seed,
        max_items=prepared.options.proof_items,
    )

    def tick(share: float) -> None:
        attempt.pulse.stop_if_asked()
        reach("in_proof")

    limit = prepared.recipe.max_context_tokens
    try:
        with LocalPair(
            base=Path(prepared.base.directory),
            version=attempt.store.weights.path(digest),
            dtype=prepared.recipe.dtype,
            context_length=limit,
            is_packed=is_packed,
        ) as pair:
            return _examine(prepared, question, pair, attempt.store.weights.path(digest), canaries, tick)
    except (Interrupted, LeaseLost, StorageFull, Stuck):
        raise
    except Exception as error:
        incident = record_incident(attempt, error)
        attempt.lease.add_event(
            f"The comparison with the base failed (incident {incident}): {type(error).__name__}. The model "
            "itself is complete.",
            level="error",
        )
        return None


def _examine(
    prepared: Prepared,
    question: Question,
    pair: LocalPair,
    weights: Path,
    canaries: Canaries | None,
    tick: Callable[[float], None],
) -> Proof:
    """What the method calls for; and what was forgotten, where the version still writes."""
    recipe, template = prepared.recipe, prepared.template
    limit = recipe.max_context_tokens
    if recipe.method == "reward_model":
        judge = RewardModel.open(
            weights,
            Path(prepared.base.directory),
            dtype=recipe.dtype,
        )
        return prove_judgements(
            pair,
            question,
            template,
            lambda examples: judge.rewards([each.ids.tolist() for each in examples]),
            context_length=limit,
            tick=tick,
        )
    battery = Battery.read(template)
    along = Along(pair, battery, canaries, template, max_tokens=limit, tick=tick)
    if prepared.grading is not None and recipe.exploration is not None:
        proof = prove_rewards(
            along,
            question,
            template,
            prepared.grading,
            context_length=limit,
            max_tokens=recipe.exploration.max_tokens,
            tick=tick,
        )
    else:
        proof = prove(along, question, template, context_length=limit, tick=tick)
    return proof.model_copy(update={"forgetting": along.forgetting()})
