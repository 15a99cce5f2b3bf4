"""The page: everything in it, nothing from elsewhere, nothing that a file says is more than text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tailor.data.report import Seen, page_of
from tests.data.doctor.making import answered, chat, diagnosed, labelled, question

HOSTILE = '<script>alert("x")</script><img src=http://evil/x> & " \' </svg>'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    rows = [
        *labelled(120),
        *labelled(5),
        chat(HOSTILE, "spam"),
        chat(HOSTILE + "!", "order"),
        chat("x", HOSTILE),
    ]
    html = page_of(diagnosed(rows))
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert "svg" in tags.seen
    assert not tags.seen & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|@import", html)


def test_every_line_that_is_linked_to_is_there() -> None:
    html = page_of(diagnosed([*answered(100), *answered(3)]))
    targets = set(re.findall(r'<tr id="L(\d+)">', html))
    told = set(re.findall(r'<td class="at"><a href="#L(\d+)">', html))
    assert told == {"101", "102", "103"} <= targets


def test_a_page_of_nothing_is_a_page() -> None:
    assert "must be mended" in page_of(diagnosed([]))


def test_what_is_seen_names_what_is_learnt_and_what_is_cut() -> None:
    words = ["<user>", " hi", "<assistant>", " yes", " sir", "<end>"]
    seen = Seen.of(
        range(6),
        [0, 0, 0, 1, 1, 1],
        decode=lambda ids: "".join(words[each] for each in ids),
        line=7,
        base="tiny",
        context=5,
    )
    assert (seen.num_learnt, seen.num_cut) == (2, 1)
    assert [texts for _, _, texts in seen.runs()] == [words[:3], words[3:5], words[5:]]
    html = page_of(diagnosed([chat(question(n), "spam") for n in range(20)]), seen=[seen])
    assert "Line 7: 6 tokens, 2 learnt, 1 cut off" in html
    assert '<i class="learnt cut">&lt;end&gt;</i>' in html


def test_a_character_of_several_tokens_is_shown_once() -> None:
    def decode(ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")

    seen = Seen.of("a\u00e9b".encode(), [1] * 4, decode=decode, line=1, base="bytes", context=10)
    assert [token.text for token in seen.tokens] == ["a", "", "\u00e9", "b"]
