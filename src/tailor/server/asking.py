"""Any model by its name, ours or an upstream's: one question, one whole answer."""

from __future__ import annotations

from typing import Any, Final, get_args

from tailor.errors import InvalidRequest, NotFound
from tailor.inference.upstreams import Gateway, UpstreamModel
from tailor.protocol import AnswerMessage, ChatCompletion, ChatRequest, Choice, FinishReason, ToolCall, Usage
from tailor.server.answering import Answering
from tailor.server.completion import collect
from tailor.server.conversation import read_conversation

JsonObject = dict[str, Any]

_FINISHES: Final = frozenset(get_args(FinishReason))


class Asking:
    """For those of us who ask models ourselves: graders, and runs of evals."""

    def __init__(self, answering: Answering, gateway: Gateway) -> None:
        self.answering = answering
        self.gateway = gateway

    def check(self, tenant: str, request: ChatRequest) -> None:
        """Raise NotFound or InvalidRequest for what no model here would answer; asks nobody."""
        if self.gateway.find(request.model) is None:
            read_conversation(request)
            self.answering.resolve(tenant, request.model)

    def check_model(self, tenant: str, name: str, *, param: str, purpose: str) -> None:
        """Raise InvalidRequest unless there is such a model; `purpose` is what it was wanted for."""
        if self.gateway.find(name) is not None:
            return
        try:
            self.answering.resolve(tenant, name)
        except NotFound as error:
            raise InvalidRequest(
                f"Model {name} does not exist, so it cannot {purpose}.",
                param=param,
                code="model_not_found",
                remedy="GET /v1/models lists what can be asked.",
            ) from error

    def is_judge(self, tenant: str, name: str) -> bool:
        """Whether the model, which exists, is a reward model."""
        return self.gateway.find(name) is None and self.answering.resolve(tenant, name).judge is not None

    async def complete(self, tenant: str, request: ChatRequest) -> ChatCompletion:
        """The whole answer; raises what asking raises."""
        model = self.gateway.find(request.model)
        if model is None:
            return await collect(await self.answering.begin(tenant, request))
        return as_completion(await self.gateway.complete(tenant, request), model)


def as_completion(answer: JsonObject, model: UpstreamModel) -> ChatCompletion:
    """An upstream's answer in our own types; what they do not know is left out."""
    usage = answer.get("usage")
    return ChatCompletion(
        id=str(answer.get("id") or "")[:256],
        created=answer["created"] if isinstance(answer.get("created"), int) else 0,
        model=model.name,
        choices=[_choice(index, choice) for index, choice in enumerate(answer["choices"])],
        usage=_usage(usage if isinstance(usage, dict) else {}),
    )


def _choice(index: int, choice: JsonObject) -> Choice:
    message = choice["message"]
    calls = message.get("tool_calls")
    finish: Any = choice.get("finish_reason")
    return Choice(
        index=index,
        message=AnswerMessage(
            content=_text(message.get("content")),
            refusal=_text(message.get("refusal")),
            tool_calls=[_call(call) for call in calls if isinstance(call, dict)] if calls else None,
        ),
        finish_reason=finish if finish in _FINISHES else "stop",
    )


def _call(call: JsonObject) -> ToolCall:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return ToolCall.model_validate(
        {
            "id": str(call.get("id", "")),
            "function": {
                "name": str(function.get("name", "")),
                "arguments": str(function.get("arguments", "")),
            },
        }
    )


def _text(content: Any) -> str | None:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def _usage(usage: JsonObject) -> Usage:
    counts = {name: _count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")}
    details = usage.get("prompt_tokens_details")
    return Usage(
        **counts,
        total_tokens=sum(counts.values()),
        prompt_tokens_details=details if isinstance(details, dict) else None,
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
