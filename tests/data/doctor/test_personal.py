"""Personal data: forms with checksums, names by what stands around them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tailor.data.doctor.personal import find_personal, passes_iban, passes_luhn


def found_in(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in find_personal(text)]


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("write to jane.doe@corp.org, please", "email", "jane.doe@corp.org"),
        ("call +44 20 7946 0958 today", "phone", "+44 20 7946 0958"),
        ("text me on 07946095812", "phone", "07946095812"),
        ("card 4111 1111 1111 1111 expires", "card", "4111 1111 1111 1111"),
        ("to DE89 3704 0044 0532 0130 00 now", "iban", "DE89 3704 0044 0532 0130 00"),
        ("SSN 123-45-6789", "ssn", "123-45-6789"),
        ("from 8.8.8.8 at noon", "ip", "8.8.8.8"),
        ("at 12 Main Street in town", "address", "12 Main Street"),
        ("born on 12 May 1980 in", "birth_date", "12 May 1980"),
        ("key AKIAIOSFODNN7EXAMPLE here", "secret", "AKIAIOSFODNN7EXAMPLE"),
        ("my password is hunter2x.", "secret", "hunter2x"),
        ("postgres://app:s3cret@db/x", "secret", "s3cret"),
        ("met Dr. Xylander yesterday", "name", "Xylander"),
        ("I spoke with Maria Lopez about it", "name", "Maria Lopez"),
        ("Attendees: Zork Blarg, Quux Fnord", "name", "Zork Blarg"),
    ],
)
def test_what_is_personal_is_found(text: str, kind: str, what: str) -> None:
    assert (kind, what) in found_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-20 at 10:00",
        "order 370795561790",
        "call 555-0147, as in films",
        "write to someone@example.com",
        "version 1.2.3.4 is out",
        "48/2 = <<100-50-30-15=5>>5 clips",
        "$250,000 in Q3, 14400-10800=3600",
        "card 4111 1111 1111 1112",
        "the password is incorrect",
        "Morgan Stanley Bank in June",
        "Will this work in May?",
        "chapter 12 of the Street",
    ],
)
def test_what_only_looks_so_is_not(text: str) -> None:
    assert found_in(text) == []


def test_finds_do_not_overlap_and_come_in_order() -> None:
    text = "Jane Doe, jane@corp.org, +1 212 555 2368, card 4111-1111-1111-1111"
    spans = find_personal(text)
    assert [span.kind for span in spans] == ["name", "email", "phone", "card"]
    assert all(one.end <= other.start for one, other in pairwise(spans))


def test_checksums() -> None:
    assert passes_luhn("4111111111111111") and not passes_luhn("4111111111111112")
    assert passes_iban("GB82 WEST 1234 5698 7654 32") and not passes_iban("GB82 WEST 1234 5698 7654 33")


def test_a_long_hostile_text_is_read_in_time() -> None:
    for piece in (
        "A" * 50_000,
        "Aa " * 20_000,
        "1-" * 20_000,
        "a@" * 20_000,
        "-----BEGIN " * 5_000,
        "pass: " * 9_000,
    ):
        find_personal(piece)
