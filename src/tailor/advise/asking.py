"""Items through a model: answers with their tokens and times."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from tailor.advise.arms import Arm, ArmResult, Progress, SetUp, Shown
from tailor.advise.measure import Measure
from tailor.advise.prompts import Prompt, Request
from tailor.client import Answer, Endpoint
from tailor.data.doctor import Item
from tailor.data.doctor.items import said_in
from tailor.errors import InvalidRequest, RateLimited

ALONE: Final = 12
"""Items that are asked one by one, to see how long one waits."""

_SHOWN: Final = 3
_WAITS_SECONDS: Final = (1, 4, 15, 60)
"""Between attempts over a limit that does not say when it ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """Whom to ask, and how."""

    endpoint: Endpoint
    model: str
    max_tokens: int
    """Longest answer."""

    concurrency: int = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What came back for the items, in their order."""

    requests: tuple[Request, ...]
    texts: tuple[str, ...]
    prompt_tokens: float
    completion_tokens: float
    latencies_ms: tuple[float, ...]
    seconds_per_request: float
    num_refused: int


def ask(
    asking: Asking, prompt: Prompt, items: Sequence[Item], *, arm: Arm, alone: int = ALONE
) -> Generator[Progress, None, Answered]:
    """Every item, greedily: some alone, for the latency, and then many at once.

    Raises:
        TailorError: Nobody answers, or the model is unknown; an item that is refused only counts as wrong.
    """
    requests = tuple(prompt.request(item) for item in items)
    answers: dict[int, Answer | InvalidRequest] = {}
    alone = min(alone, len(items))
    for place in range(alone):
        answers[place] = _ask_one(asking, requests[place])
        yield Progress(arm=arm, done=(place + 1) / len(items), what="asking")
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=asking.concurrency) as pool:
        waiting = {
            pool.submit(_ask_one, asking, requests[place]): place for place in range(alone, len(items))
        }
        try:
            for done in as_completed(waiting):
                answers[waiting[done]] = done.result()
                yield Progress(arm=arm, done=len(answers) / len(items), what="asking")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    together = len(items) - alone
    took = (time.monotonic() - started) / together if together else 0.0
    ordered = [answers[place] for place in range(len(items))]
    good = [answer for answer in ordered if isinstance(answer, Answer)]
    latencies = [1000 * answer.latency_seconds for answer in ordered[:alone] if isinstance(answer, Answer)]
    return Answered(
        requests=requests,
        texts=tuple(_text_of(answer) for answer in ordered),
        prompt_tokens=fmean(answer.prompt_tokens for answer in good) if good else 0.0,
        completion_tokens=fmean(answer.completion_tokens for answer in good) if good else 0.0,
        # The first one waits for what is loaded once.
        latencies_ms=tuple(latencies[1:] or latencies),
        seconds_per_request=took or fmean(latencies or [0.0]) / 1000,
        num_refused=len(ordered) - len(good),
    )


def takes(asking: Asking, prompt: Prompt, item: Item) -> bool:
    """Whether the endpoint takes such a request at all."""
    return isinstance(_ask_one(asking, prompt.request(item)), Answer)


def judged(
    arm: Arm,
    answered: Answered,
    items: Sequence[Item],
    measure: Measure,
    *,
    setup: SetUp | None = None,
    made: str | None = None,
    notes: Sequence[str] = (),
) -> ArmResult:
    """The answers as a result."""
    scores = tuple(measure.score(text, item.answer) for text, item in zip(answered.texts, items, strict=True))
    shown = tuple(
        Shown(
            line=items[place].line,
            sent=answered.requests[place].messages,
            answer=answered.texts[place],
            expected=items[place].answer,
            score=scores[place],
            sources=answered.requests[place].sources,
        )
        for place in telling(scores)
    )
    refused = [f"{answered.num_refused} of {len(items)} items were refused."] if answered.num_refused else []
    return ArmResult(
        arm=arm,
        runs=(scores,),
        prompt_tokens=answered.prompt_tokens,
        completion_tokens=answered.completion_tokens,
        latencies_ms=answered.latencies_ms,
        seconds_per_request=answered.seconds_per_request,
        num_refused=answered.num_refused,
        setup=setup or SetUp(),
        made=made,
        shown=shown,
        notes=(*notes, *refused),
    )


def telling(scores: Sequence[float]) -> list[int]:
    """Places of a few items worth reading: the first, and the first ones that went worst and best."""
    best = max(range(len(scores)), key=scores.__getitem__)
    worst = min(range(len(scores)), key=scores.__getitem__)
    return sorted({0, best, worst})[:_SHOWN]


def _ask_one(asking: Asking, request: Request) -> Answer | InvalidRequest:
    waits = iter(_WAITS_SECONDS)
    while True:
        try:
            return asking.endpoint.chat(
                asking.model,
                request.messages,
                temperature=0,
                max_completion_tokens=asking.max_tokens,
                **request.settings,
            )
        except InvalidRequest as error:
            return error
        except RateLimited as error:
            wait_seconds = next(waits, None)
            if wait_seconds is None:
                raise
            time.sleep(error.retry_after_seconds or wait_seconds)


def _text_of(answer: Answer | InvalidRequest) -> str:
    """What was said: text, and calls as the data doctor writes them."""
    if isinstance(answer, InvalidRequest):
        return ""
    message: dict[str, Any] = {"content": answer.text or None}
    if answer.tool_calls:
        message["tool_calls"] = list(answer.tool_calls)
    return said_in(message)
