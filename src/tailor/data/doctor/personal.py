"""Personal data and secrets in a text: patterns with checksums, and names of people.

Patterns find what has a form: addresses, numbers, keys. Names have none; they are found by given names and
by what stands around them, which misses rare ones and cannot tell a customer from Sherlock Holmes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, advice, finding
from tailor.data.doctor.given_names import NOT_SURNAMES, OPENERS, PLAIN, WITH_SURNAME
from tailor.data.doctor.options import Options
from tailor.data.problems import lines_in_words

Kind = Literal["secret", "card", "iban", "email", "phone", "ssn", "ip", "address", "birth_date", "name"]

NOUNS: Final[dict[Kind, str]] = {
    "secret": "keys or passwords",
    "card": "card numbers",
    "iban": "bank accounts (IBAN)",
    "email": "e-mail addresses",
    "phone": "telephone numbers",
    "ssn": "social security numbers",
    "ip": "IP addresses",
    "address": "street addresses",
    "birth_date": "dates of birth",
    "name": "names of people",
}
"""Each kind in the words of a report; the order is by how much harm it does."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a piece of personal data stands in a text."""

    kind: Kind
    """What it is."""

    start: int
    """Index of its first character."""

    end: int
    """Index after its last character."""


def find_personal(text: str) -> list[Span]:
    """Everything personal in a text, in order and without overlaps; the more harmful kind wins."""
    lowered = text.lower()
    has_digit = _DIGIT.search(text) is not None
    found = [
        Span(search.kind, start, end)
        for search in _SEARCHES
        if (has_digit or not search.needs_digit)
        and (not search.cues or any(cue in lowered for cue in search.cues))
        for start, end in search.find(text)
    ]
    if len(found) < 2:
        return found
    kept: list[Span] = []
    taken = bytearray(len(text))
    for span in found:
        if not any(taken[span.start : span.end]):
            taken[span.start : span.end] = b"\1" * (span.end - span.start)
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


Place = tuple[int, int]

