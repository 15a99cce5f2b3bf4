"""The second half of a job: prepare, train, prove, publish. Brings torch along."""

from __future__ import annotations

import gc
from pathlib import Path

from tailor.errors import StorageFull
from tailor.evals import LocalPair, Question, prove, prove_rewards
from tailor.jobs.attempt import Attempt, record_incident
from tailor.jobs.fit import Fit
from tailor.jobs.losses import write_losses
from tailor.jobs.names import version_name
from tailor.jobs.prepare import HeldOut, Prepared, prepare
from tailor.jobs.publish import publish_final, publish_weights
from tailor.jobs.pulse import BLOCK_PATIENCE_SECONDS, Interrupted
from tailor.protocol import Proof
from tailor.store import LeaseLost, reach, remove_directory


def tune(attempt: Attempt) -> None:
    """Turn a job into a version."""
    lease, pulse = attempt.lease, attempt.pulse
    reach("after_claim")
    lease.add_event("Fine-tuning job started", once_key="started")
    prepared, start = prepare(attempt)
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
            attempt, prepared, prepared.held_out, digest, is_packed=progress.is_packed is not False
        )
    pulse.stop_if_asked()
    lease.heartbeat(phase="publishing")
    publish_final(attempt, prepared, digest=digest, proof=proof, losses=losses)
    remove_directory(lease.directory)


def _proof(
    attempt: Attempt, prepared: Prepared, held_out: HeldOut, digest: str, *, is_packed: bool
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
            if prepared.grading is not None and prepared.recipe.exploration is not None:
                return prove_rewards(
                    pair,
                    question,
                    prepared.template,
                    prepared.grading,
                    context_length=limit,
                    max_tokens=prepared.recipe.exploration.max_tokens,
                    tick=tick,
                )
            return prove(pair, question, prepared.template, context_length=limit, tick=tick)
    except (Interrupted, LeaseLost, StorageFull):
        raise
    except Exception as error:
        incident = record_incident(attempt, error)
        attempt.lease.add_event(
            f"The comparison with the base failed (incident {incident}): {type(error).__name__}. The model "
            "itself is complete.",
            level="error",
        )
        return None
