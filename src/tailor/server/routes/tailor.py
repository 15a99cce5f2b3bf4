"""Ours: what OpenAI has no word for, under /v1/tailor."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel

from tailor import __version__
from tailor.errors import NotFound
from tailor.protocol import Proof
from tailor.server.calls import Reading
from tailor.server.requests import new_router

router = new_router("tailor", "/v1/tailor")

UnixTime = Annotated[int, Query(ge=0, lt=2**40, description="Unix seconds.")]


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


class ModelUsage(BaseModel):
    """What was used of one upstream model."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompts' tokens, those that the upstream had cached."""
    cost: float
    """In dollars, at the prices that the operator's file had at the time."""


class UsageReport(BaseModel):
    """What the caller's tenant has used of upstream models, the costliest first."""

    object: Literal["tailor.usage"] = "tailor.usage"
    data: list[ModelUsage]
    total_cost: float
    """In dollars."""


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


@router.get("/usage")
def usage_report(call: Reading, since: UnixTime = 0, until: UnixTime | None = None) -> UsageReport:
    """Tokens and cost of upstream models, by whole days (UTC): from that of `since` to before `until`."""
    uses = call.store.usage.list(call.tenant, since=since, until=until)
    return UsageReport(
        data=[
            ModelUsage(
                model=use.model,
                requests=use.requests,
                prompt_tokens=use.prompt_tokens,
                completion_tokens=use.completion_tokens,
                cached_tokens=use.cached_tokens,
                cost=use.nanodollars / 1e9,
            )
            for use in uses
        ],
        total_cost=sum(use.nanodollars for use in uses) / 1e9,
    )


@router.get("/server")
def server_figures(call: Reading) -> ServerFigures:
    """Engine and disk."""
    return ServerFigures(
        version=__version__,
        free_bytes=call.store.free_bytes(),
        engine=EngineFigures(**call.services.answering.engine.figures()),
    )
