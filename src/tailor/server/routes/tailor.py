"""Ours: what OpenAI has no word for, under /v1/tailor."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from tailor import __version__
from tailor.data import read_supervised
from tailor.errors import InvalidRequest, NotFound
from tailor.protocol import Proof
from tailor.server.calls import Reading
from tailor.server.requests import new_router

router = new_router("tailor", "/v1/tailor")


_MAX_REPORT_BYTES = 64 * 1024 * 1024
"""The whole of a file's examples is held in memory while it is checked."""


class FileReport(BaseModel):
    """What a check of a training file found."""

    object: Literal["tailor.file_report"] = "tailor.file_report"
    file: str
    ok: bool
    """Whether a job can train on it."""
    summary: str
    num_lines: int
    num_examples: int
    num_blocking: int
    num_advice: int
    counts: dict[str, int]
    """How often each kind of problem was found."""
    problems: list[dict[str, Any]]
    """The first hundred: line, field, code, message, remedy, severity."""


class EngineFigures(BaseModel):
    """How the engine is doing."""

    status: Literal["loading", "ready", "failed"]
    restarts: int = 0
    """How often it had died or was stuck, and was started anew."""
    running: int = 0
    queued: int = 0
    queued_prompt_tokens: int = 0
    tokens_per_second: float = 0.0
    seconds_since_last_token: float | None = None
    weights_bytes: int = 0
    cache_bytes: int = 0


class ServerFigures(BaseModel):
    """Figures of this server."""

    object: Literal["tailor.server"] = "tailor.server"
    version: str
    free_bytes: int
    """Left on the disk of the home."""
    engine: EngineFigures


@router.get("/models/{model:path}/proof")
def retrieve_proof(call: Reading, model: str) -> Proof:
    """What a tuned version fixed and broke against its base, on items it was not trained on."""
    proof = call.store.versions.proof(call.tenant, model)
    if proof is None:
        raise NotFound(
            f"There is no proof for '{model[:200]}'.",
            param="model",
            code="proof_not_found",
            remedy="A job makes one for its final model; a checkpoint has none.",
        )
    return Proof.model_validate(proof)


@router.get("/files/{file_id}/report")
def report_file(call: Reading, file_id: str) -> FileReport:
    """Check a file as a job would: every problem with its line, before any job is started."""
    record = call.store.files.get(call.tenant, file_id)
    if record.bytes > _MAX_REPORT_BYTES:
        raise InvalidRequest(
            f"The file has {record.bytes:,} bytes; up to {_MAX_REPORT_BYTES:,} are checked here.",
            param="file_id",
            code="file_too_large",
            remedy="Check it where it is with `tailor check FILE`; a job checks it in any case.",
        )
    with call.store.files.open(call.tenant, file_id) as stream:
        report = read_supervised(stream, name=record.filename).report
    return FileReport(**report.to_dict(), summary=report.summary())


@router.get("/server")
def server_figures(call: Reading) -> ServerFigures:
    """Engine and disk."""
    return ServerFigures(
        version=__version__,
        free_bytes=call.store.free_bytes(),
        engine=EngineFigures(**call.services.answering.engine.figures()),
    )
