"""What an upstream's answer must hold, and how many tokens it stands for."""

from __future__ import annotations

from typing import Any, Final

from tailor.protocol import ChatRequest

_CHARACTERS_PER_TOKEN: Final = 4


def is_completion(answer: Any) -> bool:
    """Whether there is at least one choice, and every one is a message."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices)
    )


def is_embedding(answer: Any, count: int) -> bool:
    """Whether there is one vector for each input."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return (
        isinstance(data, list)
        and len(data) == count
        and all(isinstance(each, dict) and isinstance(each.get("embedding"), list | str) for each in data)
    )


def counts_of_chat(request: ChatRequest, usage: Any, said: int) -> tuple[int, int, int]:
    """Tokens of a chat; where the upstream does not say what it used, by the characters `said`."""
    counts = counts_of(usage)
    if counts is None:
        asked = sum(len(str(message.content or "")) for message in request.messages)
        counts = (guessed_tokens(asked), guessed_tokens(said), 0)
    return counts


def counts_of(usage: Any) -> tuple[int, int, int] | None:
    """Prompt, completion and cached tokens; None where the upstream does not say."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"), cached or 0)
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return None
    prompt, completion, cached = (int(count or 0) for count in counts)
    return prompt, completion, min(cached, prompt)


def guessed_tokens(num_characters: int) -> int:
    """Where nobody says how many tokens a text has."""
    return -(-num_characters // _CHARACTERS_PER_TOKEN)