_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\b(?:sk|rk|pk)[-_](?:live_|test_|proj-|ant-)?[A-Za-z0-9_-]{20,200}"
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{36,200}|github_pat_[A-Za-z0-9_]{30,200}|glpat-[A-Za-z0-9_-]{20,100})"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,200}"
    r"|\bAIza[0-9A-Za-z_-]{35}"
    r"|\bhf_[A-Za-z]{30,60}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}"
)
_URL_PASSWORD: Final = re.compile(r"://[^\s/:@]{1,64}:([^\s/@]{1,128})@[\w.-]")
_GIVEN_SECRET: Final = re.compile(
    r"\b(?:password|passwd|passcode|pwd|api[ _-]?key|secret(?:[ _-]key)?|access[ _-]token|auth[ _-]?token)"
    r"\b[\"']?(?:\s*[:=]\s*|\s+is:?\s+)[\"']?([^\s\"',;]{6,128})",
    re.IGNORECASE,
)
_CARD_OR_PHONE: Final = re.compile(
    r"(?<![\w.,$€£])[+(]{0,2}\d(?:[ ().-]{0,2}\d){6,18}(?!\w|[.,]\d|\s?[=*/%])"
)
_NOT_A_PHONE: Final = re.compile(
    r"(?:19|20)\d\d[-. ]\d\d?[-. ]\d\d?(?:\D|$)|\d\d?[-. ]\d\d?[-. ](?:19|20)\d\d(?:\D|$)"
    r"|\d{1,3}(?:\.\d{1,3}){3}$"
)
_PHONE_CUE: Final = re.compile(
    r"\b(?:call|phone|telephone|tel|txt|text|fax|mobile|mob|cell|whatsapp|sms|ring|dial"
    r"|reach(?:ed)? (?:me )?(?:at|on))\b[^\d\n]{0,25}$",
    re.IGNORECASE,
)
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[\w][\w.+'%-]{0,63}@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8})(?![\w-])"
)
_RESERVED_DOMAIN: Final = re.compile(r"(?:^|\.)(?:example(?:\.\w+)?|test|invalid|localhost)$", re.IGNORECASE)
_SSN: Final = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
_IP: Final = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\d)"
    r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"
)
_NOT_AN_IP: Final = re.compile(r"(?:version|release|section|chapter|v)\W{0,2}$", re.IGNORECASE)
_ADDRESS: Final = re.compile(
    r"\b\d{1,5}[A-Za-z]? (?:(?:N|S|E|W|North|South|East|West)\.? )?(?:[A-Z][A-Za-z'-]+ ){1,3}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Terrace|Crescent|Highway|Hwy"
    r"|Square)\b"
    r"|\b[A-Z][a-z]+(?:stra(?:\u00df|ss)e|weg|platz|gasse) \d{1,4}[a-z]?\b"
    r"|\b(?:P\.? ?O\.?|Post Office) Box \d+\b"
)
_BIRTH: Final = re.compile(
    r"\b(?:born(?: on)?|date of birth|d\.?o\.?b\.?|birth ?(?:day|date))\W{0,4}(?:is |was |on )?"
    r"((?:\d{1,4}[-./ ]\d{1,2}[-./ ]\d{1,4})|(?:\d{1,2}(?:st|nd|rd|th)? )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug"
    r"|Sep|Oct|Nov|Dec)[a-z]*\.? \d{1,4}(?:st|nd|rd|th)?(?:,? \d{4})?)",
    re.IGNORECASE,
)
_SURNAME: Final = r"[A-Z](?:[a-z\u00df-\u00ff]+|['\u2019][A-Z][a-z]+)(?:-[A-Z][a-z]+|[A-Z][a-z]+)?"
_TITLED: Final = re.compile(
    rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Herr|Frau)\b\.? (?:[A-Z]\. )?"
    rf"({_SURNAME}(?: [A-Z]\.)?(?: {_SURNAME})?)"
)
_CALLED: Final = re.compile(
    rf"\b(?:[Mm]y name is|[Mm]y name's|[Tt]his is|I am|I'm|[Ss]igned,?|[Rr]egards,|[Ss]incerely,|[Ll]ove,)\s+"
    rf"({_SURNAME} {_SURNAME})\b"
)
_LISTED: Final = re.compile(
    r"\b(?:[Cc]ontact(?: [Pp]erson)?|[Mm]anager|[Aa]ttendees|[Pp]resent|[Pp]articipants|[Rr]eviewer"
    r"|[Ee]mployee(?: [Nn]ame)?|[Nn]ame|[Pp]atient|[Cc]ustomer [Nn]ame|[Rr]epresentative|[Ss]upervisor"
    r"|[Aa]uthor|CEO|CFO|CTO)\s*: *"
    rf"((?:{_SURNAME}(?: [A-Z]\.)?(?: {_SURNAME}){{1,2}}(?: \([^)\n]{{1,40}}\))?(?:, |; | and |,? ?&? ?))+)"
)
_FULL_NAME: Final = re.compile(rf"{_SURNAME}(?: [A-Z]\.)?(?: {_SURNAME}){{1,2}}")
_CAPITALS: Final = re.compile(
    rf"(?<![\w@/.-])[A-Z][a-z\u00df-\u00ff]+(?:(?: [A-Z]\.)?(?: {_SURNAME})+)?(?![\w@])"
)
_DIGIT: Final = re.compile(r"[0-9]")
_NAMES: Final = PLAIN | WITH_SURNAME
_WORD_IN_CAPITAL: Final = re.compile(r"[A-Z][a-z\u00df-\u00ff]+")
_CAPITAL: Final = re.compile(r"[A-Z][a-z]")
_POSSESSIVE: Final = re.compile(r"['\u2019]s$")


def _secrets(text: str) -> Iterator[Place]:
    for found in _SECRETS.finditer(text):
        if found[0].startswith("-----") or any(letter.isdigit() for letter in found[0]):
            yield found.span()
    for found in _URL_PASSWORD.finditer(text):
        yield found.span(1)
    for found in _GIVEN_SECRET.finditer(text):
        value = found[1].rstrip(".)")
        # "the password is incorrect" is a sentence; a password mixes kinds of characters.
        if any(letter.isdigit() for letter in value) and any(letter.isalpha() for letter in value):
            yield found.start(1), found.start(1) + len(value)


