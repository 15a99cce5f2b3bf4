"""The same questions for every model: cases as rows of an eval, and how their answers are judged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from tailor.data import Case, canonical_json
from tailor.errors import InvalidRequest

JsonObject = dict[str, Any]

COMPARISON: Final = {"tailor": "comparison"}
"""The metadata of an eval that was made to compare models."""
SHORT_CHARACTERS: Final = 160
"""References of up to this median length are compared word by word, longer ones by their overlap."""
_MOST_PATTERNS: Final = 16
_MARGIN_TOKENS: Final = 8


def rows_of(cases: Sequence[Case], limit: int | None) -> list[JsonObject]:
    """The rows of an eval that asks these cases; of more than `limit` those with the smallest hashes.

    Raises:
        InvalidRequest: some cases have patterns and others a reference, too many patterns, or their tools
            differ: one eval judges all of its rows alike.
    """
    if not cases:
        raise InvalidRequest("The file has no cases.", param="file", code="no_cases")
    patterned = [bool(case.expected_patterns) for case in cases]
    if any(patterned) and not all(patterned):
        raise InvalidRequest(
            "Some cases have expected_patterns and others a reference.",
            param="file",
            code="mixed_cases",
            remedy="Compare them as two files.",
        )
    if max(len(case.expected_patterns) for case in cases) > _MOST_PATTERNS:
        raise InvalidRequest(
            f"A case has more than {_MOST_PATTERNS} expected_patterns.",
            param="file",
            code="too_many_patterns",
        )
    if len({canonical_json(list(case.tools)) for case in cases}) > 1:
        raise InvalidRequest(
            "The cases offer different tools.",
            param="file",
            code="mixed_tools",
            remedy="Compare cases with the same tools.",
        )
    rows = [{"item": _item(case)} for case in cases]
    if limit is None or len(rows) <= limit:
        return rows
    chosen = sorted(range(len(rows)), key=lambda place: key_of(rows[place]["item"]))[:limit]
    return [rows[place] for place in sorted(chosen)]


def criteria_of(cases: Sequence[Case]) -> list[JsonObject]:
    """How an answer is judged: all patterns occur; or it is the reference; or, for long ones, how alike."""
    answer = "{{ sample.output_text }}"
    most = max(len(case.expected_patterns) for case in cases)
    if most:
        return [
            {
                "type": "string_check",
                "name": f"pattern {number}",
                "input": answer,
                "reference": f"{{{{ item.pattern_{number} }}}}",
                "operation": "ilike",
            }
            for number in range(1, most + 1)
        ]
    common = {"input": answer, "reference": "{{ item.reference }}"}
    if median(len(case.reference or "") for case in cases) <= SHORT_CHARACTERS:
        return [{"type": "string_check", "name": "the reference", "operation": "eq", **common}]
    return [
        {
            "type": "text_similarity",
            "name": "like the reference",
            "evaluation_metric": "rouge_l",
            "pass_threshold": 0.5,
            **common,
        }
    ]


def longest_answer(cases: Sequence[Case], most: int) -> int:
    """How many tokens an answer may have: where it must equal a reference, a longer one is wrong anyway.

    A token is at least one byte.
    """
    [first, *_] = criteria_of(cases)
    if first["type"] != "string_check" or first["operation"] != "eq":
        return most
    return min(most, max(len((case.reference or "").encode()) for case in cases) + _MARGIN_TOKENS)


def source_of(model: str, file_id: str, tools: Sequence[JsonObject], *, max_tokens: int) -> JsonObject:
    """The data source of one model's run: every row asked greedily."""
    sampling: JsonObject = {"temperature": 0, "max_completion_tokens": max_tokens}
    return {
        "type": "completions",
        "model": model,
        "source": {"type": "file_id", "id": file_id},
        "input_messages": {"type": "item_reference", "item_reference": "item.messages"},
        "sampling_params": sampling | ({"tools": list(tools)} if tools else {}),
    }


def _item(case: Case) -> JsonObject:
    messages = [
        {key: value for key, value in message.items() if key != "weight"} for message in case.messages
    ]
    item: JsonObject = {"line": case.line, "messages": messages}
    if not case.expected_patterns:
        return item | {"reference": (case.reference or "").strip()}
    # Every row has as many patterns; the empty one occurs in any answer.
    padded = [*case.expected_patterns, *[""] * (_MOST_PATTERNS - len(case.expected_patterns))]
    return item | {f"pattern_{number}": pattern for number, pattern in enumerate(padded, start=1)}


def expected_of(item: JsonObject) -> str:
    """What the answer of a row should be, for people."""
    if "pattern_1" in item:
        patterns = (str(item.get(f"pattern_{number}", "")) for number in range(1, _MOST_PATTERNS + 1))
        return " + ".join(pattern for pattern in patterns if pattern)
    return str(item.get("reference", ""))


def key_of(item: Any) -> str:
    """Equal for equal rows."""
    return hashlib.sha256(canonical_json(item).encode()).hexdigest()
