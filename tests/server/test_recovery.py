"""An engine that dies, hangs or answers nonsense: who was waiting is told, who comes next is answered."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.inference import Engine, LocalEngine, ModelKey
from tailor.models import embedded_directory
from tailor.server import EmbeddedServer, ServerConfig
from tailor.server.engine import BackgroundEngine, local_engine
from tailor.server.weights import StoredWeights
from tailor.store import Store
from tests.faults.scene import add_base

ASK: Any = [{"role": "user", "content": "hello"}]


class Bench:
    """A server whose engines can be taken hold of."""

    def __init__(self, server: EmbeddedServer, engines: list[LocalEngine]) -> None:
        self.server = server
        self.engines = engines
        self.client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0)
        self.http = httpx2.Client(base_url=server.base_url.removesuffix("/v1"), trust_env=False)

    def ask(self) -> str | None:
        answer = self.client.chat.completions.create(
            model="gpt-4o", messages=ASK, max_tokens=3, temperature=0
        )
        return answer.choices[0].message.content

    def at_the_next_run(self, action: Callable[[], object]) -> None:
        """Do something on the engine's thread, inside the model."""
        model = self.engines[-1]._residency.runners[0]._model

        def act(*_: object) -> None:
            hook.remove()
            action()

        hook = model.register_forward_pre_hook(act)


@contextmanager
def a_bench(home: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Bench]:
    engines: list[LocalEngine] = []

    def build(store: Store) -> Engine:
        engine = local_engine(store)
        assert isinstance(engine, LocalEngine)
        engines.append(engine)
        return engine

    def watch(build: Callable[[], Engine], **given: Any) -> BackgroundEngine:
        return BackgroundEngine(build, **(given | {"poll_seconds": 0.05} | options))

    monkeypatch.setattr("tailor.server.run.local_engine", build)
    monkeypatch.setattr("tailor.server.run.BackgroundEngine", watch)
    monkeypatch.setattr("tailor.inference.local._FAREWELL_SECONDS", 0.2)
    with EmbeddedServer(home, config=ServerConfig(home=home), run_jobs=False) as server:
        bench = Bench(server, engines)
        bench.ask()
        yield bench
        bench.client.close()
        bench.http.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with a_bench(tmp_path, monkeypatch, stuck_seconds=1.0) as made:
        yield made


def restarts(bench: Bench) -> int:
    headers = {"authorization": f"Bearer {bench.server.api_key}"}
    figures: dict[str, Any] = bench.http.get("/v1/tailor/server", headers=headers).json()["engine"]
    return int(figures["restarts"])


def test_a_dead_engine_is_replaced_and_its_callers_are_told(bench: Bench) -> None:
    said = bench.ask()

    def die() -> None:
        raise SystemExit

    bench.at_the_next_run(die)
    with pytest.raises(openai.InternalServerError) as told:
        bench.ask()

    assert told.value.status_code == 503
    assert "again" in str(told.value)
    assert float(told.value.response.headers["retry-after-ms"]) >= 1000
    assert bench.ask() == said
    assert restarts(bench) == 1


def test_a_stuck_engine_is_left_behind_and_its_callers_are_told(bench: Bench) -> None:
    said = bench.ask()
    gate = threading.Event()
    bench.at_the_next_run(lambda: gate.wait(60))

    with pytest.raises(openai.InternalServerError) as told:
        bench.ask()

    assert told.value.status_code == 503
    assert told.value.code == "engine_restarted"
    assert bench.ask() == said
    gate.set()
    bench.engines[0]._thread.join(10)  # type: ignore[union-attr]
    assert not bench.engines[0].health().is_alive
    assert bench.ask() == said
    assert restarts(bench) == 1


def test_the_official_client_gets_its_answer_in_spite_of_a_restart(bench: Bench) -> None:
    said = bench.ask()
    gate = threading.Event()
    bench.at_the_next_run(lambda: gate.wait(60))

    patient = bench.client.with_options(max_retries=2)
    answer = patient.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=3, temperature=0)

    assert answer.choices[0].message.content == said
    gate.set()


def test_a_stream_cut_by_a_restart_ends_with_an_error(bench: Bench) -> None:
    gate = threading.Event()
    stream = bench.client.chat.completions.create(
        model="gpt-4o", messages=ASK, max_tokens=400, stream=True, logit_bias={"2": -100}
    )
    next(iter(stream))
    bench.at_the_next_run(lambda: gate.wait(60))

    with pytest.raises(openai.APIError, match="being restarted"):
        for _ in stream:
            pass
    gate.set()


def test_readiness_tells_of_an_engine_that_does_not_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailor.server.engine.READY_SECONDS", 0.3)
    with a_bench(tmp_path, monkeypatch, stuck_seconds=3.0) as bench:
        assert bench.http.get("/readyz").status_code == 200
        gate = threading.Event()
        bench.at_the_next_run(lambda: gate.wait(60))
        asking = threading.Thread(target=lambda: bench.client.with_options(max_retries=3) and bench.ask())
        asking.daemon = True
        asking.start()
        stuck = wait(lambda: (answer := bench.http.get("/readyz")).status_code == 503 and answer)
        assert stuck.json()["error"]["code"] == "engine_stuck"
        gate.set()
        wait(lambda: bench.http.get("/readyz").status_code == 200)
        asking.join()
        assert restarts(bench) == 0


def test_an_idle_engine_that_answers_nonsense_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_bench(tmp_path, monkeypatch, stuck_seconds=60.0, idle_seconds=0.2) as bench:
        said = bench.ask()
        weight = bench.engines[0]._residency.runners[0]._model.get_output_embeddings().weight
        with torch.no_grad():
            weight.fill_(float("nan"))

        wait(lambda: restarts(bench) == 1)

        assert bench.ask() == said
        time.sleep(0.6)  # a sound engine passes its self-tests
        assert restarts(bench) == 1


def test_an_engine_that_could_not_be_built_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailor.server.engine._RETRY_SECONDS", 0.05)
    built: list[LocalEngine] = []

    def build() -> Engine:
        if not built:
            built.append(LocalEngine(None))  # type: ignore[arg-type]
            raise RuntimeError("the disk is not there yet")
        built[0].start()
        return built[0]

    engine = BackgroundEngine(build, poll_seconds=0.05)
    engine.start()
    wait(lambda: engine.figures()["status"] == "ready")
    engine.check_ready()
    engine.close()


def test_a_base_whose_files_changed_is_not_served_under_its_old_name(tmp_path: Path) -> None:
    base = shutil.copytree(embedded_directory(), tmp_path / "base")
    store = Store.open(tmp_path / "home", floor_bytes=0)
    add_base(store, base, name="moving")
    template = base / "chat_template.jinja"
    template.write_text(template.read_text() + " ")

    with pytest.raises(InvalidRequest, match="moving have changed") as refused:
        StoredWeights(store).model(ModelKey(base=store.bases.get("moving").digest))

    assert refused.value.code == "base_changed"
    store.close()


def wait(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
