"""Make the demo's emails: `python examples/emails/make.py` writes train.jsonl and held_out.jsonl beside it.

Each mail is a scenario (scenarios/*.txt, written by hand) in one of its wordings, dressed as people write:
greeting, small talk, thanks, signature, quoted thread, typos, by one of several kinds of writer. Training
and held-out mails have their own scenarios, wordings, greetings, signatures, names, products and formats of
numbers, so that the held-out figure says something about mails nobody has seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Literal

HERE = Path(__file__).parent
LABELS = ("invoice", "order", "support", "spam")
SYSTEM_PROMPT = "Sort the email into one of: invoice, order, support, spam. Answer with the word alone."
MAILS_PER_LABEL = {"train": 150, "held_out": 60}
SEEDS = {"train": 20261120, "held_out": 20261121}

Split = Literal["train", "held_out"]
Fill = Callable[[Random], str]


@dataclass(frozen=True)
class Scenario:
    """One thing that people write about."""

    subjects: tuple[str, ...]
    wordings: tuple[str, ...]


@dataclass(frozen=True)
class Voice:
    """What one split says besides its scenarios."""

    greetings: tuple[str, ...]
    openers: tuple[str, ...]
    asides: tuple[str, ...]
    thanks: tuple[str, ...]
    angry: tuple[str, ...]
    closings: tuple[str, ...]
    signatures: tuple[str, ...]
    quotes: tuple[str, ...]
    spam_greetings: tuple[str, ...]
    spam_asides: tuple[str, ...]
    spam_closings: tuple[str, ...]
    fills: dict[str, tuple[str, ...] | Fill]


def read_scenarios(split: Split, label: str) -> list[Scenario]:
    """The scenarios of a file: blocks of a line `@ subject | subject` and one line per wording."""
    blocks = (HERE / "scenarios" / f"{split}_{label}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    scenarios = []
    for block in blocks:
        head, *wordings = block.split("\n")
        subjects = tuple(subject.strip() for subject in head.removeprefix("@").split("|"))
        scenarios.append(Scenario(subjects, tuple(wordings)))
    return scenarios


def _amount(forms: tuple[str, ...], low: int, high: int) -> Fill:
    def fill(random: Random) -> str:
        whole, cents = random.randint(low, high), random.choice([0, 0, 20, 50, 90, 99, random.randint(1, 99)])
        return random.choice(forms).format(whole=whole, comma=f"{whole:,}", cents=f"{cents:02d}")

    return fill


def _pattern(*forms: str) -> Fill:
    """Fill `#` with digits and `%` with capital letters."""

    def fill(random: Random) -> str:
        def character(found: re.Match[str]) -> str:
            return random.choice("123456789" if found[0] == "#" else "ABCDEFGHKLMNPRSTW")

        return re.sub("[#%]", character, random.choice(forms))

    return fill


def _days(*forms: str) -> Fill:
    def fill(random: Random) -> str:
        return random.choice(forms).format(day=random.randint(1, 28), month=random.choice(MONTHS))

    return fill


def _numbers(low: int, high: int) -> Fill:
    return lambda random: str(random.randint(low, high))


MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

TRAIN = Voice(
    greetings=(
        "Hello,", "Hi,", "Dear Sir or Madam,", "Good morning,", "Hello {company} team,", "Dear {name},",
        "Hi {first},", "hello", "Hi all,", "Dear customer service,", "Ladies and gentlemen,",
    ),
    openers=(
        "I hope you are well.", "Thanks for your quick reply last time.", "Sorry to bother you again.",
        "I am writing to you because I could not reach anybody by phone.", "Just a short question.",
        "It has been a while since we spoke, hope business is good.", "Maybe you can help me.",
        "I was told to write to this address.", "First of all a happy new year to your team!",
        "Please forgive my English.", "I am not sure if I am right here.",
        "My wife told me to write to you, so here I am.", "As discussed on the phone:",
    ),
    asides=(
        "By the way, the {product} from our last order works very well.",
        "The delivery itself was fast, thank you for that.",
        "Otherwise I am happy with you, also with the technical support.",
        "My question about the other invoice has been answered, this is something else.",
        "Please do not send me advertising, I get enough of it.",
        "Your colleague from the order desk said that you would know.",
        "I already told your support hotline, but they sent me to you.",
        "I looked for it in my account on your website but found nothing.",
        "I do not need a refund, only an answer.", "The order number is {order}, if that helps.",
        "Our customer number is {number}.", "I bought it in your shop in {city}.",
        "We had a similar case in {month}.", "I can send photos if you need them.",
        "You find the old invoice attached, so that you know who I am.",
        "The {product} was paid at once, as always.", "I am on holiday from {weekday}.",
        "I did write to you on {date}, but maybe the mail got lost.",
    ),
    thanks=(
        "Thank you very much.", "Thanks in advance for your help.", "Please let me know.",
        "I am looking forward to your answer.", "Many thanks!", "Please answer soon.", "Thanks a lot",
        "Please confirm by mail.", "It would be nice to hear from you this week.", "Could you check this? Thank you.",
    ),
    angry=(
        "This is unacceptable!", "I am really disappointed.", "How hard can it be?!",
        "I expect an answer today.", "If nothing happens I will tell everybody about it.", "I am losing my patience.",
    ),
    closings=("Best regards", "Kind regards,", "Greetings", "Yours sincerely", "Thanks,", "Regards", "Bye", "Cheers,"),
    signatures=(
        "{name}\n{company}\n{city}", "{name}", "{first}", "{name}\nPurchasing\n{company}", "{first}\n\nSent from my phone",
        "{name} | {company} | Tel. 555-01{week}", "{name}\nHead of office\n{company}, {street}, {city}", "",
        "{name}\n{company}\nThis e-mail may contain confidential information.",
    ),
    quotes=(
        "On {date}, {name} wrote:\n> Thank you for your message. We will get back to you as soon as possible.",
        "-----Original message-----\nFrom: {name}\nSubject: Your request\n\nHow can we help you?",
        "> Dear customer, we have received your mail and\n> passed it on to the department in charge.",
        "On {weekday} {name} wrote:\n> can you take care of this please?",
    ),
    spam_greetings=(
        "Dear friend,", "Hello dear,", "Hi there!", "Dear Sir or Madam,", "Dear valued customer,", "Attention:",
        "Hello,", "Good day Sir,", "Hi {first},", "Dear business owner,", "HELLO!!!",
    ),
    spam_asides=(
        "This is a limited offer.", "You receive this message because you are on our list.",
        "This is not spam.", "Act fast, places are limited.", "100% legal and safe.",
        "Please excuse my direct approach.", "Reference: {order}", "Do not delay!", "See for yourself: {link}",
        "If this is not for you, please forward it to the right person in your company.",
    ),
    spam_closings=(
        "{first}, sales team", "Best regards\n{name}\nMarketing manager", "Click {link}", "Yours faithfully\nMr. {name}",
        "Thanks & regards\n{first}", "The {brand} team", "Customer care\nDo not answer this e-mail", "",
        "To stop these mails reply STOP", "Kind regards,\n{name}", "{first} {week}, online now",
    ),
    fills={
        "name": (
            "Anna Becker", "John Miller", "Maria Rossi", "Peter Novak", "Li Wei", "Fatima Khan", "Tom Olsen",
            "Sophie Martin", "Carlos Ruiz", "Emma Clark", "Jan de Vries", "Aisha Bello", "Mark Turner",
            "Ingrid Berg", "Paul Schmitt", "Nina Petrova",
        ),
        "first": ("Anna", "John", "Maria", "Peter", "Wei", "Tom", "Sophie", "Carlos", "Emma", "Jan", "Nina", "Mark"),
        "company": (
            "Northwind Ltd", "Becker & Sons", "Blue Door Hotel", "Miller Dental", "Alpine Tools GmbH", "City Bakery",
            "Green Leaf Garden Centre", "Harbour Logistics", "Sunny Days Nursery", "Turner Law Office",
        ),
        "product": (
            "coffee machine", "desk lamp", "office chair", "water filter", "garden hose", "toaster", "label printer",
            "rain jacket", "wireless speaker", "electric kettle", "cordless drill", "steam iron", "air cleaner",
            "kitchen scale", "mixer", "bookcase", "heater", "dishwasher",
        ),
        "city": ("Leeds", "Hamburg", "Lyon", "Denver", "Milan", "Bergen", "Porto", "Dublin"),
        "street": ("12 Mill Lane", "Station Road 5", "48 King Street", "Gartenweg 9"),
        "brand": ("Megamart", "SuperPhone", "Shoply"),
        "invoice": _pattern("INV-#####", "#######", "no. ####", "%%-####-##", "2026-####"),
        "order": _pattern("#######", "#####-#", "A#####", "PO ######"),
        "number": _numbers(3, 90),
        "week": _numbers(10, 48),
        "code": _pattern("E##", "0x###", "error ###", "5##", "%###"),
        "amount": _amount(("€{whole}.{cents}", "{comma}.{cents} EUR", "${whole}", "{whole} euro"), 40, 4200),
        "small_amount": _amount(("€{whole}.{cents}", "{whole} euro", "${whole}.{cents}"), 5, 90),
        "tiny_amount": _amount(("€{whole}.{cents}", "${whole}.{cents}"), 1, 4),
        "big_amount": _amount(("${whole},000,000", "{whole} million dollars", "€{whole}00,000"), 2, 9),
        "date": _days("{day} {month}", "{month} {day}", "{day}. {month}"),
        "month": MONTHS,
        "weekday": WEEKDAYS,
        "link": (
            "http://claim-now.example/x1", "www.best-deals.example", "http://secure-login.example/verify",
            "https://bit.example/9fK2", "http://track-parcel.example",
        ),
    },
)  # fmt: skip

HELD_OUT = Voice(
    greetings=(
        "Hey,", "Good day,", "Hi there,", "To whom it may concern,", "Good afternoon {first},", "Dear team,",
        "Hey {first},", "Hello Mrs {first},", "Greetings to all of you,", "dear support, dear sales, dear whoever reads this,",
    ),
    openers=(
        "I trust this finds you in good spirits.", "Me again.", "A quick one before the weekend.",
        "You were so kind the last time that I dare to ask.", "Our intern has set up this address for me, I hope it arrives.",
        "I could not get through on the line.", "Not an easy mail to write.", "Nobody at the desk was able to tell me.",
        "One matter, two sentences.",
    ),
    asides=(
        "The {product} you sold us in spring is doing fine, incidentally.",
        "Nothing to complain about as far as shipping is concerned.",
        "I am no technician, so plain words, please.",
        "My earlier ticket can be closed, that one was solved.",
        "Our reference is {order}.", "The bill for it has been settled, before you ask.",
        "I would rather not log in for that.", "No newsletter, thank you.",
        "Feel free to ring me before noon.", "We have been buying from you since the shop in {city} opened.",
        "Somebody from accounts gave me your name.", "It is the {product} with the long cable, in case it matters.",
        "My neighbour had the very same trouble.",
    ),
    thanks=(
        "Much obliged.", "Grateful for a hint.", "What do you suggest?", "Do get back to me.", "Ta!",
        "A line back would be lovely.", "I appreciate it.", "Awaiting your feedback.",
    ),
    angry=(
        "I am fed up.", "Are you kidding me?", "Never again!", "My lawyer reads along.", "Shame on you.",
    ),
    closings=("All the best", "Warmly,", "Sincerely", "Have a good one", "Respectfully,", "Take care", "Ciao"),
    signatures=(
        "{name}", "{name}\n{company} - {city}", "{first}\n(typed on the train, excuse typos)", "{first}", "",
        "{name}\nassistant to the management, {company}", "{name} // {company} // please think before you print",
        "Dr. {name}\n{street}\n{city}",
    ),
    quotes=(
        "{date}, {name}:\n>> Noted, somebody will look at it shortly.",
        "---- Forwarded by {name} ----\nDoes this belong to you?",
        "> We are out for lunch and read your mail afterwards.",
    ),
    spam_greetings=(
        "Hey you,", "Respected sir/madam,", "Good day,", "Dear beneficiary,", "To whom it may concern,",
        "Hi there,", "My dear,", "Esteemed colleague,", "WOW!",
    ),
    spam_asides=(
        "Offer valid while stocks last.", "We take your privacy seriously.", "No strings attached.",
        "Tell nobody.", "Hurry, the clock is ticking.", "Ref. {number}/{order}", "Results may vary.",
        "Kindly pass this on to whoever is in charge.",
    ),
    spam_closings=(
        "{first} from the growth department", "Sincerely\n{name}, barrister", "More: {link}", "Warmly,\n{first}",
        "{brand} rewards", "Automatic message, no reply possible", "", "All the best\n{name}\nVP outreach",
        "Opt out by post only",
    ),
    fills={
        "name": (
            "Grace Whitfield", "Omar Haddad", "Lucie Fournier", "Ravi Menon", "Helga Stein", "Diego Castillo",
            "Yuki Tanaka", "Oona Virtanen", "Patrick Byrne", "Zofia Lis",
        ),
        "first": ("Grace", "Omar", "Lucie", "Ravi", "Helga", "Diego", "Yuki", "Oona", "Zofia"),
        "company": (
            "Pinewood School", "Castillo Imports", "Lakeside Clinic", "Whitfield Pottery", "Stein Metal Works",
            "Old Mill Theatre", "Byrne Roofing",
        ),
        "product": (
            "vacuum robot", "camping stove", "baby monitor", "hedge trimmer", "projector", "sewing machine",
            "wall clock", "sleeping bag", "pressure cooker", "aquarium pump", "freezer", "folding table",
        ),
        "city": ("Ghent", "Boston", "Turin", "Krakow", "Cork", "Graz"),
        "street": ("7 Orchard Close", "Rue du Pont 31", "Bridge Terrace 2"),
        "brand": ("Zonkro", "Trendibo", "Airvana"),
        "invoice": _pattern("RE####/##", "F-###.###", "##/####-%", "doc ######%"),
        "order": _pattern("W-########", "%%%##", "####.####", "ORD/####"),
        "number": _numbers(6, 240),
        "week": _numbers(3, 49),
        "code": _pattern("ERR_##%", "fault %-##", "code ####"),
        "amount": _amount(("{whole},{cents} €", "USD {whole}", "£{comma}.{cents}"), 35, 3900),
        "small_amount": _amount(("{whole},{cents} €", "£{whole}.{cents}", "{whole} bucks"), 6, 95),
        "tiny_amount": _amount(("{whole},{cents} €", "£{whole}.{cents}"), 1, 4),
        "big_amount": _amount(("USD {whole}.{cents} million", "£{whole}50,000"), 1, 8),
        "date": _days("the {day}th of {month}", "{day}/{month}", "{month} the {day}th"),
        "month": MONTHS,
        "weekday": WEEKDAYS,
        "link": (
            "https://prize-desk.example/go", "http://my-parcel.example/fee", "bank-update.example",
            "https://t.example/q7", "www.outlet-club.example/join",
        ),
    },
)  # fmt: skip

VOICES: dict[Split, Voice] = {"train": TRAIN, "held_out": HELD_OUT}


def fill(template: str, voice: Voice, random: Random) -> str:
    """Put a value into each slot of a template."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "products":
            return value_of("product") + "s"
        return value_of(name)

    def value_of(name: str) -> str:
        source = voice.fills[name]
        return random.choice(source) if isinstance(source, tuple) else source(random)

    return re.sub(r"\{([a-z_]+)\}", value, template)


