"""The demo's mails: what the generator writes, sound by our own check, the matter of none in both files."""

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from examples.emails import make

from tailor.data import Dataset, overlap, read_supervised

FOLDER = Path(make.__file__).parent
SPLITS = ("train", "held_out")
LARGEST_SIMILARITY = 0.35
"""Of the words of a held-out mail and of the training mail nearest to it (Jaccard index)."""


def read(split: str) -> Dataset:
    with (FOLDER / f"{split}.jsonl").open("rb") as stream:
        return read_supervised(stream, name=f"{split}.jsonl")


def mails(dataset: Dataset) -> list[str]:
    return [str(example.messages[1]["content"]) for example in dataset.examples]


def sentences(text: str) -> set[str]:
    """Sentences and lines of at least three words, in lower case."""
    parts = re.split(r"(?<=[.!?])\s+|\n", text.lower())
    return {part.strip() for part in parts if len(part.split()) >= 3}


def tokens(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


@pytest.mark.parametrize("split", SPLITS)
def test_the_committed_files_are_what_the_generator_writes(split: str) -> None:
    written = make.to_jsonl(make.make(split)).encode()
    assert (FOLDER / f"{split}.jsonl").read_bytes() == written


@pytest.mark.parametrize(("split", "fewest"), [("train", 560), ("held_out", 240)])
def test_the_files_pass_our_own_check(split: str, fewest: int) -> None:
    dataset = read(split)
    assert dataset.report.num_blocking == 0
    assert dataset.report.num_advice == 0, dataset.report.problems
    assert len(dataset) == dataset.report.num_lines >= fewest


@pytest.mark.parametrize("split", SPLITS)
def test_every_mail_has_one_of_four_equally_frequent_labels(split: str) -> None:
    dataset = read(split)
    labels = Counter(example.reference()["content"] for example in dataset.examples)
    assert labels == dict.fromkeys(make.LABELS, len(dataset) // 4)
    assert {example.messages[0]["content"] for example in dataset.examples} == {make.SYSTEM_PROMPT}


def test_there_are_many_scenarios() -> None:
    for label in make.LABELS:
        assert len(make.read_scenarios("train", label)) >= 35
        assert len(make.read_scenarios("held_out", label)) >= 15


def test_no_sentence_frame_is_in_both_splits() -> None:
    frames = {split: set[str]().union(*map(sentences, make.templates(split))) for split in SPLITS}
    assert len(frames["train"]) > 500
    assert len(frames["held_out"]) > 200
    assert not frames["train"] & frames["held_out"]


def test_what_both_splits_say_is_said_by_everybody() -> None:
    """Greetings, thanks and signatures are common; what the mails are about is not."""
    voice = make.read_voice("train")
    courtesies = (*voice.greetings, *voice.openers, *voice.asides, *voice.thanks, *voice.angry)
    phrases = (*courtesies, *voice.closings, *voice.quotes, *voice.signatures, *voice.fills["weekday"])
    everyday = tokens(" ".join(phrases))

    def written(split: str) -> set[str]:
        return set[str]().union(*(sentences(re.sub(r"\d+", "#", mail)) for mail in mails(read(split))))

    assert len(written("held_out")) > 300
    assert [text for text in written("train") & written("held_out") if not tokens(text) <= everyday] == []


def test_no_person_product_or_place_is_in_both_splits() -> None:
    train, held_out = make.read_voice("train"), make.read_voice("held_out")
    for slot in ("name", "first", "company", "product", "city", "street", "brand", "link"):
        assert not set(train.fills[slot]) & set(held_out.fills[slot]), slot
    assert not set(train.spam_asides) & set(held_out.spam_asides)


def test_no_held_out_mail_is_like_a_training_mail() -> None:
    seen = [tokens(mail) for mail in mails(read("train"))]
    for mail in mails(read("held_out")):
        words = tokens(mail)
        nearest = max(len(words & other) / len(words | other) for other in seen)
        assert nearest <= LARGEST_SIMILARITY, mail


def test_our_own_overlap_check_finds_nothing() -> None:
    assert overlap(read("train"), read("held_out")) == ()


def test_mails_vary_as_real_ones_do() -> None:
    lengths = sorted(len(mail.split()) for mail in mails(read("train")))
    assert lengths[0] <= 20
    assert 30 <= lengths[len(lengths) // 2] <= 60
    assert lengths[-1] <= 120
    lines = [mail.count("\n") + 1 for mail in mails(read("train"))]
    assert min(lines) == 1
    assert max(lines) >= 12


def test_a_leak_would_be_noticed() -> None:
    train = read("train")
    leaked = (FOLDER / "train.jsonl").read_bytes().split(b"\n")[41]
    other = json.loads(leaked)
    other["messages"][2]["content"] = "spam" if other["messages"][2]["content"] != "spam" else "order"
    validation = read_supervised(
        io.BytesIO(leaked + b"\n" + json.dumps(other).encode()), name="v", minimum_examples=1
    )
    assert [(p.line, p.code) for p in overlap(train, validation)] == [
        (1, "overlap"),
        (2, "overlapping_prompt"),
    ]
