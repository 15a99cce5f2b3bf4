"""The engine as a whole: who comes in, who leaves, what is loaded, what goes wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tailor.errors import Internal, InvalidRequest, NotFound, RateLimited, Unavailable
from tailor.inference import EngineLimits, GenerationChunk, GenerationRequest, LocalEngine
from tailor.inference.stream import Generation
from tailor.models import LoadedModel
from tests.inference.shop import BASE, Shop, adapter_key, ask, prompts, random_adapter

FOREVER: dict[str, Any] = {"max_tokens": 900, "logit_bias": {2: -100.0}}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_many_more_requests_than_slots_all_finish(loaded: LoadedModel) -> None:
    questions = prompts(loaded)

    with LocalEngine(Shop(), EngineLimits(max_running=4)) as engine:
        answers = engine.generate([ask(questions[index % 6], max_tokens=5) for index in range(40)])
        health = engine.health()

    assert [answer.text for answer in answers[:6]] == [answer.text for answer in answers[6:12]]
    assert (health.running, health.queued, health.cache_bytes) == (0, 0, 0)
    assert health.models == (BASE,)


def test_chunks_arrive_one_by_one_and_join_to_the_answer(engine: LocalEngine, loaded: LoadedModel) -> None:
    prompt = prompts(loaded)[1]

    chunks = list(engine.submit(ask(prompt)))

    assert len(chunks) > 5
    whole = engine.generate([ask(prompt)])[0]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.choices[0].finish_reason is not None


def test_answers_can_be_awaited(engine: LocalEngine, loaded: LoadedModel) -> None:
    async def text(prompt: list[int]) -> str:
        return "".join([chunk.text async for chunk in engine.submit(ask(prompt))])

    async def both() -> list[str]:
        return await asyncio.gather(*(text(prompt) for prompt in prompts(loaded)))

    texts = asyncio.run(both())

    assert texts == [answer.text for answer in engine.generate([ask(prompt) for prompt in prompts(loaded)])]


def test_cancelling_frees_the_slot_and_the_memory(engine: LocalEngine) -> None:
    generation = engine.submit(ask([5, 6, 7], **FOREVER))
    first = next(iter(generation))  # leaving the iterator early cancels as well

    generation.cancel()

    assert first.text
    eventually(lambda: engine.health().running == 0)
    assert engine.health().cache_bytes == 0
    with pytest.raises(Unavailable, match="cancelled"):
        list(generation)


def test_an_abandoned_async_reader_cancels(engine: LocalEngine) -> None:
    async def leave_early() -> None:
        stream = aiter(engine.submit(ask([5, 6, 7], **FOREVER)))
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave_early())

    eventually(lambda: engine.health().running == 0)


def test_a_request_that_cannot_fit_is_refused_at_once(engine: LocalEngine) -> None:
    with pytest.raises(InvalidRequest, match="maximum context length is 1024") as refused:
        engine.submit(ask([5] * 1000, max_tokens=25))

    assert refused.value.code == "context_length_exceeded"
    assert (
        engine.generate([ask([5] * 1000, max_tokens=24, logit_bias={2: -100.0})])[0].choices[0].num_tokens
        == 24
    )


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"stop": ("",)}, {"stop": ("a",) * 5}])
def test_what_makes_no_sense_is_refused(engine: LocalEngine, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        engine.submit(ask([5], **wrong))


def test_a_token_outside_the_vocabulary_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(InvalidRequest, match="vocabulary of 8192"):
        engine.generate([ask([5], logit_bias={8192: 1.0})])


def test_without_a_limit_an_answer_fills_the_context(engine: LocalEngine) -> None:
    choice = engine.generate([ask([5] * 1004, max_tokens=None, logit_bias={2: -100.0})])[0].choices[0]

    assert (choice.num_tokens, choice.finish_reason) == (20, "length")


def test_the_queue_is_bounded_for_one_and_for_all() -> None:
    limits = EngineLimits(
        max_queued_requests=5, max_queued_requests_per_tenant=3, max_queued_prompt_tokens=40
    )
    engine = LocalEngine(Shop(), limits)  # not started: everything waits

    def submit(tenant: str, num_tokens: int = 2, n: int = 1) -> Generation:
        return engine.submit(GenerationRequest(model=BASE, prompt_ids=[5] * num_tokens, tenant=tenant, n=n))

    submit("a", n=2)
    with pytest.raises(RateLimited) as refused:
        submit("a", n=2)
    assert refused.value.retry_after_seconds and refused.value.retry_after_seconds >= 1
    with pytest.raises(Unavailable):
        submit("b", num_tokens=39)
    submit("b", n=3)
    with pytest.raises(Unavailable):
        submit("c")
    assert engine.health().queued == 5
    engine.close()


def test_tenants_take_turns() -> None:
    engine = LocalEngine(Shop(), EngineLimits(max_running=1))
    order: list[str] = []
    short = ask([5], max_tokens=1).parameters
    busy = [
        (
            tenant,
            engine.submit(GenerationRequest(model=BASE, prompt_ids=[5], tenant=tenant, parameters=short)),
        )
        for tenant in "aaaab"
    ]

    def read(tenant: str, generation: Generation) -> None:
        list(generation)
        order.append(tenant)

    threads = [threading.Thread(target=read, args=each) for each in busy]
    for thread in threads:
        thread.start()
    with engine:
        for thread in threads:
            thread.join()

    assert "b" in order[:3]


def test_loads_of_one_adapter_coalesce(loaded: LoadedModel) -> None:
    shop = Shop(adapters={"tuned": random_adapter(loaded, rank=4, seed=1)}, gate=threading.Event())
    with LocalEngine(shop) as engine:
        waiting = [engine.submit(ask([5, 6], adapter_key("tuned"))) for _ in range(5)]
        eventually(lambda: "tuned" in shop.loads)

        # While it loads, others are answered.
        assert engine.generate([ask([5, 6])])[0].choices[0].num_tokens
        assert not any(generation.is_ended for generation in waiting)
        assert shop.gate is not None
        shop.gate.set()

        assert len({"".join(chunk.text for chunk in generation) for generation in waiting}) == 1
    assert sorted(shop.loads) == ["embedded", "tuned"]


def test_a_failed_load_fails_its_requests_only_and_is_tried_again(loaded: LoadedModel) -> None:
    shop = Shop(adapters={"good": random_adapter(loaded, rank=4, seed=1)})
    good = shop.adapters["good"]
    del shop.adapters["good"]
    shop.facts = lambda key: Shop.facts(Shop(), BASE)  # type: ignore[method-assign]

    with LocalEngine(shop) as engine:
        with pytest.raises(Internal, match="KeyError"):
            engine.generate([ask([5], adapter_key("good"))])
        assert engine.generate([ask([5])])[0].choices[0].num_tokens
        shop.adapters["good"] = good
        assert engine.generate([ask([5], adapter_key("good"))])[0].choices[0].num_tokens


def test_an_unknown_version_is_not_found(engine: LocalEngine) -> None:
    with pytest.raises(NotFound):
        engine.submit(ask([5], adapter_key("never")))


def test_the_least_recently_used_adapter_makes_room(loaded: LoadedModel) -> None:
    adapters = {name: random_adapter(loaded, rank=4, seed=seed) for seed, name in enumerate("abcd")}
    adapter_bytes = sum(weight.nbytes for weight in adapters["a"].weights.values())
    tensors = (*loaded.model.parameters(), *loaded.model.buffers())
    base_bytes = sum(tensor.nbytes for tensor in tensors)
    shop = Shop(adapters=adapters, num_bytes=adapter_bytes)

    with LocalEngine(shop, EngineLimits(weights_bytes=base_bytes + 2 * adapter_bytes)) as engine:
        for name in "abac":
            engine.generate([ask([5, 6], adapter_key(name), max_tokens=2)])
        assert {key.version for key in engine.health().adapters} == {"a", "c"}
        together = engine.generate([ask([5, 6], adapter_key(name)) for name in "abcd"])
        assert engine.health().weights_bytes <= base_bytes + 2 * adapter_bytes

    with LocalEngine(shop) as roomy:
        alone = [roomy.generate([ask([5, 6], adapter_key(name))])[0].text for name in "abcd"]
    assert [answer.text for answer in together] == alone


def test_a_poisoned_adapter_hurts_nobody_else(loaded: LoadedModel) -> None:
    sound = random_adapter(loaded, rank=4, seed=1)
    weights = {name: weight * float("nan") for name, weight in sound.weights.items()}
    poison = replace(sound, weights=weights)
    with LocalEngine(Shop(adapters={"poison": poison})) as engine:
        expected = engine.generate([ask([5, 6])])[0].text
        bad = [engine.submit(ask([5, 6, index], adapter_key("poison"))) for index in range(3)]
        good = [engine.submit(ask([5, 6])) for _ in range(3)]

        assert ["".join(chunk.text for chunk in generation) for generation in good] == [expected] * 3
        for generation in bad:
            with pytest.raises(Internal, match="not a number"):
                list(generation)
        assert engine.generate([ask([5, 6])])[0].text == expected
        assert engine.health().running == 0


def test_a_failing_model_fails_its_answers_and_the_engine_goes_on(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalEngine(Shop()) as engine:
        engine.generate([ask([5])])
        with monkeypatch.context() as broken:
            broken.setattr(torch.nn.functional, "embedding", None)
            with pytest.raises(Internal, match="failed"):
                engine.generate([ask([5])])
        assert engine.generate([ask([5])])[0].choices[0].num_tokens
        assert engine.health().cache_bytes == 0


def test_a_request_does_not_outlive_its_deadline() -> None:
    with LocalEngine(Shop()) as engine:
        slow = GenerationRequest(
            model=BASE, prompt_ids=[5], parameters=ask([5], **FOREVER).parameters, deadline_seconds=0.2
        )
        with pytest.raises(Unavailable, match=r"0\.2 seconds"):
            list(engine.submit(slow))


def test_a_reader_that_falls_behind_gets_everything_in_fewer_chunks() -> None:
    with LocalEngine(Shop(), EngineLimits(max_unread_chunks=3)) as engine:
        generation = engine.submit(ask([5, 6]))
        eventually(lambda: generation.is_ended)
        chunks = list(generation)
        whole = engine.generate([ask([5, 6])])[0]

    assert len(chunks) == 3
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert chunks[-1].finish_reason == whole.choices[0].finish_reason


def test_a_reader_that_never_reads_loses_its_request() -> None:
    with LocalEngine(Shop(), EngineLimits(max_unread_chunks=2, unread_seconds=0.05)) as engine:
        generation = engine.submit(ask([5, 6], **FOREVER))
        eventually(lambda: generation.is_ended)
        with pytest.raises(Unavailable, match="not read"):
            list(generation)


def test_closing_ends_what_runs_and_refuses_what_comes() -> None:
    engine = LocalEngine(Shop())
    engine.start()
    running = engine.submit(ask([5, 6], **FOREVER))
    eventually(lambda: engine.health().running == 1)

    engine.close()

    with pytest.raises(Unavailable, match="shutting down"):
        list(running)
    with pytest.raises(Unavailable):
        engine.submit(ask([5]))


def test_nobody_waits_for_an_engine_that_has_died() -> None:
    def die(*_: object) -> None:
        raise SystemExit

    engine = LocalEngine(Shop())
    engine.start()
    engine.generate([ask([5])])
    engine._residency.runners[0]._model.register_forward_pre_hook(die)

    with pytest.raises(Unavailable, match="has stopped"):
        engine.generate([ask([5])])

    eventually(lambda: not engine.health().is_alive)
    with pytest.raises(Unavailable, match="has stopped"):
        engine.submit(ask([5]))
    engine.close()


def test_a_stuck_engine_can_be_closed_and_touches_nothing_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailor.inference.local._FAREWELL_SECONDS", 0.1)
    gate = threading.Event()
    engine = LocalEngine(Shop())
    engine.start()
    engine.generate([ask([5])])
    engine._residency.runners[0]._model.register_forward_pre_hook(lambda *_: gate.wait(20) and None)
    waiting = engine.submit(ask([5, 6]))
    eventually(lambda: engine.health().running == 1)
    progress = engine.health().progress
    time.sleep(0.3)
    assert engine.health().progress == progress

    engine.close(reason=Unavailable("given up"))

    with pytest.raises(Unavailable, match="given up"):
        list(waiting)
    gate.set()
    eventually(lambda: not engine.health().is_alive)
    with pytest.raises(Unavailable, match="given up"):
        list(waiting)


def test_progress_goes_on_while_there_is_nothing_to_do(engine: LocalEngine) -> None:
    before = engine.health().progress

    eventually(lambda: engine.health().progress > before + 2)


def test_the_headroom_is_what_would_still_be_taken() -> None:
    limits = EngineLimits(
        max_running=2, max_queued_requests=6, max_queued_requests_per_tenant=4, max_queued_prompt_tokens=40
    )
    engine = LocalEngine(Shop(), limits)  # not started: everything waits

    def submit(tenant: str, n: int) -> Generation:
        return engine.submit(GenerationRequest(model=BASE, prompt_ids=[5] * 7, tenant=tenant, n=n))

    whole = engine.headroom("a")
    assert (whole.num_requests, whole.max_requests, whole.num_tokens, whole.max_tokens) == (4, 4, 40, 40)
    assert whole.seconds_to_all_requests == whole.seconds_to_all_tokens == 0
    submit("a", 1)
    submit("b", 2)
    submit("b", 1)
    assert (engine.headroom("a").num_requests, engine.headroom("b").num_requests) == (2, 1)
    assert engine.headroom("a").num_tokens == 40 - 21
    # Two of the four start at once; the others when those have ended, in a second each, two by two.
    assert engine.headroom("c").seconds_to_all_requests == 1.0
    submit("a", 2)
    with pytest.raises(Unavailable):
        submit("c", 1)
    assert engine.headroom("c").num_requests == 0
    engine.close()


def test_closing_with_patience_lets_answers_finish() -> None:
    engine = LocalEngine(Shop())
    engine.start()
    running = engine.submit(ask([5, 6], max_tokens=30))
    eventually(lambda: engine.health().running == 1)

    engine.close(timeout_seconds=10)

    chunks: list[GenerationChunk] = list(running)
    assert chunks[-1].finish_reason in ("stop", "length")