def write_mail(scenario: Scenario, wording: str, label: str, voice: Voice, random: Random) -> str:
    """One mail, by a writer drawn at random."""
    body = write_spam(wording, voice, random) if label == "spam" else write_honest(wording, voice, random)
    subject = random.choice(scenario.subjects)
    prefix = random.choice(["", "", "", "", "", "Re: ", "RE: ", "Fwd: ", "AW: "]) if label != "spam" else ""
    if label == "spam" and random.random() < 0.15:
        subject = subject.upper()
    head = f"Subject: {prefix}{subject}\n\n" if random.random() < 0.9 else ""
    return fill(head + body, voice, random).strip()


def write_honest(wording: str, voice: Voice, random: Random) -> str:
    """The text of a mail that somebody means."""
    tone = random.choice(["polite", "polite", "curt", "angry", "chatty", "foreign", "corporate", "mobile"])
    text = [wording]
    if tone in ("polite", "chatty", "foreign") and random.random() < 0.5:
        text.insert(0, random.choice(voice.openers))
    if random.random() < {"curt": 0.1, "mobile": 0.15, "chatty": 0.7}.get(tone, 0.2):
        text.append(random.choice(voice.asides))
    if tone == "angry":
        text.append(random.choice(voice.angry))
    elif tone not in ("curt", "mobile"):
        text.append(random.choice(voice.thanks))
    body = random.choice([" ", " ", "\n"]).join(text)
    if tone == "mobile":
        body = body.lower() if random.random() < 0.7 else body
    if tone == "foreign":
        body = drop_articles(body, random)
    if tone == "angry" and random.random() < 0.4:
        body = body.replace(". ", "! ")
    if random.random() < {"mobile": 0.8, "foreign": 0.5}.get(tone, 0.15):
        body = misspell(body, random)
    if tone not in ("curt", "mobile") or random.random() < 0.3:
        body = f"{random.choice(voice.greetings)}\n{random.choice(['', chr(10)])}{body}"
    if tone != "mobile" or random.random() < 0.4:
        named = random.choice(voice.signatures) if tone != "curt" else "{first}"
        body = f"{body}\n\n{random.choice(voice.closings)}\n{named}"
    if random.random() < 0.1:
        body = f"{body}\n\n{random.choice(voice.quotes)}"
    return body


