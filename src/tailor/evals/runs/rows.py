"""Where the rows of a run come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

from tailor.errors import InvalidRequest
from tailor.evals.runs.schema import violations
from tailor.protocol.eval_runs import (
    DataSource,
    FileContentSource,
    FileIdSource,
    Row,
    StoredCompletionsSource,
)
from tailor.protocol.evals import MAX_ITEMS
from tailor.protocol.strict import MAX_LINE_BYTES, StrictJsonError, parse_strict
from tailor.store import EvalLease, Store, StoredCompletion

JsonObject = dict[str, Any]

_MAX_NAMED: Final = 10
_PAGE: Final = 100


class InvalidRows(InvalidRequest):
    """The data cannot be graded as it is; names the first rows that are wrong."""

    default_code = "invalid_rows"


def open_rows(lease: EvalLease, source: DataSource, store: Store) -> Iterator[JsonObject]:
    """The rows of a claimed run, checked; raises InvalidRows, and on the way too."""
    origin = source.source
    if isinstance(origin, FileContentSource):
        return (row_json(row) for row in origin.content)
    if isinstance(origin, FileIdSource):
        return _checked(_lines(lease.open_file()), lease.evaluation.data_source_config)
    if isinstance(origin, StoredCompletionsSource):
        return _stored(lease, origin, store)
    raise InvalidRows("Rows of that kind are not kept here.")


def row_json(row: Row) -> JsonObject:
    """A row of a request as it is kept."""
    return {"item": row.item} | ({} if row.sample is None else {"sample": row.sample})


def check_rows(rows: Iterable[JsonObject], config: JsonObject) -> None:
    """Raise InvalidRows unless every row is as the eval's schema says."""
    for _ in _checked(((f"row {number}", row) for number, row in enumerate(rows, start=1)), config):
        pass


def _checked(rows: Iterable[tuple[str, Any]], config: JsonObject) -> Iterator[JsonObject]:
    schema = config.get("item_schema") if config.get("type") == "custom" else None
    problems: list[str] = []
    number = 0
    for place, row in rows:
        number += 1
        found = _shape(row) or (violations(row["item"], schema, "item") if schema else [])
        problems += [f"{place}: {problem}" for problem in found[:2]]
        if len(problems) >= _MAX_NAMED:
            break
        if not problems:
            yield {key: row[key] for key in ("item", "sample") if row.get(key) is not None}
    if number > MAX_ITEMS:
        problems.append(f"there are more than {MAX_ITEMS:,} rows")
    if not number:
        problems.append("there are no rows")
    if problems:
        raise InvalidRows(
            f"The data does not fit the eval: {'; '.join(problems)}.",
            param="data_source",
            remedy='A row is {"item": {...}} as item_schema has it, with "sample": {...} if it is answered.',
        )


def _shape(row: Any) -> list[str]:
    """What is wrong with a row before its content is looked at."""
    if not isinstance(row, dict):
        return ["is no object"]
    if isinstance(row.get("problem"), StrictJsonError):
        return [row["problem"].message]
    if not isinstance(row.get("item"), dict):
        return ["has no object under 'item'"]
    if not isinstance(row.get("sample"), dict | None):
        return ["'sample' is no object"]
    return []


def _lines(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The lines of a JSONL file that are not empty, with their number; no more than could be taken."""
    count = 0
    with stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 2):
            number += 1
            if not line.strip():
                continue
            count += 1
            if count > MAX_ITEMS + 1:
                return
            try:
                yield f"line {number}", parse_strict(line)
            except StrictJsonError as error:
                yield f"line {number}", {"problem": error}
                if not line.endswith(b"\n"):
                    return


def _stored(lease: EvalLease, source: StoredCompletionsSource, store: Store) -> Iterator[JsonObject]:
    """Stored completions, newest first, as rows that are answered already."""
    wanted = source.metadata or lease.evaluation.data_source_config.get("metadata") or None
    left = source.limit or MAX_ITEMS
    after: str | None = None
    number = 0
    while left:
        page = store.completions.list(
            lease.tenant, model=source.model, metadata=wanted, after=after, limit=_PAGE, order="desc"
        )
        for completion in page.items:
            if left and _is_between(completion, source):
                left -= 1
                number += 1
                yield _row_of(completion)
        if not page.has_more:
            break
        after = page.items[-1].id
    if not number:
        raise InvalidRows(
            "No stored completion fits.",
            param="data_source.source",
            remedy="Chat completions are kept when they are asked with store: true.",
        )


def _is_between(completion: StoredCompletion, source: StoredCompletionsSource) -> bool:
    if source.created_after is not None and completion.created_at < source.created_after:
        return False
    return source.created_before is None or completion.created_at <= source.created_before


def _row_of(completion: StoredCompletion) -> JsonObject:
    choices = completion.answer["choices"]
    message = choices[0]["message"]
    item = {
        "id": completion.id,
        "model": completion.model,
        "input": list(completion.messages),
        "output": message.get("content"),
        "metadata": completion.metadata or {},
    }
    sample: JsonObject = {
        "model": completion.model,
        "output_text": message.get("content") or "",
        "output_tools": message.get("tool_calls") or [],
        "choices": choices,
    }
    return {"item": item, "sample": sample}
