"""`GET /v1/tailor/files/{id}/report`: the doctor's word on an upload, as JSON and as a page."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest


def upload(http: httpx2.Client, rows: list[Any]) -> str:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    made = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("mails.jsonl", data)}).json()
    return str(made["id"])


def mails(count: int) -> list[Any]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"mail number {number * 7919 % 1009} about <b>{number}</b>"},
                {"role": "assistant", "content": ["spam", "order"][number % 2]},
            ]
        }
        for number in range(count)
    ]


def test_a_report_says_what_the_doctor_says(http: httpx2.Client) -> None:
    file = upload(http, [*mails(60), mails(1)[0]])
    report = http.get(f"/v1/tailor/files/{file}/report").json()
    assert report["object"] == "tailor.file_report"
    assert report["ok"]
    assert report["task"]["kind"] == "classification"
    assert report["tokens"]["context"] == 1024
    assert report["counts"]["duplicate"] == 1
    (copies,) = [finding for finding in report["findings"] if finding["code"] == "duplicate"]
    assert copies["lines"] == [61]
    assert copies["fix"] == "--drop-duplicates"
    assert report["figures"]["classes"]["num_labels"] == 2


def test_a_report_is_a_page_that_runs_nothing(http: httpx2.Client) -> None:
    answer = http.get(f"/v1/tailor/files/{upload(http, mails(60))}/report?format=html")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "mails.jsonl" in answer.text
    assert "<b>1</b>" not in answer.text


@pytest.mark.parametrize(
    "path", ["/v1/tailor/files/file-none/report", "/v1/tailor/files/file-none/report?format=html"]
)
def test_an_unknown_file_has_no_report(http: httpx2.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_an_unknown_format_is_refused(http: httpx2.Client) -> None:
    answer = http.get("/v1/tailor/files/file-none/report?format=pdf")
    assert answer.status_code == 400
    assert "format" in answer.json()["error"]["message"]
