"""Make the demo's emails: `python examples/emails/make.py` writes train.jsonl and held_out.jsonl beside it.

Each mail is a scenario (scenarios/*_<label>.txt, written by hand) in one of its wordings, dressed as people
write: greeting, small talk, details, thanks, signature, quoted thread, typos, by one of several kinds of
writer (scenarios/*_voice.json). Training and held-out mails have their own scenarios, wordings, greetings,
names, products and formats of numbers, so that the held-out figure is about mails nobody has seen.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

SCENARIOS = Path(__file__).parent / "scenarios"
LABELS = ("invoice", "order", "support", "spam")
SYSTEM_PROMPT = "Sort the email into one of: invoice, order, support, spam. Answer with the word alone."
MAILS_PER_LABEL = {"train": 300, "held_out": 60}
SEEDS = {"train": 20261120, "held_out": 20261121}

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One thing that people write about."""

    subjects: tuple[str, ...]
    wordings: tuple[str, ...]


@dataclass(frozen=True)
class Voice:
    """What the writers of one split say besides their scenarios, and what fills the slots."""

    greetings: list[str]
    openers: list[str]
    details: dict[str, list[str]]
    asides: list[str]
    thanks: list[str]
    angry: list[str]
    closings: list[str]
    signatures: list[str]
    quotes: list[str]
    spam_greetings: list[str]
    spam_asides: list[str]
    spam_closings: list[str]
    fills: dict[str, Any]


def read_voice(split: str) -> Voice:
    """The voice of a split."""
    common, own = (
        json.loads((SCENARIOS / f"{name}_voice.json").read_text(encoding="utf-8"))
        for name in ("common", split)
    )
    return Voice(**common, **own)


