"""Things that tests of the server need: rows, files, and tuned models without any training."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch

from tailor.evals.runs import Means
from tailor.evals.runs.grading import Criteria
from tailor.evals.runs.means import Patience
from tailor.models import Lora, attach, embedded_directory, load_base, save_adapter
from tailor.models.adapters import adapter_parameters
from tailor.protocol import VersionName
from tailor.store import Job, JobSpec, Lease, Recorded, RunSpec, Store, Version, write_directory


def rows(count: int = 12) -> bytes:
    """A small training file."""
    return jsonl(
        {"messages": [{"role": "user", "content": f"mail {n}"}, {"role": "assistant", "content": "spam"}]}
        for n in range(count)
    )


def jsonl(values: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def add_job(store: Store, tenant: str, **spec: Any) -> Job:
    file = store.files.add(tenant, data=rows(), filename="train.jsonl", purpose="fine-tune")
    asked = {"requested_model": "tailor-mini-2", "base": "tailor-mini-2", "training_file": file.id}
    hyperparameters = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    return store.jobs.add(tenant, JobSpec(**(asked | {"hyperparameters": hyperparameters} | spec)))


def finish_job(store: Store, tenant: str, **spec: Any) -> Job:
    """A job that has succeeded, with a checkpoint, a result file, and random adapters as its weights."""
    job = add_job(store, tenant, **spec)
    lease = store.queue.claim("validate", "test", job_id=job.id)
    assert lease is not None
    lease.validated()
    lease = store.queue.claim("train", "test", job_id=job.id)
    assert lease is not None
    numbers = {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 1.0}
    lease.resolve(hyperparameters=numbers)
    metrics = {"step": 1, "total_steps": 2, "train_loss": 1.5, "train_mean_token_accuracy": 0.5}
    lease.add_metrics(step=1, data=metrics, message="Step 1/2: training loss=1.50")
    snapshot = _version(store, lease, step=1, seed=1)
    lease.add_checkpoint(step=1, name=snapshot.id, digest=snapshot.digest, metrics=metrics, version=snapshot)
    results = store.files.add(
        tenant,
        data=b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,1.5,0.5,,\n",
        filename="step_metrics.csv",
        purpose="fine-tune-results",
    )
    return lease.publish(
        _version(store, lease, step=None, seed=2), result_files=(results.id,), trained_tokens=100
    )


def add_run(store: Store, tenant: str) -> tuple[str, str, str]:
    """An eval, a run of it that is going on, and its first row, graded as a run would; their ids."""
    check = {
        "type": "string_check",
        "name": "exact",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "operation": "eq",
    }
    evaluation = store.evals.add(
        tenant,
        name="answers",
        data_source_config={"type": "custom", "item_schema": {}},
        testing_criteria=[check],
    )
    row = {"item": {"answer": "Rome"}, "sample": {"output_text": "Rome"}}
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [row, row]}}
    run = store.eval_runs.add(tenant, evaluation.id, RunSpec(name="by hand", model=None, data_source=source))
    lease = store.eval_queue.claim("test", run_id=run.id)
    assert lease is not None
    lease.prepare([row, row])
    item, _ = lease.unfinished()
    means = Means(store=store, complete=_ask_nobody, run_python=_run_nothing)
    criteria = Criteria([check], tenant=tenant, means=means, patience=Patience())
    [(status, results, usage)] = asyncio.run(criteria.grade([item]))
    lease.record([Recorded(item=item, status=status, results=results, usage=usage)])
    lease.close()
    return evaluation.id, run.id, item.id


async def _ask_nobody(tenant: str, request: object) -> Any:
    raise AssertionError("no model is asked here")


def _run_nothing(source: str, cases: object) -> Any:
    raise AssertionError("no code is run here")


@cache
def adapter_files(seed: int) -> dict[str, bytes]:
    """A LoRA adapter for the embedded base that really changes what it says."""
    loaded = load_base(embedded_directory())
    shape = Lora(rank=4)
    attach(loaded, shape, seed=seed)
    weights = adapter_parameters(loaded.model)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in weights.items():
        if ".lora_B." in name:
            tensor.data = 0.1 * torch.randn(tensor.shape, generator=generator)
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as directory:
        save_adapter(Path(directory), weights, shape)
        return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def _version(store: Store, lease: Lease, *, step: int | None, seed: int) -> Version:
    job = lease.job
    directory = write_directory(lease.directory, f"w{seed}.{lease.token}", dict(adapter_files(seed)), {})
    base = store.bases.get(job.base)
    name = VersionName.new(base=job.base, organization="local", suffix=job.suffix, step=step)
    return Version(
        id=str(name),
        tenant=job.tenant,
        created_at=job.created_at,
        base=job.base,
        base_digest=base.digest,
        kind="final" if step is None else "checkpoint",
        job_id=job.id,
        step=step or 2,
        digest=store.weights.publish(directory),
        adapter="lora",
        dataset_fingerprint="0" * 64,
        recipe={"rank": 4},
        template_digest=base.template_digest,
        software={},
        metrics={},
        parent=job.parent,
    )
