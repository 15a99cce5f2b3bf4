"""A teacher behind an endpoint writes training examples, several at a time, until there are enough."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tailor.client.endpoint import Answer, Endpoint
from tailor.data import Example
from tailor.data.synthesis import (
    Acceptance,
    Brief,
    Entry,
    Journal,
    Order,
    Usage,
    next_orders,
    read_reply,
    request_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """Who writes, and how."""

    endpoint: Endpoint
    model: str
    temperature: float = 1.0
    max_tokens: int = 700
    """Most tokens of one reply."""
    concurrency: int = 4
    """Orders answered at once."""


def teach(
    teacher: Teacher, brief: Brief, journal: Journal, acceptance: Acceptance, *, wanted: int, most_orders: int
) -> Iterator[Entry]:
    """Order examples until `wanted` are accepted or `most_orders` answered, from where the journal stands.

    Drafts are judged in the order of their numbers, so the same replies give the same examples however the
    orders ran beside each other.

    Raises:
        TailorError: the teacher cannot be asked; what was answered before is in the journal.
    """
    acceptance.remember(str(entry.row["messages"][-2]["content"]) for entry in journal.accepted if entry.row)
    with ThreadPoolExecutor(teacher.concurrency) as pool:
        while (missing := wanted - len(journal.accepted)) > 0 and journal.next_number() < most_orders:
            first = journal.next_number()
            orders = next_orders(
                brief,
                first=first,
                count=min(teacher.concurrency, missing, most_orders - first),
                accepted=journal.per_label(),
            )
            for order, answer in zip(
                orders, pool.map(lambda each: _ask(teacher, brief, each), orders), strict=True
            ):
                entry = _entry(teacher, order, answer, acceptance)
                journal.add(entry)
                yield entry


def _ask(teacher: Teacher, brief: Brief, order: Order) -> Answer:
    return teacher.endpoint.chat(
        teacher.model,
        request_of(order, task=brief.task, system=brief.system),
        temperature=teacher.temperature,
        max_completion_tokens=teacher.max_tokens,
        seed=order.number,
    )


def _entry(teacher: Teacher, order: Order, answer: Answer, acceptance: Acceptance) -> Entry:
    line = order.number + 1
    judged = acceptance.judge(order, read_reply(answer.text), line=line)
    usage = Usage(prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens)
    if not isinstance(judged, Example):
        return Entry(number=order.number, label=order.label, refusal=judged, usage=usage)
    origin = {
        "origin": "synthetic",
        "model": teacher.model,
        "order": str(order.number),
        "persona": order.persona,
        "length": order.length,
        "difficulty": order.difficulty,
    }
    row = judged.to_row() | {"metadata": origin}
    return Entry(number=order.number, label=order.label, refusal=None, usage=usage, row=row)
