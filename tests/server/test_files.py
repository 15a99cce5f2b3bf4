"""Files through the official client and through bare HTTP."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx2
import openai
import pytest

from tailor.store import Job, Store
from tests.server.making import rows


def test_a_file_is_uploaded_listed_read_and_deleted(client: openai.OpenAI) -> None:
    data = rows()
    made = client.files.create(file=("train.jsonl", data), purpose="fine-tune")
    assert (made.filename, made.bytes, made.purpose, made.status) == (
        "train.jsonl",
        len(data),
        "fine-tune",
        "processed",
    )
    assert client.files.retrieve(made.id) == made
    assert made.id in [file.id for file in client.files.list(purpose="fine-tune")]
    assert client.files.content(made.id).read() == data
    assert client.files.wait_for_processing(made.id).status == "processed"
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.retrieve(made.id)
    assert (caught.value.code, caught.value.param) == ("file_not_found", "id")


def test_lists_come_in_pages_newest_first(client: openai.OpenAI) -> None:
    made = [client.files.create(file=b"x", purpose="user_data").id for _ in range(5)]
    page = client.files.list(limit=2, purpose="user_data")
    assert page.has_more
    everything = [file.id for file in client.files.list(limit=2, purpose="user_data")]
    assert everything[:5] == made[::-1]
    assert [file.id for file in client.files.list(order="asc", purpose="user_data")] == everything[::-1]
    assert client.files.list(limit=0, after="after").data == []
    assert client.files.list(purpose="no such purpose").data == []


@pytest.mark.parametrize(
    "file", [b"a", io.BytesIO(b"a"), ("n.txt", b"a"), ("n.txt", b"a", "text/plain"), ("../../n", b"a")]
)
def test_every_way_of_giving_a_file_works(client: openai.OpenAI, file: Any) -> None:
    made = client.files.create(file=file, purpose="assistants")
    assert client.files.content(made.id).read() == b"a"


def test_a_file_can_expire(client: openai.OpenAI) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=b"a", purpose="assistants", expires_after=expiry)
    assert made.expires_at == made.created_at + 3600
    batch = client.files.create(file=b"a", purpose="batch")
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "purpose"),
        ({"purpose": "training"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": "batch", "expires_after[anchor]": "now"}, "expires_after[anchor]"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
            "expires_after[seconds]",
        ),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "9" * 500},
            "expires_after[seconds]",
        ),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "-1"},
            "expires_after[seconds]",
        ),
        ({"purpose": "x" * 5000}, "purpose"),
    ],
)
def test_a_wrong_form_field_is_named(http: httpx2.Client, fields: dict[str, str], param: str) -> None:
    answer = http.post("/v1/files", data=fields, files={"file": ("a", b"a")})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_the_parts_may_come_in_any_order(http: httpx2.Client) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n--x\r\n\r\n--b\r\n'
        b'Content-Disposition: form-data; name="other"\r\n\r\nignored\r\n--b\r\n'
        b'Content-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b--\r\n'
    )
    answer = http.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 200, answer.text
    content = http.get(f"/v1/files/{answer.json()['id']}/content").content
    assert content == b"1\r\n--x\r\n"


_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
_PURPOSE = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\n",
        b"nonsense",
        _FILE,
        _PURPOSE,
        _PURPOSE + _FILE + b"\r\n",
        _PURPOSE + _FILE + b"\r\n--b",
        _PURPOSE + _FILE + b"\r\n" + _FILE + b"\r\n--b--\r\n",
        _PURPOSE * 40 + _FILE + b"\r\n--b--\r\n",
        _PURPOSE + b"--b\r\n" + b"x" * 20_000,
        _PURPOSE + b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\r\n--b--\r\n',
        _PURPOSE + b"--b\r\n\x00: \xff\r\n\r\nabc\r\n--b--\r\n",
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(http: httpx2.Client, store: Store, body: bytes) -> None:
    answer = http.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert not list((store.home / "blobs").rglob(".part-*"))


def test_bytes_that_are_not_jsonl_are_refused_with_every_line(client: openai.OpenAI) -> None:
    lines = [b'{"messages": []}', b"not json", b'{"a": NaN}', b"[]", b'{"a": 1, "a": 2}', b"\xff"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("t.jsonl", b"\n".join(lines)), purpose="fine-tune")
    assert caught.value.message.removeprefix("Error code: 400 - ").startswith(
        "Expected file to have JSONL format"
    )
    body: Any = caught.value.body
    assert [problem["line"] for problem in body["problems"]] == [2, 3, 4, 5, 6]
    assert all(problem["message"] and problem["remedy"] for problem in body["problems"])
    assert body["num_problems"] == 5


def test_only_the_first_hundred_bad_lines_are_listed_but_all_are_counted(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=b"oops\n" * 250, purpose="fine-tune")
    body: Any = caught.value.body
    assert (len(body["problems"]), body["num_problems"]) == (100, 250)


def test_what_would_fail_in_a_job_is_reported_before_one_is_started(http: httpx2.Client) -> None:
    data = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
    made = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", data)}).json()
    report = http.get(f"/v1/tailor/files/{made['id']}/report").json()
    assert not report["ok"]
    assert {problem["code"] for problem in report["problems"]} >= {
        "no_assistant_message",
        "invalid_n_examples",
    }


def test_result_files_are_plain_csv(client: openai.OpenAI, http: httpx2.Client, tuned: Job) -> None:
    import pandas

    content = client.files.content(tuned.result_files[0])
    assert content.response.headers["content-type"].startswith("text/csv")
    frame = pandas.read_csv(io.BytesIO(content.read()))
    assert frame["train_accuracy"].iloc[0] == 0.5
    with pytest.raises(ValueError):
        base64.b64decode(content.text, validate=True)


def test_content_is_never_shown_by_a_browser(http: httpx2.Client) -> None:
    page = b"<script>alert(1)</script>"
    form = {"file": ('x".html\r\nX-Evil: 1', page, "text/html")}
    made = http.post("/v1/files", data={"purpose": "user_data"}, files=form).json()
    answer = http.get(f"/v1/files/{made['id']}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-evil" not in answer.headers


def test_an_upload_sent_again_after_a_lost_answer_is_one_file(http: httpx2.Client) -> None:
    def send(count: str) -> str:
        form = {"file": ("again.jsonl", rows(14))}
        headers = {"x-stainless-retry-count": count}
        answer = http.post("/v1/files", data={"purpose": "fine-tune"}, files=form, headers=headers)
        return str(answer.json()["id"])

    first = send("0")
    assert send("1") == first
    assert send("0") != first