def _cards(text: str) -> Iterator[Place]:
    for found in _CARD_OR_PHONE.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if 13 <= len(digits) <= 19 and passes_luhn(digits):
            yield found.span()


def _phones(text: str) -> Iterator[Place]:
    for found in _CARD_OR_PHONE.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if len(digits) <= 15 and _looks_like_telephone(found[0], digits, text[: found.start()][-40:]):
            yield found.span()


def _looks_like_telephone(written: str, digits: str, before: str) -> bool:
    """Telephone numbers are written in groups; plain digits are more often orders or invoices."""
    # 555-0100 to 555-0199 belong to films and examples.
    if _NOT_A_PHONE.match(written) or digits[-7:-2] == "55501" or before.endswith(("<", "=", "*", "/")):
        return False
    groups = [len(group) for group in re.findall(r"\d+", written)]
    is_grouped = len(digits) >= 9 and len(groups) >= 3 and max(groups) <= 5 and min(groups[1:]) >= 2
    return written.startswith("+") or is_grouped or bool(_PHONE_CUE.search(before))


def passes_luhn(digits: str) -> bool:
    """Whether the check digit is that of a payment card (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    single = [int(digit) for digit in digits[-1::-2]]
    return digits[0] in "3456" and sum(single + [value - 9 * (value > 9) for value in doubled]) % 10 == 0


def passes_iban(written: str) -> bool:
    """Whether the check digits are those of an IBAN (ISO 13616: the number is 1 modulo 97)."""
    letters = written.replace(" ", "")
    if not 15 <= len(letters) <= 34:
        return False
    return int("".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])) % 97 == 1


def _ibans(text: str) -> Iterator[Place]:
    return (found.span() for found in _IBAN.finditer(text) if passes_iban(found[0]))


def _emails(text: str) -> Iterator[Place]:
    return (found.span() for found in _EMAIL.finditer(text) if not _RESERVED_DOMAIN.search(found[1]))


def _ips(text: str) -> Iterator[Place]:
    for found in _IP.finditer(text):
        if not found[0].startswith(("0.", "127.")) and not _NOT_AN_IP.search(text[: found.start()][-12:]):
            yield found.span()


def _names(text: str) -> Iterator[Place]:
    if not _CAPITAL.search(text):
        return
    for found in _TITLED.finditer(text):
        yield found.span(1)
    for found in _CALLED.finditer(text):
        if not _is_other(found[1]):
            yield found.span(1)
    for found in _LISTED.finditer(text) if ":" in text else ():
        for name in _FULL_NAME.finditer(found[1]):
            if not _is_other(name[0]):
                yield found.start(1) + name.start(), found.start(1) + name.end()
    if not _NAMES.isdisjoint(_WORD_IN_CAPITAL.findall(text)):
        for found in _CAPITALS.finditer(text):
            yield from _given_names(found[0], found.start())


def _given_names(capitals: str, start: int) -> Iterator[Place]:
    """Within words in capitals, from the first given name on: `Hello Jane Doe` holds `Jane Doe`."""
    words = _POSSESSIVE.sub("", capitals).split(" ")
    position = start
    for index, word in enumerate(words):
        surname = words[index + 1] if index + 1 < len(words) else None
        if surname is not None and len(surname) == 2 and index + 2 < len(words):
            surname = words[index + 2]
        if word in PLAIN or word in WITH_SURNAME:
            if surname is not None and surname not in NOT_SURNAMES and words[-1] not in NOT_SURNAMES:
                yield position, start + len(" ".join(words[: min(len(words), index + 3)]))
                return
            alone = surname is None and word in PLAIN and word not in WITH_SURNAME
            if alone and all(before in OPENERS for before in words[:index]):
                yield position, position + len(word)
                return
        position += len(word) + 1


def _is_other(name: str) -> bool:
    return any(word in NOT_SURNAMES for word in name.split(" "))


def _places(pattern: re.Pattern[str], group: int = 0) -> Callable[[str], Iterator[Place]]:
    return lambda text: (found.span(group) for found in pattern.finditer(text))


@dataclass(frozen=True, slots=True)
class _Search:
    """How one kind is looked for, and what a text must hold for the look to be worth its time."""

    kind: Kind
    find: Callable[[str], Iterator[Place]]
    cues: tuple[str, ...] = ()
    needs_digit: bool = True


_SECRET_CUES: Final = (
    *("-----begin", "akia", "asia", "sk-", "sk_", "rk_", "pk_", "pk-", "gh", "glpat", "xox", "aiza", "hf_"),
    *("eyj", "://", "pass", "pwd", "key", "secret", "token"),
)
_SEARCHES: Final = (
    _Search("secret", _secrets, _SECRET_CUES, needs_digit=False),
    _Search("card", _cards),
    _Search("iban", _ibans),
    _Search("email", _emails, ("@",), needs_digit=False),
    _Search("ssn", _places(_SSN), ("-",)),
    _Search("ip", _ips, (".", ":")),
    _Search("address", _places(_ADDRESS)),
    _Search("birth_date", _places(_BIRTH, 1), ("born", "birth", "dob", "d.o.b")),
    _Search("phone", _phones),
    _Search("name", _names, needs_digit=False),
)
"""Every kind, the most harmful first."""


def kinds_of(text: str) -> int:
    """Which kinds a text holds, as bits by their place in `NOUNS`."""
    return sum({1 << _PLACES[span.kind] for span in find_personal(text)})


def find_personal_data(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Addresses, numbers and keys, which a tuned model may repeat: counted, not judged."""
    yield from _kinds_in(
        corpus,
        "secret",
        "Keys and passwords",
        ("secret",),
        "Whoever asks the tuned model the right question gets them; and they are in every copy of this file.",
        30,
    )
    kinds: tuple[Kind, ...] = ("card", "iban", "email", "phone", "ssn")
    yield from _kinds_in(corpus, "personal_data", "Personal data", kinds, _REPEATED, 5)


