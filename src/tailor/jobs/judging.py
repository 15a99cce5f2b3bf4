"""Reward models as graders of a job: asked in the worker's own process, all of a step's answers together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from tailor.errors import InvalidRequest, NotFound
from tailor.jobs.reward_models import Judge, Judged, Messages, RewardModels, is_judge
from tailor.protocol import AnswerMessage, ChatCompletion, ChatRequest, Choice, Usage, VersionName, new_id
from tailor.store import Store


class Judging:
    """Reward models in the worker's own process: questions of the same moment are answered together.

    Nothing is remembered of them: the same answers get the same rewards.
    """

    def __init__(self, store: Store, tenant: str) -> None:
        self._store, self._tenant = store, tenant
        self._models = RewardModels(store)
        self._judges: dict[str, Judge | None] = {}
        self._waiting: list[tuple[Judge, ChatRequest, asyncio.Future[Judged]]] = []

    def find(self, name: str) -> Judge | None:
        """The reward model of this name; None for any other model."""
        if name not in self._judges:
            self._judges[name] = None
            if VersionName.parse(name):
                with suppress(NotFound):
                    version = self._store.versions.get(self._tenant, name)
                    self._judges[name] = Judge.of(self._store, version) if is_judge(version) else None
        return self._judges[name]

    async def complete(self, judge: Judge, request: ChatRequest, tick: Callable[[], None]) -> ChatCompletion:
        """The reward as a model's answer."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # After whoever else is about to ask: all of them share what their prompts begin with.
            loop.call_soon(self._answer, tick)
        answer: asyncio.Future[Judged] = loop.create_future()
        self._waiting.append((judge, request, answer))
        judged = await answer
        return ChatCompletion(
            id=new_id("completion"),
            created=0,
            model=request.model,
            choices=[
                Choice(index=0, message=AnswerMessage(content=judged.text), finish_reason="stop"),
            ],
            usage=Usage(
                prompt_tokens=judged.num_tokens, completion_tokens=1, total_tokens=judged.num_tokens + 1
            ),
        )

    def _answer(self, tick: Callable[[], None]) -> None:
        waiting, self._waiting = self._waiting, []
        for judge in dict.fromkeys(judge for judge, _, _ in waiting):
            asked = [(request, answer) for own, request, answer in waiting if own == judge]
            messages = [
                [message.model_dump(exclude_unset=True) for message in request.messages]
                for request, _ in asked
            ]
            try:
                found: Sequence[Judged | Exception] = self._models.judge(judge, messages, tick=tick)
            except InvalidRequest:
                found = [self._alone(judge, each, tick) for each in messages]
            except Exception as error:
                found = [error] * len(asked)
            for (_, answer), judged in zip(asked, found, strict=True):
                if answer.done():
                    continue
                if isinstance(judged, Judged):
                    answer.set_result(judged)
                else:
                    answer.set_exception(judged)

    def _alone(self, judge: Judge, messages: Messages, tick: Callable[[], None]) -> Judged | InvalidRequest:
        """One of several, of which some cannot be judged."""
        try:
            return self._models.judge(judge, [messages], tick=tick)[0]
        except InvalidRequest as error:
            return error
