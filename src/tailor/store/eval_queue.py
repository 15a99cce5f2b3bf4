"""Who works on which run of an eval: lease, lock and token as jobs have them (docs/design/jobs.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, select

from tailor.protocol.ids import new_id
from tailor.store.blobs import Blobs
from tailor.store.database import Database
from tailor.store.eval_records import SHOWN_ROWS, Eval, EvalItem, EvalRun, Recorded, Tally
from tailor.store.eval_runs import to_item, to_run
from tailor.store.evals import find_eval
from tailor.store.faults import reach
from tailor.store.fence import LeaseLost
from tailor.store.locks import FileLock
from tailor.store.reaper import SILENCE_SECONDS, lock_path
from tailor.store.records import JsonObject
from tailor.store.tables import ACROSS_TENANTS, eval_items, eval_runs

MAX_ATTEMPTS = 5
"""More than jobs have: a run brings no heavy work of its own, so it is rarely what stopped the server."""
_INSERT_ROWS = 500
_WAITING = (eval_runs.c.status.in_(("queued", "in_progress")), eval_runs.c.owner.is_(None))


class EvalQueue:
    """Runs that wait for somebody to do them."""

    def __init__(
        self, *, database: Database, blobs: Blobs, home: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._home = home
        self._clock = clock
        self._signs: dict[str, tuple[tuple[int, int], float]] = {}

    def is_waiting(self) -> bool:
        """Whether there is a run to claim; a look only, for those who look often."""
        query = select(eval_runs.c.id).where(*_WAITING).limit(1)
        with self._database.read() as connection:
            return connection.execute(query, execution_options=ACROSS_TENANTS).first() is not None

    def claim(self, owner: str, *, run_id: str | None = None) -> EvalLease | None:
        """The oldest waiting run (or that one), now ours; None when there is none."""
        query = (
            select(eval_runs)
            .where(*_WAITING)
            .order_by(eval_runs.c.sequence)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if run_id is not None:
            query = query.where(eval_runs.c.id == run_id)
        lock: FileLock | None = None
        try:
            with self._database.write() as connection:
                row = connection.execute(query, execution_options=ACROSS_TENANTS).mappings().one_or_none()
                if row is None:
                    return None
                token = row["token"] + 1
                # Locked before the claim can be seen, so that nobody takes it for dead.
                lock = FileLock.try_acquire(lock_path(self._home, row["id"], token))
                if lock is None:
                    return None
                claimed = {
                    "status": "in_progress",
                    "owner": owner,
                    "token": token,
                    "hb": 0,
                    "attempt_recorded": row["recorded"],
                }
                connection.execute(
                    eval_runs.update()
                    .where(eval_runs.c.tenant == row["tenant"], eval_runs.c.id == row["id"])
                    .values(claimed)
                )
                run = to_run(dict(row) | claimed)
                evaluation = find_eval(connection, run.tenant, run.eval_id)
        except BaseException:
            if lock is not None:
                lock.release(remove=True)
            raise
        return EvalLease(
            database=self._database, blobs=self._blobs, run=run, evaluation=evaluation, lock=lock
        )

    def reap(self) -> tuple[str, ...]:
        """Take runs from holders that are dead or silent; ids of those taken. For one thread."""
        names = ("id", "tenant", "token", "hb", "recorded", "attempt_recorded", "attempts")
        query = select(*(eval_runs.c[name] for name in names)).where(eval_runs.c.owner.is_not(None))
        with self._database.read() as connection:
            held = connection.execute(query, execution_options=ACROSS_TENANTS).mappings().all()
        now = self._clock()
        signs = {row["id"]: (row["token"], row["hb"]) for row in held}
        self._signs = {
            run_id: last if (last := self._signs.get(run_id)) is not None and last[0] == sign else (sign, now)
            for run_id, sign in signs.items()
        }
        taken = []
        for row in held:
            lock = FileLock.try_acquire(lock_path(self._home, row["id"], row["token"]), create=False)
            if lock is not None or now - self._signs[row["id"]][1] >= SILENCE_SECONDS:
                taken += [row["id"]] if self._take(dict(row)) else []
            if lock is not None:
                lock.release(remove=True)
        return tuple(taken)

    def _take(self, row: dict[str, Any]) -> bool:
        attempts = 0 if row["recorded"] > row["attempt_recorded"] else row["attempts"] + 1
        values: dict[str, Any] = {"owner": None, "token": row["token"] + 1, "attempts": attempts}
        if attempts >= MAX_ATTEMPTS:
            message = (
                f"The server stopped unexpectedly {attempts} times in a row while it worked on this run."
            )
            values |= {
                "status": "failed",
                "error": {"code": "run_crashed", "message": message},
                "finished_at": int(time.time()),
            }
        with self._database.write() as connection:
            taken = connection.execute(
                eval_runs.update()
                .where(
                    eval_runs.c.tenant == row["tenant"],
                    eval_runs.c.id == row["id"],
                    eval_runs.c.token == row["token"],
                    eval_runs.c.owner.is_not(None),
                )
                .values(values)
            )
            return taken.rowcount == 1


class EvalLease:
    """A claimed run. Every writing method raises LeaseLost once it is no longer ours, or is canceled."""

    def __init__(
        self, *, database: Database, blobs: Blobs, run: EvalRun, evaluation: Eval, lock: FileLock
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._lock = lock
        self.run = run
        """As it was claimed."""
        self.evaluation = evaluation
        self.tenant = run.tenant
        self._tally = run.tally
        self._turn = threading.Lock()  # the tally is read, counted up and written

    # The rows

    def open_file(self) -> BinaryIO:
        """The bytes of the file that holds the rows; raises Corrupt if they have changed."""
        return self._blobs.open_verified(self.run.sha256 or "")

    def prepare(self, rows: Iterable[JsonObject]) -> int:
        """Enter all rows, once: what an attempt before us left half done goes first. How many there are."""
        if self.run.is_prepared:
            return self.run.total
        with self._writing() as connection:
            connection.execute(eval_items.delete().where(*self._rows()))
        total = 0
        for chunk in _chunks(rows, _INSERT_ROWS):
            with self._writing() as connection:
                connection.execute(
                    eval_items.insert(), [self._new(total + n, row) for n, row in enumerate(chunk)]
                )
            total += len(chunk)
        with self._writing(is_prepared=True, total=total, data_source=_cut(self.run.data_source)):
            pass
        return total

    def unfinished(self, *, after: int = -1, limit: int = 200) -> tuple[EvalItem, ...]:
        """The next rows that have no grades yet, by their position."""
        query = (
            select(eval_items)
            .where(*self._rows(), eval_items.c.status.is_(None), eval_items.c.position > after)
            .order_by(eval_items.c.position)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(to_item(dict(row)) for row in connection.execute(query).mappings())

    # Recording

    def record(self, some: Sequence[Recorded]) -> None:
        """Record answers and grades, all or nothing: no row with an answer is asked again."""
        now = int(time.time())
        with self._turn:
            tally = self._tally
            for one in some:
                tally = _counted(tally, one)
            values = {"tally": tally.to_json(), "recorded": eval_runs.c.recorded + len(some)}
            with self._writing(**values) as connection:
                for one in some:
                    changed = _changes(one, now)
                    connection.execute(eval_items.update().where(*self._rows(one.item)).values(changed))
            self._tally = tally
        reach("eval_recorded")

    def heartbeat(self) -> None:
        """Say that we live."""
        with self._writing():
            pass

    def check(self) -> None:
        """Raise LeaseLost if the run is no longer ours; writes nothing."""
        query = select(eval_runs.c.id).where(*self._mine())
        with self._database.read() as connection:
            if connection.execute(query).first() is None:
                raise self._lost()

    # Endings: each frees the run

    def complete(self) -> None:
        """Every row is finished."""
        self._end(status="completed", finished_at=int(time.time()))

    def fail(self, *, code: str, message: str) -> None:
        """The run could not be done at all."""
        error = {"code": code, "message": message}
        self._end(status="failed", error=error, finished_at=int(time.time()))

    def release(self) -> None:
        """Give the run back unfinished (a shutdown): it goes on where it was."""
        self._end(status="queued")

    def close(self) -> None:
        """Free the lock and leave the row as it is. An unfinished run is then as good as crashed."""
        self._lock.release(remove=False)

    def _end(self, **values: Any) -> None:
        with self._writing(owner=None, **values):
            pass
        self._lock.release(remove=True)

    @contextmanager
    def _writing(self, **values: Any) -> Iterator[Connection]:
        """One transaction that begins by touching our own row: if that row is gone, so is the lease."""
        with self._database.write() as connection:
            touched = eval_runs.update().where(*self._mine()).values(hb=eval_runs.c.hb + 1, **values)
            if connection.execute(touched).rowcount != 1:
                raise self._lost()
            yield connection

    def _mine(self) -> tuple[Any, ...]:
        return (
            eval_runs.c.tenant == self.run.tenant,
            eval_runs.c.id == self.run.id,
            eval_runs.c.token == self.run.token,
            eval_runs.c.owner.is_not(None),
        )

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"The lease {self.run.token} on run {self.run.id} is no longer held.")

    def _rows(self, item: EvalItem | None = None) -> tuple[Any, ...]:
        all_rows = (eval_items.c.tenant == self.run.tenant, eval_items.c.run_id == self.run.id)
        return all_rows if item is None else (*all_rows, eval_items.c.id == item.id)

    def _new(self, position: int, row: JsonObject) -> JsonObject:
        return {
            "id": new_id("output_item"),
            "tenant": self.run.tenant,
            "run_id": self.run.id,
            "position": position,
            "row": row,
        }


def _cut(source: JsonObject) -> JsonObject:
    """A data source without most of its rows, which would be read with every look at the run."""
    origin = source.get("source", {})
    content = origin.get("content")
    if not isinstance(content, list):
        return source
    return source | {"source": origin | {"content": content[:SHOWN_ROWS]}}


def _counted(tally: Tally, one: Recorded) -> Tally:
    """The tally with this counted."""
    passed = [bool(result["passed"]) for result in one.results]
    return Tally(
        passed=tally.passed + (one.status == "pass"),
        failed=tally.failed + (one.status == "fail"),
        errored=tally.errored + (one.status == "error"),
        criteria=tuple(
            (good + is_passed, bad + (not is_passed))
            for (good, bad), is_passed in zip(tally.criteria, passed, strict=True)
        )
        if passed
        else tally.criteria,
        usage=_added(tally.usage, one.usage),
    )


def _changes(one: Recorded, now: int) -> dict[str, Any]:
    """Columns of the row."""
    answer = {} if one.sample is None else {"sample": one.sample}
    if one.status is None:
        return answer
    return answer | {"status": one.status, "results": one.results, "finished_at": now}


def _added(one: dict[str, dict[str, int]], other: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    total = {model: dict(counts) for model, counts in one.items()}
    for model, counts in other.items():
        known = total.setdefault(model, {})
        for name, count in counts.items():
            known[name] = known.get(name, 0) + count
    return total


def _chunks(rows: Iterable[JsonObject], size: int) -> Iterator[list[JsonObject]]:
    chunk: list[JsonObject] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
