"""Uploaded and produced files: rows that name blobs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from tailor.errors import NotFound
from tailor.protocol.ids import is_id, new_id
from tailor.store.blobs import Blobs, Part
from tailor.store.database import Database
from tailor.store.paging import Order, Window, read_page
from tailor.store.records import TERMINAL, FileRecord, Page, to_record
from tailor.store.tables import ACROSS_TENANTS, eval_runs, files, jobs

RETRY_WINDOW_SECONDS = 15 * 60
_CHUNK_BYTES = 1 << 20


class Files:
    """A tenant's files."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def receive(self, tenant: str) -> Receiver:
        """Start taking in a file's bytes; raises StorageFull below the disk's floor."""
        return Receiver(self, tenant, self._blobs.part())

    def add(
        self,
        tenant: str,
        *,
        data: bytes | Path,
        filename: str,
        purpose: str,
        expires_after_seconds: int | None = None,
        once_key: str | None = None,
    ) -> FileRecord:
        """Keep bytes, or the content of a path, as a file.

        With `once_key` (one per tenant) a second call returns the first call's file and adds nothing.
        """
        with self.receive(tenant) as receiver:
            if isinstance(data, bytes):
                receiver.write(data)
            else:
                with data.open("rb") as source:
                    while chunk := source.read(_CHUNK_BYTES):
                        receiver.write(chunk)
            return receiver.finish(
                filename=filename,
                purpose=purpose,
                expires_after_seconds=expires_after_seconds,
                once_key=once_key,
            )

    def get(self, tenant: str, file_id: str) -> FileRecord:
        """The file's record; raises NotFound."""
        with self._database.read() as connection:
            return find_file(connection, tenant, file_id)

    def list(
        self,
        tenant: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "desc",
    ) -> Page[FileRecord]:
        """A tenant's files, newest first unless asked otherwise (default limit 10,000)."""
        where = _alive(tenant)
        if purpose is not None:
            where = and_(where, files.c.purpose == purpose)
        window = Window(after=after, limit=limit, default=10_000, maximum=10_000, order=order)
        with self._database.read() as connection:
            return read_page(connection, files, window, where=where, to_item=_to_file)

    def delete(self, tenant: str, file_id: str) -> None:
        """Remove the file's name; its bytes stay while another file or an unfinished job needs them."""
        with self._blobs.guard():
            with self._database.write() as connection:
                record = find_file(connection, tenant, file_id, lock=True)
                connection.execute(files.delete().where(files.c.tenant == tenant, files.c.id == file_id))
            with self._database.read() as connection:
                if not _is_needed(connection, record.sha256):
                    self._blobs.remove(record.sha256)

    def open(self, tenant: str, file_id: str) -> BinaryIO:
        """The file's bytes; raises NotFound."""
        return self._blobs.open(self.get(tenant, file_id).sha256)

    def path(self, tenant: str, file_id: str) -> Path:
        """Where the file's bytes lie, to be read only; raises NotFound."""
        return self._blobs.path(self.get(tenant, file_id).sha256)

    def sweep(self) -> None:
        """Remove dead parts, expired files, and blobs older than a day that nothing names."""
        self._blobs.sweep_parts()
        with self._database.write() as connection:
            connection.execute(
                files.delete().where(files.c.expires_at <= int(time.time())),
                execution_options=ACROSS_TENANTS,
            )
        for sha256 in list(self._blobs.old()):
            with self._blobs.guard(), self._database.read() as connection:
                if not _is_needed(connection, sha256):
                    self._blobs.remove(sha256)

    def keep(self, tenant: str, part: Part, *, retry: bool, record: dict[str, Any]) -> FileRecord:
        """Store a finished part under a new row, or return the row of an earlier try (for Receiver)."""
        now = int(time.time())
        with self._blobs.guard(), self._database.write() as connection:
            self._database.serialise(connection, f"files {tenant}")
            earlier = _earlier(connection, tenant, record, part.sha256 if retry else None, now)
            if earlier is not None:
                return earlier
            seconds = record.pop("expires_after_seconds")
            values = record | {
                "id": new_id("file"),
                "tenant": tenant,
                "bytes": part.bytes,
                "created_at": now,
                "status": "processed",
                "expires_at": None if seconds is None else now + seconds,
                "sha256": self._blobs.keep(part),
            }
            connection.execute(files.insert().values(values))
        return to_record(FileRecord, values)


