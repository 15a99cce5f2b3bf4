"""One run from its claim to its end: rows, answers, grades, each recorded as soon as it is there.

A run that is cut off anywhere goes on from its records: a row with an answer is not asked again, a row
with grades is not looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from tailor.errors import StorageFull, TailorError, Unavailable
from tailor.evals.runs.grading import Criteria
from tailor.evals.runs.means import MAX_ASKS, Means, Patience
from tailor.evals.runs.rows import open_rows
from tailor.evals.runs.sampling import ask_for, merged
from tailor.protocol.eval_runs import DataSource, JsonlDataSource
from tailor.store import EvalItem, EvalLease, LeaseLost, Recorded

Result = TypeVar("Result")

LOOK_SECONDS: Final = 1.0
"""How often a run looks whether it is still wanted: as long may a question be asked in vain."""
_BEATS: Final = 5
_TOGETHER: Final = 32
"""Rows graded at once where criteria bring code, or where there is nothing to wait for."""
_SOURCE: Final[TypeAdapter[DataSource]] = TypeAdapter(DataSource)


async def execute(lease: EvalLease, means: Means, *, max_asks: int = MAX_ASKS) -> None:
    """Do all that is left of a run, and end it; nothing is raised for what is wrong with the run itself.

    Raises:
        LeaseLost: it was canceled, deleted or taken over.
        Unavailable, StorageFull: the store cannot write now.
        asyncio.CancelledError: the caller's own; the run can be given back.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tailor-eval") as database:
        run = _Run(lease, means, database, max_asks)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(run.watch())
                await run.work()
                watch.cancel()
            await run.store(lease.complete)
        except ExceptionGroup as errors:
            await run.fail(_first(errors))


class _Run:
    def __init__(self, lease: EvalLease, means: Means, database: ThreadPoolExecutor, max_asks: int) -> None:
        self.lease = lease
        self.means = means
        self.max_asks = max_asks
        self._database = database
        self._source = _SOURCE.validate_python(lease.run.data_source)
        self._patience = Patience(max_asks=max_asks)
        self._unwritten: list[Recorded] = []
        self._writing = 0
        self._turn = asyncio.Lock()
        self._criteria = Criteria(
            lease.evaluation.testing_criteria, tenant=lease.tenant, means=means, patience=self._patience
        )

    async def store(self, call: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """A call of the store, in the one thread that this run has for it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database, partial(call, *arguments, **named))

    async def watch(self) -> None:
        """Say that we live, and end everything once the run is no longer ours."""
        while True:
            for _ in range(_BEATS):
                await asyncio.sleep(LOOK_SECONDS)
                await self.store(self.lease.check)
            await self.store(self.lease.heartbeat)

    async def work(self) -> None:
        """Prepare the rows, then answer and grade them, several at a time."""
        await self.store(self._prepare)
        together = _TOGETHER if self._criteria.run_code or self._asks_nobody else 1
        waiting: asyncio.Queue[list[EvalItem] | None] = asyncio.Queue(maxsize=self.max_asks)
        num_workers = 2 if together > 1 else self.max_asks
        async with asyncio.TaskGroup() as group:
            for _ in range(num_workers):
                group.create_task(self._take(waiting))
            async for some in self._unfinished(together):
                await waiting.put(some)
            for _ in range(num_workers):
                await waiting.put(None)

    @property
    def _asks_nobody(self) -> bool:
        """Whether all there is to do is to compare what is there."""
        source = self._source
        return self._criteria.is_quick and (isinstance(source, JsonlDataSource) or source.model is None)

    async def fail(self, error: BaseException) -> None:
        """End the run for a reason that is its own; raise any other: the next attempt may fare better."""
        if isinstance(error, LeaseLost | Unavailable | StorageFull) or not isinstance(error, TailorError):
            raise error
        await self.store(self.lease.fail, code=error.code or "error", message=error.sentence)

    def _prepare(self) -> None:
        if not self.lease.run.is_prepared:
            self.lease.prepare(open_rows(self.lease, self._source, self.means.store))

    async def _unfinished(self, together: int) -> AsyncIterator[list[EvalItem]]:
        after = -1
        while page := await self.store(self.lease.unfinished, after=after):
            after = page[-1].position
            for begin in range(0, len(page), together):
                yield list(page[begin : begin + together])

    async def _take(self, waiting: asyncio.Queue[list[EvalItem] | None]) -> None:
        while (items := await waiting.get()) is not None:
            await self._do(items)

    async def _do(self, items: list[EvalItem]) -> None:
        """Answer and grade some rows."""
        answers = list(await asyncio.gather(*map(self._answer, items)))
        if not self._criteria.is_quick:
            # Grading takes its time, or costs something: the answers must not be lost meanwhile.
            await self._record([answer for answer in answers if answer.sample is not None])
            answers = [Recorded(item=replace(one.item, sample=_sample(one))) for one in answers]
        failed = [answer for answer in answers if (_sample(answer) or {}).get("error")]
        graded = [answer for answer in answers if answer not in failed]
        await self._record([replace(answer, status="error") for answer in failed])
        await self._record(await self._grade(graded))

    async def _answer(self, item: EvalItem) -> Recorded:
        """The row with its answer, if it needs one and an attempt before us has not asked already."""
        source = self._source
        if isinstance(source, JsonlDataSource) or source.model is None or item.sample is not None:
            return Recorded(item=item)
        sample, usage = await ask_for(item, source, self.lease.tenant, self.means, self._patience)
        return Recorded(item=item, sample=sample, usage=usage)

    async def _grade(self, answers: list[Recorded]) -> list[Recorded]:
        grades = await self._criteria.grade([replace(one.item, sample=_sample(one)) for one in answers])
        return [
            replace(answer, status=status, results=results, usage=merged(answer.usage, usage))
            for answer, (status, results, usage) in zip(answers, grades, strict=True)
        ]

    async def _record(self, some: list[Recorded]) -> None:
        """Have it written; what comes together is written together, for a write is what takes time."""
        if not some:
            return
        self._unwritten += some
        mine = self._writing
        async with self._turn:
            if self._writing == mine:  # else somebody has taken ours along
                taken, self._unwritten = self._unwritten, []
                self._writing += 1
                await self.store(self.lease.record, taken)


def _sample(one: Recorded) -> dict[str, Any] | None:
    """The answer to a row, new or from before."""
    return one.item.sample if one.sample is None else one.sample


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the others; losing the run counts before whatever came of it."""
    flat: list[BaseException] = []
    for error in errors.exceptions:
        flat.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in flat if isinstance(error, LeaseLost)), flat[0])
