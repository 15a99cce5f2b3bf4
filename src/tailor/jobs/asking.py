"""Models that a job asks while it runs: any that the server of its home serves, upstreams' among them.

A worker runs apart from the server. It asks over HTTP, with a key of its own that nobody else knows and
that ends with the attempt. While there is no server it waits for one; what it was told it remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx2

from tailor.errors import InvalidRequest, RateLimited, TailorError, Unavailable
from tailor.evals.runs import judge
from tailor.evals.runs.means import Patience
from tailor.grading import Question, Reply
from tailor.jobs.attempt import Attempt, Stuck
from tailor.jobs.judging import Judging
from tailor.jobs.remembered import Remembered
from tailor.protocol import ChatCompletion, ChatRequest
from tailor.store import Key, read_server

Result = TypeVar("Result")
Ask = Callable[[Question], Awaitable[Reply]]
Complete = Callable[[ChatRequest], Awaitable[ChatCompletion]]

MAX_ASKS: Final = 16
"""Questions of one job under way at once."""
_ANSWER_SECONDS: Final = 600.0
_CONNECT_SECONDS: Final = 10.0
_AWAY_SECONDS: Final = 1.0
_TICK_SECONDS: Final = 0.5
_REFUSALS: Final = frozenset({400, 413, 422})
"""The model cannot answer this question; others it may."""


class Asking:
    """One attempt's way to ask models. Use as a context manager."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._remembered = Remembered(attempt.lease.directory, token=attempt.lease.token)
        self._key: tuple[Key, str] | None = None
        self._url: str | None = None
        self._stuck: Stuck | None = None
        self._judging = Judging(attempt.store, attempt.job.tenant)

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remembered.close()
        if self._key is not None:
            self._attempt.store.keys.revoke(self._attempt.job.tenant, self._key[0].id)

    def judge(self, work: Callable[[Ask], Coroutine[Any, Any, Result]], tick: Callable[[], None]) -> Result:
        """What `work` gives that asks questions of graders; as `talk`."""
        tenant = self._attempt.job.tenant

        def judging(complete: Complete) -> Coroutine[Any, Any, Result]:
            return work(judge(tenant, lambda _, request: complete(request)))

        return self.talk(judging, tick)

    def talk(
        self, work: Callable[[Complete], Coroutine[Any, Any, Result]], tick: Callable[[], None]
    ) -> Result:
        """What `work` gives, which may ask as many models at once as it likes; `tick` is called on the way.

        Raises:
            Stuck: a model is not there, or cannot be asked for long.
            Interrupted: somebody wants the job to stop while there is no server to ask.
        """
        return asyncio.run(self._talk(work, tick))

    async def _talk(
        self, work: Callable[[Complete], Coroutine[Any, Any, Result]], tick: Callable[[], None]
    ) -> Result:
        timeout = httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        patience = Patience(max_asks=MAX_ASKS)
        async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as client:

            async def complete(request: ChatRequest) -> ChatCompletion:
                if (judge := self._judging.find(request.model)) is not None:
                    return await self._judging.complete(judge, request, tick)
                return await self._remembered.recall(request, lambda: self._ask(client, patience, request))

            try:
                result = await _ticking(work(complete), tick)
            finally:
                self._remembered.sync()
        if self._stuck is not None:
            raise self._stuck
        return result

    async def _ask(
        self, client: httpx2.AsyncClient, patience: Patience, request: ChatRequest
    ) -> ChatCompletion:
        if self._stuck is not None:
            raise self._stuck
        try:
            return await patience.ask(request.model, lambda: self._post(client, request))
        except InvalidRequest:
            raise
        except TailorError as error:
            self._stuck = Stuck(f"The model {request.model} cannot be asked: {error.sentence}")
            raise self._stuck from error

    async def _post(self, client: httpx2.AsyncClient, request: ChatRequest) -> ChatCompletion:
        body = request.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        while True:
            url = self._url or await self._server()
            headers = {"authorization": f"Bearer {self._secret()}"}
            try:
                response = await client.post(f"{url}/chat/completions", json=body, headers=headers)
            except httpx2.TimeoutException:
                raise Unavailable(f"No answer within {_ANSWER_SECONDS:.0f} s.") from None
            except httpx2.TransportError:
                self._url = None  # it has ended, and another one may come
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            if response.status_code == 200:
                return ChatCompletion.model_validate_json(response.content)
            raise _refusal(response)

    async def _server(self) -> str:
        """The address of this home's server, waited for."""
        home = self._attempt.store.home
        while (url := await asyncio.to_thread(read_server, home)) is None:
            self._attempt.lease.add_event(
                "Waiting for the server: it answers the questions that this job asks of models.",
                once_key="waiting_for_server",
                data={"recovery": True},
            )
            self._attempt.pulse.stop_if_asked()
            await asyncio.sleep(_AWAY_SECONDS)
        self._url = url
        return url

    def _secret(self) -> str:
        """A key of our own; those of attempts that were killed end now."""
        if self._key is None:
            keys, tenant, name = self._attempt.store.keys, self._attempt.job.tenant, self._attempt.job.id
            for left in keys.list(tenant):
                if left.name == name and left.revoked_at is None:
                    keys.revoke(tenant, left.id)
            self._key = keys.create(tenant, name)
        return self._key[1]


async def _ticking(work: Coroutine[Any, Any, Result], tick: Callable[[], None]) -> Result:
    """The result of `work`; whoever raises in `tick` ends it."""
    task = asyncio.ensure_future(work)
    try:
        while True:
            tick()
            if (await asyncio.wait({task}, timeout=_TICK_SECONDS))[0]:
                return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _refusal(response: httpx2.Response) -> TailorError:
    """Our own error again, from what the server sent."""
    try:
        told = response.json()["error"]
        message, code = str(told["message"]), told.get("code")
    except (ValueError, KeyError, TypeError):
        message, code = f"The server answered with status {response.status_code}.", None
    seconds = response.headers.get("retry-after", "")
    wait = float(seconds) if seconds.replace(".", "", 1).isdecimal() else None
    if response.status_code in _REFUSALS:
        return InvalidRequest(message, code=code)
    if response.status_code == 429:
        return RateLimited(message, code=code, retry_after_seconds=wait)
    if response.status_code >= 500 and response.status_code != 502:
        return Unavailable(message, code=code, retry_after_seconds=wait)
    return TailorError(message, code=code)
