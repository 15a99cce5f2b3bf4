"""A small job, and everything it leaves behind: the same whether or not its workers were killed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tailor.jobs import WorkerSettings
from tailor.models import inspect
from tailor.store import Job, JobSpec, Store

TENANT = "tests"
BASE = "tiny"
FRUITS = ("apple", "pear", "plum", "fig", "lime", "kiwi", "grape", "peach", "mango")
TOOLS = ("saw", "axe", "drill", "file", "plane", "clamp", "level", "punch", "chisel")


def open_store(home: Path) -> Store:
    return Store.open(home, floor_bytes=0)


def quick_workers() -> WorkerSettings:
    """Workers of real processes, as small as they get."""
    return WorkerSettings(num_threads=1, idle_seconds=30.0)


def add_base(store: Store, directory: Path, name: str = BASE) -> None:
    facts = inspect(directory)
    store.bases.add(
        name=name,
        directory=str(directory),
        digest=facts.digest,
        template_digest=facts.template_digest,
        context_length=facts.context_length,
        parameters=facts.parameters,
        model_type=facts.model_type,
    )


def training_rows(count: int) -> bytes:
    """So many short questions, no two alike."""
    rows = []
    for number in range(count):
        word, answer = (FRUITS, "fruit") if number % 2 else (TOOLS, "tool")
        question = f"Is a {word[number % len(word)]} in box {number} a fruit or a tool?"
        rows.append(
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def add_job(
    store: Store, *, rows: bytes | None = None, base: str = BASE, epochs: int = 5, **options: Any
) -> Job:
    """60 steps of four examples, unless asked otherwise, with dropout and a save every five steps."""
    file = store.files.add(
        TENANT, data=rows or training_rows(54), filename="train.jsonl", purpose="fine-tune"
    )
    options = {
        "hold_out": 6,
        "checkpoint_every_steps": 5,
        "adapter": {"type": "lora", "rank": 8, "dropout": 0.1},
        "dtype": "float32",
    } | options
    spec = JobSpec(
        requested_model=base,
        base=base,
        training_file=file.id,
        seed=11,
        suffix="kills",
        method={"type": "supervised"},
        hyperparameters={"n_epochs": epochs, "batch_size": 4, "learning_rate_multiplier": "auto"},
        options=options,
    )
    return store.jobs.add(TENANT, spec)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remains:
    """What a job has left behind, without times and random ids."""

    status: str
    error: str | None
    model: str | None
    trained_tokens: int | None
    hyperparameters: str
    weights: tuple[tuple[str, str], ...]
    """Each version and the digest of every byte of its files."""
    checkpoints: tuple[str, ...]
    metrics: tuple[str, ...]
    messages: tuple[str, ...]
    """The job's log without metrics, and without what only an interrupted job tells."""
    csv: bytes | None
    proof: str
    files: tuple[str, ...]

    def differences(self, other: Remains) -> list[str]:
        """The names of what is not the same."""
        return [each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name)]


def remains_of(store: Store, job_id: str) -> Remains:
    job = store.jobs.get(TENANT, job_id)
    events = list(reversed(store.jobs.events(TENANT, job_id, limit=1000).items))
    versions = store.versions.of_job(TENANT, job_id)
    return Remains(
        status=job.status,
        error=None if job.error is None else str(job.error),
        model=job.fine_tuned_model,
        trained_tokens=job.trained_tokens,
        hyperparameters=json.dumps([job.hyperparameters, job.method], sort_keys=True),
        weights=tuple((version.id, _bytes_of(store.weights.path(version.digest))) for version in versions),
        checkpoints=tuple(
            _without(
                asdict(checkpoint) | {"metrics": checkpoint.metrics | {"timing": None}}, "id", "created_at"
            )
            for checkpoint in store.jobs.checkpoints(TENANT, job_id, limit=1000).items
        ),
        metrics=tuple(
            f"{event.message} {json.dumps(event.data | {'timing': None})}"
            for event in events
            if event.type == "metrics"
        ),
        messages=tuple(
            _without_files(event.message)
            for event in events
            if event.type == "message" and not is_about_recovery(event.message, event.data)
        ),
        csv=store.files.open(TENANT, job.result_files[0]).read() if job.result_files else None,
        proof=_proof(versions[-1].proof) if versions else "",
        files=tuple(sorted(record.filename for record in store.files.list(TENANT).items)),
    )


def leftovers(home: Path) -> list[str]:
    """Anything half-made that is still there."""
    names = [path.name for path in (home / "checkpoints").glob("*/*")]
    names += [path.name for path in (home / "weights").glob(".*")]
    return names + [path.name for path in (home / "blobs").glob(".part-*")]


def is_about_recovery(message: str, data: dict[str, Any]) -> bool:
    # What is free depends on who else works on this machine.
    told = ("The worker stopped unexpectedly", "Memory: about")
    return bool(data.get("recovery")) or message.startswith(told)


def _bytes_of(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.name != "MANIFEST.json":
            digest.update(f"{path.name}:".encode() + path.read_bytes())
    return digest.hexdigest()


def _proof(proof: dict[str, Any] | None) -> str:
    if proof is None:
        return ""
    arms = {
        name: {key: value for key, value in arm.items() if not key.startswith("latency")}
        for name, arm in proof["arms"].items()
    }
    return _without(proof | {"arms": arms}, "created_at", "file")


def _without(values: dict[str, Any], *names: str) -> str:
    return json.dumps({key: value for key, value in values.items() if key not in names}, sort_keys=True)


def _without_files(message: str) -> str:
    return " ".join("FILE" if word.startswith("file-") else word for word in message.split(" "))
