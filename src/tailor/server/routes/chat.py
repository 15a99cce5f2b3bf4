"""Chat completions, whole or streamed (contract 1.8)."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from tailor.inference.upstreams import UpstreamModel
from tailor.protocol import ChatCompletion, ChatRequest, new_id
from tailor.server.answering import Exchange
from tailor.server.asking import as_completion
from tailor.server.calls import Call, Writing
from tailor.server.chunks import ChunkStream
from tailor.server.completion import collect
from tailor.server.layers.rates import mark_elsewhere
from tailor.server.passing import PassedStream
from tailor.server.requests import new_router
from tailor.server.streaming import EventStream, unless_gone

router = new_router("chat")

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream: true` as chat.completion.chunk events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=_STREAM)
async def create_completion(call: Writing, body: ChatRequest) -> Any:
    """Ask a base, a tuned version, a checkpoint, or a model of an upstream."""
    services = call.services
    model = services.asking.gateway.find(body.model)
    if model is not None:
        return await _pass_on(call, body, model)
    if not body.stream:
        return await unless_gone(call.request, services.traffic, _whole(call, body))
    begun = services.answering.begin(call.tenant, body)
    exchange = await unless_gone(call.request, services.traffic, begun)
    return _stream(call, exchange)


async def _whole(call: Call, body: ChatRequest) -> ChatCompletion:
    exchange = await call.services.answering.begin(call.tenant, body)
    completion = await collect(exchange)
    await _keep(call, body, completion)
    return completion


def _stream(call: Call, exchange: Exchange) -> Response:
    async def keep(completion: ChatCompletion) -> None:
        await _keep(call, exchange.request, completion)

    config = call.services.config
    return EventStream(
        aiter(ChunkStream(exchange=exchange, keep=keep)),
        close=exchange.generation.cancel,
        traffic=call.services.traffic,
        ping_seconds=config.ping_seconds,
        stall_seconds=config.stall_seconds,
    )


async def _pass_on(call: Call, body: ChatRequest, model: UpstreamModel) -> Response:
    """Have an upstream answer."""
    services = call.services
    gateway = services.asking.gateway
    mark_elsewhere(call.request.scope)

    async def keep(completion: ChatCompletion) -> None:
        await _keep(call, body, completion)

    if body.stream:
        begun = gateway.stream(call.tenant, body)
        passed = PassedStream(
            request=body,
            model=model,
            stream=await unless_gone(call.request, services.traffic, begun),
            keep=keep,
        )
        return EventStream(
            aiter(passed),
            close=passed.close,
            traffic=services.traffic,
            ping_seconds=services.config.ping_seconds,
            stall_seconds=services.config.stall_seconds,
        )
    answer = await unless_gone(call.request, services.traffic, gateway.complete(call.tenant, body))
    if body.store:
        completion = as_completion(answer, model)
        # An id of our own: nobody else may be able to say under which name we keep something.
        answer["id"] = completion.id = new_id("completion")
        await keep(completion)
    return JSONResponse(answer)


async def _keep(call: Call, request: ChatRequest, completion: ChatCompletion) -> None:
    """Store the exchange if its caller asked for it."""
    if request.store:
        await run_in_threadpool(
            call.store.completions.add,
            call.tenant,
            completion_id=completion.id,
            model=completion.model,
            messages=[message.model_dump(exclude_unset=True) for message in request.messages],
            answer=completion.model_dump(mode="json", exclude={"metadata"}),
            metadata=request.metadata,
        )