def find_places(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Where people live, when they were born, what they connect from."""
    kinds: tuple[Kind, ...] = ("address", "birth_date", "ip")
    yield from _kinds_in(corpus, "personal_places", "Addresses and birth dates", kinds, _REPEATED, 3)


def _kinds_in(
    corpus: Corpus, code: str, title: str, kinds: tuple[Kind, ...], why: str, badness: float
) -> Iterator[Evidence]:
    problems, every = [], set[int]()
    for kind in kinds:
        places = np.flatnonzero(corpus.facts.personal & (1 << _PLACES[kind]))
        if len(places):
            lines = corpus.lines(places)
            every.update(lines)
            holds = "example holds" if len(lines) == 1 else "examples hold"
            said = f"{len(lines):,} {holds} {NOUNS[kind]} ({lines_in_words(lines)})."
            problems.append(advice(None, code, said, _REMEDY))
    yield from finding(
        problems,
        title=title,
        message=" ".join(problem.message.rsplit(" (", 1)[0] + "." for problem in problems),
        why=why,
        remedy=_REMEDY,
        total=len(corpus),
        lines=every,
        badness=badness,
    )


def find_names(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Names of people; in stories and arithmetic they mean nobody, in mails and notes they do."""
    places = np.flatnonzero(corpus.facts.personal & (1 << _PLACES["name"]))
    if len(places):
        lines = corpus.lines(places)
        said = f"{len(lines):,} of {len(corpus):,} examples name people ({lines_in_words(lines)})."
        remedy = "If they are real people, replace the names by made-up ones."
        yield from finding(
            [advice(None, "personal_names", said, remedy)],
            title="Names of people",
            message=f"{len(lines):,} of {len(corpus):,} examples name people.",
            why="A name that comes with facts about its bearer can be repeated with them.",
            remedy=remedy,
            total=len(corpus),
            lines=lines,
            badness=0.5,
        )


_PLACES: Final = {kind: place for place, kind in enumerate(NOUNS)}
_REMEDY: Final = "Replace them by made-up ones unless the model must know them."
_REPEATED: Final = "A tuned model can repeat what it saw, to people who should not see it."
