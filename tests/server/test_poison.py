"""Values that break careless servers, in every field: always a 4xx in the envelope, never a 500."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from openai.types import FileObject

MARK = "@@POISON@@"

HARMLESS = frozenset(
    {
        "\\u2028",
        "rtl",
        "emoji",
        "html",
        "sql",
        "path",
        "template",
        "format",
        "prototype",
        "url",
        "crlf",
        "bom in text",
    }
)
"""Odd text that is legal where text is legal: a 200 is right there."""

TEXTS: dict[str, str] = {
    "\\u2028": '"a\\u2028b"',
    "rtl": '"\\u202eabc"',
    "emoji": '"\\ud83d\\ude00"',
    "html": '"<script>alert(1)</script>"',
    "sql": '"\'; DROP TABLE jobs; --"',
    "path": '"../../../etc/passwd"',
    "template": '"{{ 7*7 }}{% raw %}"',
    "format": '"%s%n{0}{__class__}"',
    "prototype": '"__proto__"',
    "url": '"http://169.254.169.254/"',
    "crlf": '"a\\r\\nX-Evil: 1"',
    "bom in text": '"\\ufeff"',
    "NUL": '"a\\u0000b"',
    "NUL byte": '"a\0b"',
    "lone high": '"\\ud800"',
    "lone low": '"\\udc00"',
    "swapped pair": '"\\udc00\\ud800"',
    "truncated escape": '"\\u12"',
    "bad escape": '"\\x41"',
    "raw newline": '"a\nb"',
    "raw tab": '"a\tb"',
    "very long": '"' + "x" * 600_000 + '"',
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "1e999": "1e999",
    "-1e999": "-1e999",
    "2**63": str(2**63),
    "-2**63-1": str(-(2**63) - 1),
    "2**64": str(2**64),
    "2**1000": str(2**1000),
    "5000 digits": "9" * 5000,
    "many decimals": "0." + "3" * 5000,
    "huge exponent": "1e" + "9" * 50,
    "leading zero": "007",
    "hexadecimal": "0x10",
    "plus": "+1",
    "bare dot": ".5",
    "true": "true",
    "false": "false",
    "True": "True",
    "undefined": "undefined",
    "nothing": "",
    "minus one": "-1",
    "minus zero": "-0.0",
    "half": "0.5",
    "empty list": "[]",
    "empty object": "{}",
    "list of lists": "[[]]",
    "list of null": "[null]",
    "object of null": '{"a": null}',
    "deep list": "[" * 33 + "]" * 33,
    "very deep list": "[" * 100_000 + "]" * 100_000,
    "unclosed": "[" * 50_000,
    "deep object": '{"a":' * 40 + "1" + "}" * 40,
    "duplicate keys": '{"a": 1, "a": 2}',
    "many keys": json.dumps({str(n): "x" for n in range(5000)}),
    "single quotes": "'a'",
    "trailing comma": "[1,]",
    "comment": "/* a */ 1",
    "two values": "1 2",
    "unquoted": "abc",
    "empty key": '{"": 1}',
    "NUL key": '{"\\u0000": 1}',
    "lone key": '{"\\ud800": 1}',
    "proto": '{"__proto__": {"admin": true}}',
}

JOB_FIELDS = (
    "model",
    "training_file",
    "validation_file",
    "suffix",
    "seed",
    "metadata",
    "metadata.k",
    "method",
    "method.type",
    "method.supervised",
    "method.supervised.hyperparameters",
    "method.supervised.hyperparameters.n_epochs",
    "method.supervised.hyperparameters.batch_size",
    "method.supervised.hyperparameters.learning_rate_multiplier",
    "hyperparameters",
    "integrations",
    "tailor",
    "tailor.adapter",
    "tailor.adapter.rank",
    "tailor.learning_rate",
    "tailor.hold_out",
    "some_unknown_field",
)
CHAT_FIELDS = (
    "model",
    "messages",
    "temperature",
    "top_p",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "stream",
    "stream_options",
    "store",
    "metadata",
    "tools",
    "tool_choice",
    "functions",
    "response_format",
    "user",
    "modalities",
)


def with_poison(body: dict[str, Any], field: str, poison: str) -> bytes:
    """The body as JSON text, with the field's value written as it is."""
    copy = json.loads(json.dumps(body))
    target = copy
    *parents, last = field.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = MARK
    text = json.dumps(copy).replace(f'"{MARK}"', poison)
    return text.encode("utf-8", "surrogatepass")