class Receiver:
    """Takes in one file, chunk by chunk. As a context manager it drops what was not finished."""

    def __init__(self, owner: Files, tenant: str, part: Part) -> None:
        self._owner = owner
        self._tenant = tenant
        self._part = part

    @property
    def num_bytes(self) -> int:
        """How much has arrived."""
        return self._part.bytes

    def write(self, data: bytes) -> None:
        """Take in the next bytes; raises StorageFull."""
        self._part.write(data)

    def open(self) -> BinaryIO:
        """What has arrived so far, for a check before `finish`."""
        return self._part.open()

    def finish(
        self,
        filename: str,
        purpose: str,
        expires_after_seconds: int | None = None,
        retry: bool = False,
        once_key: str | None = None,
    ) -> FileRecord:
        """Make the file durable and give it an id.

        With `retry` (the client says that it sends this again) an equal file of the last 15 minutes is
        returned instead of a second one.
        """
        record = {
            "filename": clean_filename(filename),
            "purpose": purpose,
            "expires_after_seconds": expires_after_seconds,
            "once_key": once_key,
        }
        with ExitStack() as stack:
            stack.callback(self.abort)
            self._part.sync()
            return self._owner.keep(self._tenant, self._part, retry=retry, record=record)

    def abort(self) -> None:
        """Drop what has arrived; nothing of it is left. Harmless after `finish`."""
        self._part.discard()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def find_file(connection: Connection, tenant: str, file_id: str, *, lock: bool = False) -> FileRecord:
    """The row of a tenant's file; unknown, expired and foreign ids are the same NotFound."""
    if is_id(file_id):
        query = select(files).where(_alive(tenant), files.c.id == file_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is not None:
            return _to_file(dict(row))
    raise NotFound(f"No such File object: {file_id[:80]}", param="id", code="file_not_found")


def clean_filename(filename: str) -> str:
    """A name that can be stored and shown: valid Unicode, no control characters, at most 255 characters."""
    text = filename.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter for letter in text if letter.isprintable())[:255] or "upload"


def _alive(tenant: str) -> ColumnElement[bool]:
    return and_(
        files.c.tenant == tenant, or_(files.c.expires_at.is_(None), files.c.expires_at > int(time.time()))
    )


def _to_file(row: Any) -> FileRecord:
    return to_record(FileRecord, row)


def _earlier(
    connection: Connection, tenant: str, record: dict[str, Any], sha256: str | None, now: int
) -> FileRecord | None:
    """The file of an earlier try of the same thing, if there is one."""
    if record["once_key"] is not None:
        same = files.c.once_key == record["once_key"]
    elif sha256 is not None:
        same = and_(
            files.c.sha256 == sha256,
            files.c.filename == record["filename"],
            files.c.purpose == record["purpose"],
            files.c.created_at > now - RETRY_WINDOW_SECONDS,
        )
    else:
        return None
    query = select(files).where(_alive(tenant), same).order_by(files.c.sequence.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _to_file(dict(row))


def _is_needed(connection: Connection, sha256: str) -> bool:
    """Whether any file stands for these bytes, or work that has not read them yet."""
    named = select(files.c.id).where(files.c.sha256 == sha256).limit(1)
    pinned = (
        select(jobs.c.id)
        .where(or_(jobs.c.training_sha256 == sha256, jobs.c.validation_sha256 == sha256))
        .where(jobs.c.status.not_in(TERMINAL))
        .limit(1)
    )
    awaited = (
        select(eval_runs.c.id)
        .where(eval_runs.c.sha256 == sha256, eval_runs.c.is_prepared.is_(False))
        .where(eval_runs.c.status.in_(("queued", "in_progress")))
        .limit(1)
    )
    return any(
        connection.execute(query, execution_options=ACROSS_TENANTS).first() is not None
        for query in (named, pinned, awaited)
    )
