"""What a job would take, before it is started (ours)."""

from __future__ import annotations

from tailor.jobs import WorkerSettings, physical_cores
from tailor.protocol import JobRequest, TrainingPlan
from tailor.server.calls import Writing
from tailor.server.requests import new_router
from tailor.server.routes.jobs import resolve

router = new_router("tailor", "/v1/tailor/plans")


@router.post("")
def create_plan(call: Writing, body: JobRequest) -> TrainingPlan:
    """Steps, memory and time of a job, from the same body as the job itself; nothing is trained."""
    from tailor.jobs.plans import plan  # brings torch

    spec, _ = resolve(call, body)
    threads = call.services.config.training_threads or physical_cores()
    return plan(call.store, call.tenant, spec, WorkerSettings(num_threads=threads))
