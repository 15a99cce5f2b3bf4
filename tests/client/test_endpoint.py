"""The endpoint against a server that grows, stumbles and refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tailor.client import Endpoint
from tailor.errors import (
    Internal,
    InvalidRequest,
    NotFound,
    StorageFull,
    TailorError,
    Unauthenticated,
    Unavailable,
)
from tailor.protocol import JobRequest
from tests.client.stub import Asked, JsonObject, Stub, error, event, job, page_of, serving


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving(Stub()) as stub:
        yield stub


@pytest.fixture
def endpoint(stub: Stub) -> Iterator[Endpoint]:
    endpoint = Endpoint(stub.base_url, "sk-test")
    yield endpoint
    endpoint.close()


def growing_job(stub: Stub, *, events_per_look: int, looks: int) -> list[JsonObject]:
    """A job that writes events between any two requests, and ends after so many looks at it."""
    written: list[JsonObject] = []
    state = {"looks": 0}

    def look(_asked: Asked) -> tuple[int, JsonObject]:
        state["looks"] += 1
        ended = state["looks"] >= looks
        if ended:
            written.append(event(len(written), message="The job has successfully completed"))
        return 200, job("succeeded" if ended else "running")

    def list_events(asked: Asked) -> tuple[int, JsonObject]:
        page = page_of(written, asked)
        if state["looks"] < looks:
            written.extend([event(len(written) + more) for more in range(events_per_look)])
        return 200, page

    stub.on("GET", "/fine_tuning/jobs/ftjob-1", look)
    stub.on("GET", "/fine_tuning/jobs/ftjob-1/events", list_events)
    return written


def test_following_shows_every_event_once_and_in_order(stub: Stub, endpoint: Endpoint) -> None:
    written = growing_job(stub, events_per_look=130, looks=4)
    updates = list(endpoint.follow("ftjob-1"))
    seen = [event.id for update in updates for event in update.events]
    assert seen == [event["id"] for event in written]
    assert len(seen) > 300
    assert updates[-1].job.status == "succeeded"


def test_following_goes_on_from_the_last_event_seen(stub: Stub, endpoint: Endpoint) -> None:
    written = growing_job(stub, events_per_look=3, looks=2)
    written.extend(event(number) for number in range(5))
    updates = list(endpoint.follow("ftjob-1", since="ftevent-3"))
    assert updates[0].events[0].id == "ftevent-4"


def test_following_outlives_a_server_that_restarts() -> None:
    stub = Stub()
    growing_job(stub, events_per_look=1, looks=3)
    with serving(stub) as first:
        endpoint = Endpoint(first.base_url, "sk-test")
        updates = endpoint.follow("ftjob-1", patience_seconds=20)
        seen = [event.id for event in next(updates).events]
    port = int(stub.base_url.split(":")[2].split("/")[0])

    def restart() -> None:
        time.sleep(0.5)
        with serving(stub, port=port):
            done.wait(20)

    done = threading.Event()
    thread = threading.Thread(target=restart)
    thread.start()
    seen += [event.id for update in updates for event in update.events]
    done.set()
    thread.join()
    assert seen == [f"ftevent-{number}" for number in range(len(seen))]


def test_a_server_that_stays_away_ends_the_following() -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1", "sk-test")
    with pytest.raises(Unavailable, match=r"No server answers at http://127.0.0.1:9/v1\."):
        list(endpoint.follow("ftjob-1", patience_seconds=0))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthenticated),
        (404, NotFound),
        (409, InvalidRequest),
        (500, Internal),
        (502, Internal),
        (503, Unavailable),
        (507, StorageFull),
    ],
)
def test_a_refusal_keeps_the_servers_sentence(
    stub: Stub, endpoint: Endpoint, status: int, kind: type[TailorError]
) -> None:
    stub.on("GET", "/models", lambda _: (status, error("The reason.", code="why", param="where")))
    with pytest.raises(kind) as caught:
        endpoint.models()
    assert (caught.value.message, caught.value.code, caught.value.param) == ("The reason.", "why", "where")


def test_the_problems_of_a_refused_file_come_along(stub: Stub, endpoint: Endpoint) -> None:
    refusal = error("Not JSONL.")
    refusal["error"]["problems"] = [{"line": 3}]
    stub.on("GET", "/models", lambda _: (400, refusal))
    with pytest.raises(InvalidRequest) as caught:
        endpoint.models()
    assert caught.value.details == {"problems": [{"line": 3}]}


def test_a_stranger_that_is_no_api_is_named_as_such(stub: Stub, endpoint: Endpoint) -> None:
    stub.on("GET", "/models", lambda _: (418, "tea"))
    with pytest.raises(InvalidRequest, match="answered 418"):
        endpoint.models()


def test_a_job_is_created_with_our_own_options_and_a_key_against_doubles(
    stub: Stub, endpoint: Endpoint
) -> None:
    stub.on("POST", "/fine_tuning/jobs", lambda _: (200, job("validating_files")))
    endpoint.start(
        JobRequest(model="tiny", training_file="file-1", suffix="mail", tailor={"adapter": {"rank": 4}})
    )
    [asked] = stub.asked
    assert asked.body == {
        "model": "tiny",
        "training_file": "file-1",
        "suffix": "mail",
        "tailor": {"adapter": {"rank": 4}},
    }
    assert asked.headers["idempotency-key"]
    assert asked.headers["authorization"] == "Bearer sk-test"


def test_a_name_with_a_slash_reaches_its_proof(stub: Stub, endpoint: Endpoint) -> None:
    with pytest.raises(NotFound):
        endpoint.proof("ft:org/base:local::AAAAAAAA")
    assert stub.asked[0].path == "/v1/tailor/models/ft:org%2Fbase:local::AAAAAAAA/proof"
