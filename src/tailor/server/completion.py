"""A finished answer as a `chat.completion`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tailor.protocol import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    ChoiceLogprobs,
    FinishReason,
    FunctionCall,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
    new_id,
)
from tailor.server.answering import Exchange
from tailor.server.tool_calls import read_calls

if TYPE_CHECKING:
    from tailor.inference import GenerationChunk
    from tailor.inference.engine import Candidate
    from tailor.inference.engine import TokenLogprob as Taken

_LEAST_LOGPROB = -9999.0
"""What OpenAI shows for a token that was as good as impossible; JSON has no infinity."""


async def collect(exchange: Exchange) -> ChatCompletion:
    """Wait for the whole answer; leaving early cancels it."""
    answers: dict[int, GenerationChunk] = {}
    try:
        async for chunk in exchange.generation:
            earlier = answers.get(chunk.choice)
            answers[chunk.choice] = chunk if earlier is None else earlier + chunk
    finally:
        exchange.generation.cancel()
    return completion_of(exchange, [answers[index] for index in sorted(answers)])


def completion_of(exchange: Exchange, answers: Sequence[GenerationChunk]) -> ChatCompletion:
    """The wire's object for whole answers."""
    return ChatCompletion(
        id=exchange.id,
        created=exchange.created,
        model=exchange.target.name,
        choices=[_choice(exchange, answer) for answer in answers],
        usage=usage_of(exchange, sum(answer.num_tokens for answer in answers)),
        system_fingerprint=exchange.fingerprint,
        service_tier="default",
        metadata=exchange.request.metadata if exchange.request.store else None,
    )


def usage_of(exchange: Exchange, num_answer_tokens: int) -> Usage:
    """Tokens counted; the prompt once, whatever `n` is."""
    return Usage(
        prompt_tokens=exchange.num_prompt_tokens,
        completion_tokens=num_answer_tokens,
        total_tokens=exchange.num_prompt_tokens + num_answer_tokens,
    )


def logprobs_of(tokens: Iterable[Taken]) -> ChoiceLogprobs:
    """Log-probabilities on the wire."""
    return ChoiceLogprobs(
        content=[
            TokenLogprob(
                **_candidate(token).model_dump(), top_logprobs=[_candidate(top) for top in token.top]
            )
            for token in tokens
        ]
    )


def tool_call(function: FunctionCall) -> ToolCall:
    """A call with an id of its own."""
    return ToolCall(id=new_id("tool_call"), function=function)


def _choice(exchange: Exchange, answer: GenerationChunk) -> Choice:
    conversation = exchange.conversation
    said = read_calls(answer.text, conversation.tool_names, one_call=conversation.one_call)
    finish: FinishReason = answer.finish_reason or "stop"
    message = AnswerMessage(content=said.content)
    if said.calls and conversation.is_legacy:
        message.function_call, finish = said.calls[0], "function_call"
    elif said.calls:
        message.tool_calls, finish = [tool_call(call) for call in said.calls], "tool_calls"
    wants_logprobs = exchange.request.logprobs and not said.calls
    return Choice(
        index=answer.choice,
        message=message,
        finish_reason=finish,
        logprobs=logprobs_of(answer.logprobs) if wants_logprobs else None,
    )


def _candidate(token: Candidate) -> TopLogprob:
    return TopLogprob(token=token.text, logprob=max(token.logprob, _LEAST_LOGPROB), bytes=list(token.bytes))
