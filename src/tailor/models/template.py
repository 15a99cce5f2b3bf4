"""Chat template: messages -> token ids and loss weights, the same ids for training and for serving.

The text is cut at the borders of the assistant's answers and each piece is tokenised by itself. A served
prompt ends at such a border, so its ids are a prefix of the ids that training saw, by construction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailor.errors import InvalidRequest
from tailor.models._sandbox import Generated, Program

Message = Mapping[str, Any]
"""`role`, `content` (text or None), and `name`, `tool_calls`, `tool_call_id`, `weight` where given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Where one assistant message lies in the rendered ids, its end of turn included."""

    message_index: int
    """Position in the conversation."""

    begin: int
    """Index of its first token."""

    end: int
    """Index after its last token."""

    weight: float
    """1.0 if it is to be learnt, else 0.0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A conversation as a model sees it."""

    ids: list[int]
    """Token ids."""

    weights: list[float]
    """Loss weight of each token as a target; 0.0 outside the answers to be learnt."""

    text: str
    """The text the ids were made from."""

    answers: tuple[Answer, ...] = field(default=())
    """The assistant messages, in order."""


@dataclass(frozen=True, slots=True)
class _Span:
    begin: int
    end: int
    message_index: int


class Template:
    """A tokenizer with its chat template."""

    def __init__(self, tokenizer: Any, source: str) -> None:
        self.tokenizer = tokenizer
        self.source = source
        self._program = Program(source)
        self._specials = {
            key: value for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)
        }
        self._endings = tuple(sorted(map(str, tokenizer.all_special_tokens), key=len, reverse=True))
        self._reads_developer = "developer" in source

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the template's source."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
    ) -> Rendered:
        """Ids, loss weights and text of a conversation.

        Raises:
            InvalidRequest: the template refuses the conversation, or the answers cannot be found in its text.
        """
        plain = [self._plain(message) for message in messages]
        pieces = self._run(plain, tools, add_generation_prompt)
        text = "".join(pieces)
        indices = [index for index, message in enumerate(plain) if message["role"] == "assistant"]
        spans = self._marked_spans(pieces, text, indices)
        if spans is None:
            spans = [self._found_span(plain, tools, index, text) for index in indices]
        return self._tokenise(text, spans, messages)

    def _tokenise(self, text: str, spans: Sequence[_Span], messages: Sequence[Message]) -> Rendered:
        ids: list[int] = []
        weights: list[float] = []
        answers = []
        position = 0
        for span in spans:
            outside = self._encode(text[position : span.begin])
            inside = self._encode(text[span.begin : span.end])
            weight = 0.0 if messages[span.message_index].get("weight") == 0 else 1.0
            begin = len(ids) + len(outside)
            ids += outside + inside
            weights += [0.0] * len(outside) + [weight] * len(inside)
            answers.append(Answer(message_index=span.message_index, begin=begin, end=len(ids), weight=weight))
            position = span.end
        rest = self._encode(text[position:])
        return Rendered(
            ids=ids + rest, weights=weights + [0.0] * len(rest), text=text, answers=tuple(answers)
        )

    def _marked_spans(self, pieces: list[str], text: str, indices: list[int]) -> list[_Span] | None:
        """Answers by the template's own generation marks, or None where it does not mark each of them."""
        spans = []
        position = 0
        for piece in pieces:
            end = position + len(piece)
            if isinstance(piece, Generated) and piece:
                spans.append((position, end))
            position = end
        if len(spans) != len(indices):
            return None
        return [
            _Span(begin, self._through_end_of_turn(text, end), index)
            for (begin, end), index in zip(spans, indices, strict=True)
        ]

    def _through_end_of_turn(self, text: str, end: int) -> int:
        """Some templates close the mark before the end-of-turn token; the model must learn to write it."""
        if text.endswith(self._endings, 0, end):
            return end
        following = next((token for token in self._endings if text.startswith(token, end)), "")
        return end + len(following)

    def _found_span(
        self, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]], index: int, text: str
    ) -> _Span:
        """Where message `index` lies in `text`: it is what the text has beyond the prompt before it."""
        prompt = "".join(self._run(messages[:index], tools, True))
        through = "".join(self._run(messages[: index + 1], tools, False)).rstrip()
        if text.startswith(prompt) and len(through) > len(prompt):
            if text.startswith(through):
                return _Span(len(prompt), len(through), index)
            # Reasoning templates rewrite earlier turns: then the turn ends at its end-of-turn token.
            ending = next((token for token in self._endings if through.endswith(token)), None)
            if ending and (found := text.find(ending, len(prompt))) >= 0:
                return _Span(len(prompt), found + len(ending), index)
        raise InvalidRequest(
            f"The chat template does not show where the answer of message {index} begins and ends.",
            param="messages",
            remedy="Put {% generation %} and {% endgeneration %} around assistant answers in the base's "
            "chat_template.jinja.",
        )

    def _run(
        self, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]], add_generation_prompt: bool
    ) -> list[str]:
        return self._program.run(
            messages=messages,
            tools=list(tools) or None,
            add_generation_prompt=add_generation_prompt,
            **self._specials,
        )

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []

    def _plain(self, message: Message) -> dict[str, Any]:
        """A message in the dialect of chat templates, which is a little older than OpenAI's."""
        plain = {key: value for key, value in message.items() if key != "weight"}
        if plain["role"] == "developer" and not self._reads_developer:
            plain["role"] = "system"
        elif plain["role"] == "function":
            plain["role"] = "tool"
        plain["content"] = plain.get("content") or ""
        calls = plain.pop("tool_calls", None) or []
        if function_call := plain.pop("function_call", None):
            calls = [*calls, {"type": "function", "function": function_call}]
        if calls:
            plain["tool_calls"] = [_call(call) for call in calls]
        return plain


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as an object: templates print arguments as JSON themselves."""
    function = dict(call["function"])
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return {**call, "function": function}
    if isinstance(arguments, dict):
        function["arguments"] = arguments
    return {**call, "function": function}