def write_spam(wording: str, voice: Voice, random: Random) -> str:
    """The text of a mail that nobody asked for; half of them are dressed like honest ones."""
    text = [wording]
    if random.random() < 0.4:
        text.append(random.choice(voice.spam_asides))
    if random.random() < 0.15:
        text.insert(0, random.choice(voice.openers))
    body = random.choice([" ", "\n", "\n\n"]).join(text)
    if random.random() < 0.12:
        body = body.replace(". ", "!!! ")
    if random.random() < 0.2:
        body = misspell(body, random)
    if random.random() < 0.7:
        body = f"{random.choice(voice.spam_greetings)}\n\n{body}"
    if random.random() < 0.45:
        return f"{body}\n\n{random.choice(voice.closings)}\n{random.choice(voice.signatures)}"
    return f"{body}\n\n{random.choice(voice.spam_closings)}"


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


def make(split: Split) -> list[tuple[str, str]]:
    """All mails of a split with their labels, shuffled; no mail twice."""
    random, voice = Random(SEEDS[split]), VOICES[split]
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


def templates(split: Split) -> list[str]:
    """Every hand-written text of a split, slots unfilled."""
    voice = VOICES[split]
    texts = [
        text
        for label in LABELS
        for scenario in read_scenarios(split, label)
        for text in (*scenario.subjects, *scenario.wordings)
    ]
    return [
        *texts,
        *voice.openers,
        *voice.asides,
        *voice.thanks,
        *voice.angry,
        *voice.quotes,
        *voice.spam_asides,
    ]


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
    for name in VOICES:
        (HERE / f"{name}.jsonl").write_text(to_jsonl(make(name)), encoding="utf-8", newline="\n")
