"""A model as a judge: any that can be asked here, through the one function that asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tailor.grading import Question, Reply
from tailor.protocol import ChatCompletion, ChatMessage, ChatRequest

Complete = Callable[[str, ChatRequest], Awaitable[ChatCompletion]]
"""Asks a model for a tenant, and waits for the whole answer; raises TailorError."""


def judge(tenant: str, complete: Complete) -> Callable[[Question], Awaitable[Reply]]:
    """Asks the models of graders."""

    async def ask(question: Question) -> Reply:
        sampling = question.sampling
        request = ChatRequest(
            model=question.model,
            messages=[ChatMessage.model_validate(message) for message in question.messages],
            # A judge that is not told otherwise gives the same mark to the same answer.
            temperature=0.0 if sampling.temperature is None else sampling.temperature,
        )
        # Set only where they are given: an upstream is sent what was set.
        for name, value in (
            ("top_p", sampling.top_p),
            ("seed", sampling.seed),
            ("max_completion_tokens", sampling.max_completions_tokens),
        ):
            if value is not None:
                setattr(request, name, value)
        completion = await complete(tenant, request)
        return Reply(
            text=completion.choices[0].message.content or "",
            model=completion.model,
            prompt_tokens=completion.usage.prompt_tokens,
            completion_tokens=completion.usage.completion_tokens,
            refusal=completion.choices[0].message.refusal,
        )

    return ask
