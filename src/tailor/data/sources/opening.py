"""From a path to a source: which files, which format, which columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tarfile import TarError
from typing import Final
from zipfile import BadZipFile

from tailor.data.convert import can_become, to_form, unwritable
from tailor.data.examples import JsonObject
from tailor.data.problems import Problem
from tailor.data.rows import Form, Mapping, Row, Source
from tailor.data.sources.containers import (
    SPLITS,
    Container,
    OneFile,
    Tar,
    container_at,
    data_files,
    split_of,
    suffix_of,
)
from tailor.data.sources.formats import Format, format_of
from tailor.data.sources.guessing import guess
from tailor.data.sources.hub import fetched
from tailor.data.sources.shaping import Shaper, items_of
from tailor.data.sources.streams import DAMAGE, Meter
from tailor.errors import InvalidRequest

_SAMPLED_ROWS: Final = 200
_LOOKED_AT: Final = 20
"""Files of a folder or archive that are compared; of thousands, the first stand for all."""

_LOOKED_AT_IN_TAR: Final = 3
"""Fewer: to reach a file in a tar archive is to read all before it."""


def open_path(
    path: Path, *, mapping: Mapping, form: Form | None, split: str | None, encoding: str | None
) -> Source:
    """See `tailor.data.rows.open_source`."""
    container = container_at(fetched(path))
    splits, split, names, part = _chosen(container, path.name, split, encoding)
    num_looked_at = _LOOKED_AT_IN_TAR if isinstance(container, Tar) else _LOOKED_AT
    formats = {name: format_of(container, name, encoding) for name in names[:num_looked_at]}
    opened = _Opened(
        name=path.name,
        container=container,
        names=tuple(names),
        formats=formats,
        part=part,
        encoding=encoding,
        split=split,
        splits=splits,
        meter=Meter(),
    )
    return _mapped(opened, mapping, form)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """The records of the files that were chosen, as they stand."""

    name: str
    container: Container
    names: tuple[str, ...]
    formats: dict[str, Format]
    part: str | None
    encoding: str | None
    split: str | None
    splits: tuple[str, ...]
    meter: Meter
    form: Form = Form.TABLE
    own_form: Form = Form.TABLE
    mapping: Mapping = field(default_factory=Mapping)

    @property
    def num_bytes(self) -> int:
        """On the disk."""
        return self.container.num_bytes

    @property
    def position(self) -> int:
        """Bytes that were read since the latest start."""
        return self.meter.num_bytes

    def rows(self) -> Iterator[Row | Problem]:
        """Every row, shaped; see `Source`."""
        shaper = Shaper(self.own_form, self.mapping)
        for name, item in self.records():
            if isinstance(item, Problem):
                yield item if len(self.names) == 1 else replace(item, message=f"{name}: {item.message}")
                continue
            line, record = item
            for shaped in shaper.rows(line, record):
                row = shaped
                if not isinstance(row, Problem):
                    row = to_form(row, self.own_form, self.form) or unwritable(line, self.form)
                if isinstance(row, Problem):
                    yield row if len(self.names) == 1 else replace(row, message=f"{name}: {row.message}")
                else:
                    yield Row(line=line, file=self._shown(name), value=row)

    def records(self, only: str | None = None) -> Iterator[tuple[str, tuple[int, JsonObject] | Problem]]:
        """Every record with its file."""
        self.meter.num_bytes = 0
        wanted = {only} if only is not None else set(self.names)
        line = 0
        name = self.name
        try:
            for name, stream in self.container.streams(wanted, self.meter):
                form = self.formats.get(name) or self._like(name)
                if form.advice is not None:
                    yield name, form.advice
                for item in form.records(stream, self.part if self.part in form.parts else None):
                    line = (item.line or line) if isinstance(item, Problem) else item[0]
                    yield name, item
        except (*DAMAGE, BadZipFile, TarError) as error:
            yield name, _damage(line, error)

    def _like(self, name: str) -> Format:
        """The format of a file that was not looked at: that of the first of its kind."""
        known = (form for other, form in self.formats.items() if suffix_of(other) == suffix_of(name))
        return next(known, None) or format_of(self.container, name, self.encoding)

    def _shown(self, name: str) -> str:
        return name if isinstance(self.container, OneFile) else f"{self.name}: {name}"


def _mapped(opened: _Opened, given: Mapping, form: Form | None) -> Source:
    """The source with its columns known: guessed from the first file, and found again in the others."""
    if form is Form.TABLE:
        return opened
    first = opened.names[0]
    sample = _sample(opened, first, given)
    if not sample:
        wrong = (item for _, item in opened.records(first) if isinstance(item, Problem))
        problem = next((item for item in wrong if item.severity == "blocking"), None)
        place = f"line {problem.line}: " if problem is not None and problem.line else ""
        reason = f" that can be read; {place}{problem.message}" if problem is not None else "."
        if opened.formats[first].is_jsonl:
            return replace(opened, form=form or Form.CHAT, own_form=form or Form.CHAT, mapping=_OPENAI_CHAT)
        raise InvalidRequest(f"{first} holds no rows{reason}", remedy=problem.remedy if problem else None)
    found = guess(
        sample, given, name=Path(first).name, form=form, is_plain_text=opened.formats[first].is_plain_text
    )
    columns = _columns(sample)
    for name in list(opened.formats)[1:]:
        others = _columns(_sample(opened, name, given))
        if others and others != columns and not (others & columns >= set(_needed(found.mapping, columns))):
            raise InvalidRequest(
                f"The files in {opened.name} have different columns ({Path(first).name}, {Path(name).name} "
                "and so on): name one of them instead of the whole."
            )
    wanted = form or found.form
    if not can_become(found.form, wanted):
        raise InvalidRequest(
            f"{first} is in the form {found.form.value!r}, which cannot become {wanted.value!r}."
        )
    return replace(opened, form=wanted, own_form=found.form, mapping=found.mapping)


_OPENAI_CHAT: Final = Mapping(how="OpenAI chat")


def _needed(mapping: Mapping, columns: frozenset[str]) -> list[str]:
    return [column for column in columns if column not in mapping.left_out]


def _columns(records: list[JsonObject]) -> frozenset[str]:
    return frozenset(key for record in records for key in record)


def _sample(opened: _Opened, name: str, given: Mapping) -> list[JsonObject]:
    sound = (item[1] for _, item in opened.records(name) if not isinstance(item, Problem))
    return [part for record in islice(sound, _SAMPLED_ROWS) for part in items_of(record, given.each)]


def _chosen(
    container: Container, shown: str, split: str | None, encoding: str | None
) -> tuple[tuple[str, ...], str | None, list[str], str | None]:
    """All splits, the one to read, its files, and the part of a file to read where it holds the splits.

    Raises:
        InvalidRequest: There is nothing to read, or several splits and none is for training.
    """
    names = container.names() if isinstance(container, OneFile) else data_files(container.names())
    if not names:
        raise InvalidRequest(
            f"There is no data file in {shown}.", remedy="Name a file, or a folder with some."
        )
    by_split: dict[str, list[str]] = {}
    for name in () if isinstance(container, OneFile) else names:
        if (found := split_of(name)) is not None:
            by_split.setdefault(found, []).append(name)
    if by_split:
        wanted = _pick(tuple(by_split), split, shown)
        return tuple(name for name in SPLITS if name in by_split), wanted, by_split[wanted], None
    parts = format_of(container, names[0], encoding).parts if len(names) == 1 else ()
    if len(parts) > 1:
        wanted = _pick(parts, split, shown)
        return parts, wanted, names, wanted
    if split is not None:
        raise InvalidRequest(f"{shown} has no splits, and so none named {split!r}.")
    return (), None, names, None


def _pick(splits: tuple[str, ...], wanted: str | None, shown: str) -> str:
    if wanted is None:
        training = [name for name in splits if split_of(name) == "train"]
        if training or len(splits) == 1:
            return (training or list(splits))[0]
        raise InvalidRequest(f"{shown} holds {_listed(splits)}: say which to read, with --split {splits[0]}.")
    if wanted not in splits:
        raise InvalidRequest(f"{shown} has no split {wanted!r}: it holds {_listed(splits)}.")
    return wanted


def _listed(names: tuple[str, ...], most: int = 12) -> str:
    shown = [name[:40] for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def _damage(line: int, error: Exception) -> Problem:
    reason = str(error).rstrip(".") or type(error).__name__
    return Problem(
        line=line + 1,
        code="damaged_file",
        message=f"the file is damaged from here on ({reason}); nothing after it was read.",
        remedy="Fetch or export it again.",
    )