def read_scenarios(split: str, label: str) -> list[Scenario]:
    """The scenarios of a file: blocks of a line `@ subject | subject` and one line per wording."""
    blocks = (SCENARIOS / f"{split}_{label}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    scenarios = []
    for block in blocks:
        head, *wordings = block.split("\n")
        subjects = tuple(subject.strip() for subject in head.removeprefix("@").split("|"))
        scenarios.append(Scenario(subjects, tuple(wordings)))
    return scenarios


def fill(template: str, voice: Voice, random: Random) -> str:
    """Put a value into each `{slot}` of a template."""

    def value(found: re.Match[str]) -> str:
        if found[1] == "products":
            return slot_value(voice.fills["product"], random) + "s"
        return slot_value(voice.fills[found[1]], random)

    return re.sub(r"\{([a-z_]+)\}", value, template)


def slot_value(source: Any, random: Random) -> str:
    """A value from a list, a pattern (`#` a digit, `%` a letter), a form of date or amount, or a range."""
    if isinstance(source, list):
        return str(random.choice(source))
    if "pattern" in source:
        return re.sub(
            "[#%]",
            lambda found: random.choice("123456789" if found[0] == "#" else "ABCDEFGHKLMNPRSTW"),
            random.choice(source["pattern"]),
        )
    if "day" in source:
        form: str = random.choice(source["day"])
        return form.format(day=random.randint(1, 28), month=random.choice(MONTHS))
    whole = random.randint(source["from"], source["to"])
    if "amount" not in source:
        return str(whole)
    cents = random.choice([0, 0, 20, 50, 90, 99, random.randint(1, 99)])
    form = random.choice(source["amount"])
    return form.format(whole=whole, comma=f"{whole:,}", cents=f"{cents:02d}")


def write_mail(scenario: Scenario, wording: str, label: str, voice: Voice, random: Random) -> str:
    """One mail, by a writer drawn at random."""
    if random.random() < 0.4:
        wording = say_shortly(wording)
    details = random.sample(voice.details[label], random.choice([1, 1, 2]))
    wording = " ".join([wording, *details])
    if random.random() < 0.5:
        wording = reword(wording, random)
    body = write_spam(wording, voice, random) if label == "spam" else write_honest(wording, voice, random)
    subject = fill(random.choice(scenario.subjects), voice, random)
    if label == "spam":
        subject = subject.upper() if random.random() < 0.15 else subject
    else:
        subject = random.choice(["", "", "", "", "", "Re: ", "RE: ", "Fwd: ", "AW: "]) + subject
    head = f"Subject: {subject}\n\n" if random.random() < 0.93 else ""
    return (head + fill(body, voice, random)).strip()


def write_honest(wording: str, voice: Voice, random: Random) -> str:
    """The text of a mail that somebody means."""
    tone = random.choice(["polite", "polite", "curt", "angry", "chatty", "foreign", "corporate", "mobile"])
    text = [wording]
    if tone in ("polite", "chatty", "foreign") and random.random() < 0.2:
        text.insert(0, random.choice(voice.openers))
    if random.random() < {"curt": 0.05, "mobile": 0.1, "chatty": 0.3}.get(tone, 0.05):
        text.append(random.choice(voice.asides))
    if tone == "angry":
        text.append(random.choice(voice.angry))
    elif tone not in ("curt", "mobile") and random.random() < 0.6:
        text.append(random.choice(voice.thanks))
    body = random.choice([" ", " ", "\n"]).join(text)
    if tone == "mobile":
        body = body.lower() if random.random() < 0.7 else body
    if tone == "foreign":
        body = drop_articles(body, random)
    if tone == "angry" and random.random() < 0.4:
        body = body.replace(". ", "! ")
    if random.random() < {"mobile": 0.5, "foreign": 0.4}.get(tone, 0.1):
        body = misspell(body, random)
    if tone not in ("curt", "mobile") or random.random() < 0.3:
        body = f"{random.choice(voice.greetings)}\n{random.choice(['', chr(10)])}{body}"
    if random.random() < {"mobile": 0.4, "curt": 0.4}.get(tone, 0.85):
        named = random.choice(voice.signatures) if tone != "curt" else "{first}"
        body = f"{body}\n\n{random.choice(voice.closings)}\n{named}"
    if random.random() < 0.05:
        body = f"{body}\n\n{random.choice(voice.quotes)}"
    return body


def write_spam(wording: str, voice: Voice, random: Random) -> str:
    """The text of a mail that nobody asked for; most are dressed like honest ones."""
    if random.random() < 0.3:
        wording = f"{wording} {random.choice(voice.spam_asides)}"
    if random.random() < 0.65:
        return write_honest(wording, voice, random)
    body = wording.replace(". ", "!!! ") if random.random() < 0.3 else wording
    if random.random() < 0.8:
        body = f"{random.choice(voice.spam_greetings)}\n\n{body}"
    return f"{body}\n\n{random.choice(voice.spam_closings)}"


SHORT_FORMS = {
    "can not": "can't", "cannot": "can't", "do not": "don't", "does not": "doesn't",
    "did not": "didn't",
    "is not": "isn't", "was not": "wasn't", "I am": "I'm", "We have": "We've",
    "It is": "It's", "it is": "it's", "What is": "What's", "I would": "I'd", "We would": "We'd",
    "e-mail": "email", "parcel": "package", "Please": "Pls", "Thank you": "Thanks", "tomorrow": "tmrw",
}  # fmt: skip


def say_shortly(text: str) -> str:
    """As people write who are in a hurry."""
    for long, short in SHORT_FORMS.items():
        text = text.replace(long, short)
    return text


def read_synonyms() -> dict[str, list[str]]:
    """Words and what may stand in their place."""
    lines = (SCENARIOS / "synonyms.txt").read_text(encoding="utf-8").strip().split("\n")
    return {word: others.strip().split(", ") for word, others in (line.split(":") for line in lines)}


SYNONYMS = read_synonyms()
REWORDABLE = re.compile(
    r"(?<![{\w-])(?:" + "|".join(sorted(SYNONYMS, key=len, reverse=True)) + r")(?![}\w-])"
)


def reword(text: str, random: Random) -> str:
    """Some words replaced by others of much the same meaning; people do not all use the same ones."""
    return REWORDABLE.sub(
        lambda found: random.choice(SYNONYMS[found[0]]) if random.random() < 0.4 else found[0], text
    )


def drop_articles(text: str, random: Random) -> str:
    """As people write whose language has none."""
    return re.sub(r"\b(?:the|a|an) (?=\w)", lambda found: "" if random.random() < 0.4 else found[0], text)


def misspell(text: str, random: Random) -> str:
    """One to three typos: letters swapped, dropped or doubled inside longer words."""
    for _ in range(random.randint(1, 3)):
        found = random.choice(list(re.finditer(r"(?<![{\w])[a-z]{5,}(?![}\w])", text)) or [None])
        if found is None:
            return text
        place = random.randrange(found.start() + 1, found.end() - 1)
        pair = text[place : place + 2]
        changed = random.choice([pair[::-1], pair[0], pair[1], pair[0] + pair])
        text = text[:place] + changed + text[place + 2 :]
    return text


def make(split: str) -> list[tuple[str, str]]:
    """All mails of a split with their labels, shuffled; no mail twice."""
    random, voice = Random(SEEDS[split]), read_voice(split)  # noqa: S311  (the same mails each time)
    mails: dict[str, str] = {}
    for label in LABELS:
        scenarios = read_scenarios(split, label)
        random.shuffle(scenarios)
        wordings = {
            scenario: cycle(random.sample(scenario.wordings, len(scenario.wordings)))
            for scenario in scenarios
        }
        written: list[str] = []
        for scenario in cycle(scenarios):
            mail = write_mail(scenario, next(wordings[scenario]), label, voice, random)
            if mail not in mails:
                mails[mail] = label
                written.append(mail)
            if len(written) == MAILS_PER_LABEL[split]:
                break
    rows = list(mails.items())
    random.shuffle(rows)
    return rows


def templates(split: str) -> list[str]:
    """Every hand-written text of a split, slots unfilled."""
    voice = read_voice(split)
    texts = [
        text
        for label in LABELS
        for scenario in read_scenarios(split, label)
        for text in (*scenario.subjects, *scenario.wordings)
    ]
    details = [detail for label in LABELS for detail in voice.details[label]]
    return [*texts, *details, *voice.spam_asides]


def to_jsonl(rows: list[tuple[str, str]]) -> str:
    """The mails as a training file."""
    lines = []
    for mail, label in rows:
        messages = [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": mail},
            {"role": "assistant", "content": label},
        ]
        lines.append(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return "".join(lines)


if __name__ == "__main__":
    for name in MAILS_PER_LABEL:
        (SCENARIOS.parent / f"{name}.jsonl").write_text(to_jsonl(make(name)), encoding="utf-8", newline="\n")