def post(http: httpx2.Client, path: str, body: bytes) -> httpx2.Response:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    if answer.status_code >= 400:
        assert answer.json()["error"].keys() >= {"message", "type", "param", "code"}
    return answer


@pytest.mark.parametrize("poison", TEXTS)
def test_no_value_in_a_job_breaks_the_server(
    http: httpx2.Client, training_file: FileObject, poison: str
) -> None:
    body = {"model": "gpt-4o-mini", "training_file": training_file.id}
    for field in JOB_FIELDS:
        answer = post(http, "/v1/fine_tuning/jobs", with_poison(body, field, TEXTS[poison]))
        assert answer.status_code < 500, (field, answer.text)
        if answer.status_code == 200:
            job = answer.json()["id"]
            assert http.get(f"/v1/fine_tuning/jobs/{job}").status_code == 200
            assert http.get(f"/v1/fine_tuning/jobs/{job}/events").status_code == 200


@pytest.mark.parametrize("poison", TEXTS)
def test_no_value_in_a_chat_breaks_the_server(http: httpx2.Client, poison: str) -> None:
    body = {"model": "tailor-mini-2", "messages": [{"role": "user", "content": "a"}]}
    for field in CHAT_FIELDS:
        bounded = body if field.startswith("max_") else body | {"max_tokens": 1}
        answer = post(http, "/v1/chat/completions", with_poison(bounded, field, TEXTS[poison]))
        assert answer.status_code < 500, (field, answer.text)


@pytest.mark.parametrize("poison", sorted(TEXTS.keys() - HARMLESS - {"-0.0"}))
def test_poison_is_refused_where_text_is_wanted(
    http: httpx2.Client, training_file: FileObject, poison: str
) -> None:
    body = {"model": "gpt-4o-mini", "training_file": training_file.id}
    if poison != "very long":
        answer = post(http, "/v1/fine_tuning/jobs", with_poison(body, "metadata.k", TEXTS[poison]))
        assert answer.status_code == 400
    for field in ("model", "training_file", "suffix"):
        answer = post(http, "/v1/fine_tuning/jobs", with_poison(body, field, TEXTS[poison]))
        assert answer.status_code == 400, field


@pytest.mark.parametrize(
    "poison",
    [
        "NaN",
        "Infinity",
        "1e999",
        "2**63",
        "2**1000",
        "5000 digits",
        "true",
        "NUL",
        "lone high",
        "very deep list",
        "duplicate keys",
        "minus one",
        "half",
        "html",
    ],
)
def test_poison_is_refused_where_a_whole_number_is_wanted(http: httpx2.Client, poison: str) -> None:
    body = {"model": "tailor-mini-2", "messages": [{"role": "user", "content": "a"}]}
    for field in ("n", "max_tokens", "top_logprobs"):
        answer = post(http, "/v1/chat/completions", with_poison(body, field, TEXTS[poison]))
        assert answer.status_code == 400, field


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"1",
        b"[]",
        b'"x"',
        b"{",
        b"\xff\xfe{}",
        b"{}\x00",
        b'{"a":\xff}',
        b"{}{}",
        b'{"model":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/fine_tuning/jobs", "/v1/chat/completions", "/v1/chat/completions/x"])
def test_a_body_that_is_no_object_is_refused(http: httpx2.Client, path: str, raw: bytes) -> None:
    assert post(http, path, raw).status_code == 400


@pytest.mark.parametrize("key", ["\0", "\x01", "a" * 3000, "é\r\n", "x; y"])
def test_odd_idempotency_keys_break_nothing(http: httpx2.Client, training_file: FileObject, key: str) -> None:
    body = {"model": "gpt-4o-mini", "training_file": training_file.id}
    try:
        answer = http.post("/v1/fine_tuning/jobs", json=body, headers={"idempotency-key": key})
    except (httpx2.LocalProtocolError, UnicodeEncodeError):
        return  # the client itself refuses to send it
    assert answer.status_code < 500
