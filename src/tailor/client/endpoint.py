"""One endpoint that speaks the OpenAI API, and the few verbs that tailor's commands need from it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlsplit

from pydantic import BaseModel

from tailor.client.failures import as_tailor_errors
from tailor.errors import Unavailable
from tailor.protocol import EventObject, FileObject, JobObject, JobRequest, ModelObject, Proof, TrainingPlan

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
"""Job states that never change again."""

Wire = TypeVar("Wire", bound=BaseModel)

_NAMED = {"model", "training_file"}
_EVENTS_PER_PAGE = 100
_TEXTS_AT_ONCE = 256
_FIRST_WAIT_SECONDS = 0.4
_LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model said to one prompt, and what it took."""

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    """From the request to the whole answer, as this client saw it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """How far a job is, and what happened since the update before."""

    job: JobObject
    events: tuple[EventObject, ...]
    """New events, oldest first; over all updates of one `follow` each event comes exactly once."""


class Endpoint:
    """A server at `base_url`: ours, or for chat and evaluation any that speaks the OpenAI API."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.base_url = base_url
        self._api_key = api_key

    @cached_property
    def openai(self) -> OpenAI:
        """The official client, pointed at this endpoint."""
        import openai

        # A proxy from the environment must not come between us and a server on this machine.
        client = openai.DefaultHttpxClient(trust_env=False) if _is_loopback(self.base_url) else None
        return openai.OpenAI(base_url=self.base_url, api_key=self._api_key, http_client=client)

    def close(self) -> None:
        """Let go of the connections."""
        if "openai" in self.__dict__:
            self.openai.close()

    # Files and jobs

    def upload(self, path: Path, purpose: str = "fine-tune") -> FileObject:
        """Send a file; the answer has its id."""
        with as_tailor_errors(self.base_url):
            return _read(FileObject, self.openai.files.create(file=path, purpose=purpose))  # type: ignore[arg-type]

    def start(self, job: JobRequest) -> JobObject:
        """Create a job; an answer lost on the way does not make a second one."""
        body = job.model_dump(mode="json", exclude_none=True, exclude_unset=True, exclude=_NAMED)
        with as_tailor_errors(self.base_url):
            created = self.openai.fine_tuning.jobs.create(
                model=job.model,
                training_file=job.training_file,
                extra_body=body,
                extra_headers={"Idempotency-Key": uuid.uuid4().hex},
            )
            return _read(JobObject, created)

    def plan(self, job: JobRequest) -> TrainingPlan:
        """What a job would take; none is created."""
        body = job.model_dump(mode="json", exclude_none=True, exclude_unset=True)
        with as_tailor_errors(self.base_url):
            answered = self.openai.post("/tailor/plans", cast_to=object, body=body)
            return TrainingPlan.model_validate(answered)

    def job(self, job_id: str) -> JobObject:
        """The job as it is now."""
        with as_tailor_errors(self.base_url):
            return _read(JobObject, self.openai.fine_tuning.jobs.retrieve(job_id))

    def jobs(self, *, limit: int = 20) -> list[JobObject]:
        """The newest jobs, newest first."""
        with as_tailor_errors(self.base_url):
            return [_read(JobObject, job) for job in self.openai.fine_tuning.jobs.list(limit=limit).data]

    def cancel(self, job_id: str) -> JobObject:
        """End a job; its checkpoints stay."""
        with as_tailor_errors(self.base_url):
            return _read(JobObject, self.openai.fine_tuning.jobs.cancel(job_id))

    def pause(self, job_id: str) -> JobObject:
        """Stop a job at its next step, to be resumed."""
        with as_tailor_errors(self.base_url):
            return _read(JobObject, self.openai.fine_tuning.jobs.pause(job_id))

    def resume(self, job_id: str) -> JobObject:
        """Let a paused job go on."""
        with as_tailor_errors(self.base_url):
            return _read(JobObject, self.openai.fine_tuning.jobs.resume(job_id))

    def events(self, job_id: str, *, since: str | None = None) -> list[EventObject]:
        """Every event after the event `since`, oldest first; all of them without it."""
        newest_first = []
        with as_tailor_errors(self.base_url):
            for event in self.openai.fine_tuning.jobs.list_events(job_id, limit=_EVENTS_PER_PAGE):
                if event.id == since:
                    break
                newest_first.append(_read(EventObject, event))
        return newest_first[::-1]

    def follow(
        self, job_id: str, *, since: str | None = None, patience_seconds: float = 60.0
    ) -> Iterator[Update]:
        """Updates until the job has finished or is paused; the last one holds that state.

        `since` is the id of the last event that the caller has seen. A server that is away (a restart)
        is waited for, up to `patience_seconds` at a time; then `Unavailable` is raised.
        """
        wait_seconds = _FIRST_WAIT_SECONDS
        away_since: float | None = None
        while True:
            try:
                # In this order: events written before the job ended are then all in the last update.
                job = self.job(job_id)
                events = self.events(job_id, since=since)
            except Unavailable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > patience_seconds:
                    raise
                time.sleep(_LONGEST_WAIT_SECONDS)
                continue
            away_since = None
            if events:
                since = events[-1].id
                wait_seconds = _FIRST_WAIT_SECONDS
            yield Update(job=job, events=tuple(events))
            if job.status in FINISHED or job.status == "paused":
                return
            time.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 1.5, _LONGEST_WAIT_SECONDS)

    # Models and what they say

    def models(self) -> list[ModelObject]:
        """Bases, tuned versions and checkpoints that this endpoint serves."""
        with as_tailor_errors(self.base_url):
            return [_read(ModelObject, model) for model in self.openai.models.list().data]

    def model(self, name: str) -> ModelObject:
        """One model by its name."""
        with as_tailor_errors(self.base_url):
            return _read(ModelObject, self.openai.models.retrieve(name))

    def delete_model(self, name: str) -> None:
        """Delete a tuned version; its job stays."""
        with as_tailor_errors(self.base_url):
            self.openai.models.delete(name)

    def proof(self, model: str) -> Proof:
        """What a tuned version fixed and broke against its base.

        Raises:
            NotFound: There is no such model, or it has no proof (a base, a checkpoint).
        """
        path = f"/tailor/models/{quote(model, safe=':')}/proof"
        with as_tailor_errors(self.base_url):
            return Proof.model_validate(self.openai.get(path, cast_to=object))

    def chat(self, model: str, messages: Sequence[Mapping[str, Any]], **settings: Any) -> Answer:
        """One whole answer. `settings` are those of `chat.completions.create`."""
        started = time.monotonic()
        with as_tailor_errors(self.base_url):
            completion = self.openai.chat.completions.create(
                model=model,
                messages=_messages(messages),
                extra_body=settings,
            )
        return _answer(completion, latency_seconds=time.monotonic() - started)

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text."""
        found: list[list[float]] = []
        with as_tailor_errors(self.base_url):
            for start in range(0, len(texts), _TEXTS_AT_ONCE):
                block = list(texts[start : start + _TEXTS_AT_ONCE])
                answer = self.openai.embeddings.create(model=model, input=block)
                found += [each.embedding for each in answer.data]
        return found

    def stream(self, model: str, messages: Sequence[Mapping[str, Any]], **settings: Any) -> Iterator[str]:
        """The pieces of one answer's text as they come."""
        with as_tailor_errors(self.base_url):
            chunks = self.openai.chat.completions.create(
                model=model,
                messages=_messages(messages),
                stream=True,
                extra_body=settings,
            )
            for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content


def _messages(messages: Sequence[Mapping[str, Any]]) -> list[ChatCompletionMessageParam]:
    return cast("list[ChatCompletionMessageParam]", list(messages))


def _read(kind: type[Wire], answered: Any) -> Wire:
    return kind.model_validate(answered.to_dict())


def _answer(completion: ChatCompletion, *, latency_seconds: float) -> Answer:
    choice = completion.choices[0]
    calls = tuple(call.to_dict() for call in choice.message.tool_calls or ())
    return Answer(
        text=choice.message.content or "",
        tool_calls=calls,
        finish_reason=choice.finish_reason,
        prompt_tokens=completion.usage.prompt_tokens if completion.usage else 0,
        completion_tokens=completion.usage.completion_tokens if completion.usage else 0,
        latency_seconds=latency_seconds,
    )


def _is_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
