"""What the data doctor finds of what was planted, and how fast it is.

    python benchmarks/data_check.py defects DATA_FOLDER     recall and precision on five real sets
    python benchmarks/data_check.py labels DATA_FOLDER      flipped labels among the first suspicious ones
    python benchmarks/data_check.py personal DATA_FOLDER    sensitive passages, beside presidio and scrubadub
    python benchmarks/data_check.py scale CORPUS --rows N   seconds and memory of one check of N examples
    python benchmarks/data_check.py libraries CORPUS        the same work with the libraries one would chain

DATA_FOLDER holds the sets (email_router, bitext_support_intents, gsm8k, snips_slots, wikisql, clinc150,
sms_spam, probes); CORPUS is a JSONL of `text` (gzip). Neither is part of the project. `personal` and
`libraries` use what is installed of their opponents: presidio-analyzer spacy scrubadub datasketch.
Everything is seeded; one JSON line a measurement goes to `benchmarks/results/data_check.jsonl`.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import json
import platform
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tests.data.malformed import FAULTS

from tailor.data.doctor import Diagnosis, Options, diagnose, diagnose_jsonl, read_corpus
from tailor.data.doctor.similar import plain, windows
from tailor.data.doctor.wording import loose_key
from tailor.data.problems import Findings
from tailor.data.rows import Form, Row

RESULTS = Path(__file__).parent / "results" / "data_check.jsonl"
SIZE, PLANTED, SEED = 3_000, 100, 7
Pair = tuple[str, str]


# --- the sets ---------------------------------------------------------------------------------------


def email_router(folder: Path) -> list[Pair]:
    return [(row["text"], row["label"]) for row in jsonl(folder / "email_router/train.jsonl")]


def bitext(folder: Path) -> list[Pair]:
    (path,) = [
        path for path in (folder / "bitext_support_intents").rglob("*.csv") if "train" in path.name.lower()
    ]
    with path.open(encoding="utf-8", newline="") as stream:
        return [(row["utterance"], row["intent"]) for row in csv.DictReader(stream)]


def gsm8k(folder: Path) -> list[Pair]:
    return [(row["question"], row["answer"]) for row in jsonl(folder / "gsm8k/train.jsonl")]


def snips(folder: Path) -> list[Pair]:
    """Requests to JSON: intent and slots."""
    rows = []
    for path in sorted((folder / "snips_slots").glob("*/train_*_full.json")):
        intent = path.parent.name
        for row in json.loads(path.read_text(encoding="latin-1"))[intent]:
            text = "".join(part["text"] for part in row["data"])
            slots = [
                {"slot": part["entity"], "text": part["text"]} for part in row["data"] if "entity" in part
            ]
            rows.append((text, json.dumps({"intent": intent, "slots": slots}, ensure_ascii=False)))
    return rows


def wikisql(folder: Path) -> list[Pair]:
    rows = []
    for entry in json.loads(bz2.decompress((folder / "wikisql/wikisql.json.bz2").read_bytes())):
        for sentence in entry["sentences"]:
            query = entry["sql"][0]
            for name, value in sentence["variables"].items():
                query = query.replace(name, value)
            text = sentence["text"]
            for name, value in sentence["variables"].items():
                text = text.replace(name, value)
            rows.append((text, query))
    return rows


def clinc150(folder: Path) -> list[Pair]:
    return [tuple(row) for row in json.loads((folder / "clinc150/data_full.json").read_text())["train"]]


def sms_spam(folder: Path) -> list[Pair]:
    with (folder / "sms_spam/SMSSpamCollection").open(encoding="utf-8") as stream:
        return [(text.strip(), label) for label, _, text in (line.partition("\t") for line in stream)]


SETS = {"email_router": email_router, "bitext": bitext, "gsm8k": gsm8k, "snips": snips, "wikisql": wikisql}
LABELLED = {
    "email_router": email_router,
    "bitext": bitext,
    "clinc150": clinc150,
    "sms_spam": sms_spam,
    "snips": lambda folder: [(text, json.loads(answer)["intent"]) for text, answer in snips(folder)],
}


def jsonl(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def cleaned(rows: list[Pair], random: Random) -> tuple[list[Pair], list[frozenset[Any]]]:
    """A sample without near copies: every pair was compared, by no sketch of ours."""
    random.shuffle(rows)
    rows = [(" ".join(asked.split()), answer.strip()) for asked, answer in rows if asked.strip()]
    by_question: dict[str, Pair] = {}
    for row in rows:
        by_question.setdefault(loose_key(row[0]), row)
    kept: list[Pair] = []
    sets: list[frozenset[Any]] = []
    index: dict[Any, list[int]] = {}
    for row in by_question.values():
        mine = windows(row[0])
        shared = np.zeros(len(kept), dtype=np.int32)
        for window in mine:
            for other in index.get(window, ()):
                shared[other] += 1
        near = any(
            shared[other] >= 0.5 * (len(mine) + len(sets[other]) - shared[other])
            for other in np.flatnonzero(shared > 0.3 * len(mine)).tolist()
        )
        if near:
            continue
        for window in mine:
            index.setdefault(window, []).append(len(kept))
        kept.append(row)
        sets.append(mine)
        if len(kept) == SIZE:
            break
    return kept, sets


# --- defects ----------------------------------------------------------------------------------------

Line = bytes | Pair


def written(rows: list[Line]) -> bytes:
    def line(row: Line) -> bytes:
        if isinstance(row, bytes):
            return row
        messages = [{"role": "user", "content": row[0]}, {"role": "assistant", "content": row[1]}]
        return json.dumps({"messages": messages}, ensure_ascii=False).encode()

    return b"".join(line(row) + b"\n" for row in rows)


def flagged(found: Diagnosis, *codes: str) -> set[int]:
    return {
        line
        for finding in found.findings
        for line in finding.lines
        if any(re.fullmatch(code, finding.code) for code in codes)
    }


def inserted(
    rows: list[Pair], new: list[tuple[int, Line]], random: Random
) -> tuple[list[Line], list[tuple[int, int]]]:
    """The rows with the new ones at random places, and the line of each new one with that of its original."""
    order: list[tuple[float, int, Line]] = [(float(at), at, row) for at, row in enumerate(rows)]
    order += [(random.uniform(0, len(rows)), -1 - at, row) for at, (_, row) in enumerate(new)]
    order.sort(key=lambda entry: entry[0])
    line_of = {key: line for line, (_, key, _) in enumerate(order, start=1)}
    return [row for *_, row in order], [
        (line_of[-1 - at], line_of[origin]) for at, (origin, _) in enumerate(new)
    ]


def slipped(text: str, random: Random) -> str:
    """One slip of a key in one long word."""
    words = text.split(" ")
    long = [at for at, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not long:
        return text + " please"
    at = random.choice(long)
    word = words[at]
    spot = random.randrange(1, len(word) - 2)
    how = random.randrange(3)
    before, here, after = word[:spot], word[spot], word[spot + 1 :]
    if how == 0 and here != after[0]:
        words[at] = before + after[0] + here + after[1:]
    elif how == 1:
        words[at] = before + after
    else:
        words[at] = before + random.choice("abcdefghijklmnopqrstuvwxyz") + here + after
    return " ".join(words)


def respelled(text: str, random: Random) -> str:
    """The same question, otherwise written: case, punctuation, a filler, a slip of a key."""
    return random.choice(
        [str.upper, str.title, lambda text: text.rstrip(".?!") + " ?", lambda text: "Hi, " + text,
         lambda text: text + " please", lambda text: "  " + text + "!", lambda text: slipped(text, random)]
    )(text)  # fmt: skip


def exact_duplicates(rows: list[Pair], random: Random) -> tuple[set[int], set[int]]:
    chosen = random.sample(range(len(rows)), PLANTED)
    lines, pairs = inserted(rows, [(at, rows[at]) for at in chosen], random)
    return {max(pair) for pair in pairs}, flagged(check(lines), "duplicate")


def structure(rows: list[Pair], random: Random) -> tuple[set[int], set[int]]:
    lines: list[Line] = list(rows)
    truth = set()
    for at in random.sample(range(1, len(rows)), PLANTED):
        fault = random.choice([fault for fault in FAULTS if fault.name != "a huge line"])
        row = fault.base(random)
        changed = fault.change(row, random)
        lines[at] = (
            changed
            if isinstance(changed, bytes)
            else json.dumps(row if changed is None else changed).encode()
        )
        truth.add(at + 1)
    found = check(lines)
    return truth, {
        line for finding in found.findings if finding.severity == "blocking" for line in finding.lines
    }


def leakage(
    rows: list[Pair], random: Random, change: Callable[[Pair], Pair] = lambda row: row
) -> tuple[set[int], set[int]]:
    train, held_out = rows[: 2 * SIZE // 3], rows[2 * SIZE // 3 :]
    chosen = random.sample(range(len(train)), PLANTED)
    lines, pairs = inserted(held_out, [(0, change(train[at])) for at in chosen], random)
    corpus, _ = read_corpus(
        as_rows(lines), name="held_out", form=Form.CHAT, options=Options(), findings=Findings()
    )
    found = diagnose(as_rows(train), name="train", form=Form.CHAT, validation=corpus)
    return {line for line, _ in pairs}, flagged(found, ".*overlap.*")


def near_leakage(rows: list[Pair], random: Random) -> tuple[set[int], set[int]]:
    return leakage(rows, random, lambda row: (respelled(row[0], random), row[1]))


def near_duplicates(rows: list[Pair], random: Random) -> tuple[set[int], set[int]]:
    chosen = random.sample(range(len(rows)), PLANTED)
    lines, pairs = inserted(
        rows, [(at, (respelled(rows[at][0], random), rows[at][1])) for at in chosen], random
    )
    return {max(pair) for pair in pairs}, flagged(check(lines), "duplicate", "near_duplicate")


def contradictions(rows: list[Pair], random: Random) -> tuple[set[int], set[int]]:
    """Half of them word for word, half otherwise written."""
    new: list[tuple[int, Line]] = []
    for number, at in enumerate(random.sample(range(len(rows)), PLANTED)):
        asked, answer = rows[at]
        other = next(wrong for _, wrong in iter(lambda: random.choice(rows), None) if wrong != answer)
        new.append((at, (asked if number % 2 else respelled(asked, random), other)))
    lines, pairs = inserted(rows, new, random)
    truth = {line for pair in pairs for line in pair}
    return truth, flagged(check(lines), "contradiction", "near_contradiction")


def format_breaks(rows: list[Pair], random: Random) -> tuple[set[int], set[int]]:
    answers = [answer for _, answer in rows]
    breaks: list[Callable[[str], str]] = [
        lambda text: text + " ",
        lambda text: "\n" + text,
        lambda text: f"Answer: {text}",
        lambda text: f"```\n{text}\n```",
    ]
    if answers[0].startswith("{"):
        breaks += [
            lambda text: text[:-1],
            lambda text: text.replace('"intent"', '"Intent"'),
            lambda text: text.replace('"slots"', '"entities"'),
            lambda text: text.replace('"', "'"),
            lambda text: f"Here is the JSON: {text}",
        ]
    elif len(set(answers)) < 100:
        breaks += [
            str.upper,
            str.title,
            lambda text: text + ".",
            lambda text: f'"{text}"',
            lambda text: f"Label: {text}",
        ]
    elif all("####" in answer for answer in answers):
        breaks += [lambda text: text.replace("####", "##"), lambda text: text.rsplit("\n", 1)[0]]
    elif all(answer.endswith(";") for answer in answers):
        breaks += [lambda text: text.rstrip("; "), lambda text: text.lower()]
    lines: list[Line] = list(rows)
    truth = set()
    for at in random.sample(range(len(rows)), PLANTED):
        asked, answer = rows[at]
        broken = answer
        while broken == answer:
            broken = random.choice(breaks)(answer)
        lines[at] = (asked, broken)
        truth.add(at + 1)
    return truth, flagged(
        check(lines), "white_space", "mixed_spelling", "format_.*", "broken_json", "json_shape"
    )


DEFECTS = (exact_duplicates, structure, leakage, near_leakage, near_duplicates, contradictions, format_breaks)


def as_rows(lines: list[Line]) -> Iterator[Row]:
    for line, value in enumerate(written(lines).split(b"\n")[:-1], start=1):
        yield Row(line=line, file="", value=json.loads(value))


def check(lines: list[Line]) -> Diagnosis:
    return diagnose_jsonl(io.BytesIO(written(lines)), name="train.jsonl")


def measure_defects(folder: Path, names: list[str]) -> None:
    for name in names:
        rows, _ = cleaned(SETS[name](folder), Random(SEED))
        for plant in DEFECTS:
            truth, found = plant(list(rows), Random(SEED))
            hit = len(truth & found)
            report("defects", {
                "set": name, "rows": len(rows), "check": plant.__name__,
                "planted": len(truth), "flagged": len(found),
                "recall": hit / len(truth), "precision": hit / max(len(found), 1),
            })  # fmt: skip
            print("   missed:", sorted(truth - found)[:5], " extra:", sorted(found - truth)[:5], flush=True)


def measure_labels(folder: Path) -> None:
    """k labels are changed to another one, k = 5 % of the examples; how many are among the first 2k?"""
    from tailor.data.doctor.labels import judge

    for name, load in LABELLED.items():
        random = Random(SEED)
        rows = load(folder)
        random.shuffle(rows)
        names = sorted({label for _, label in rows})
        labels = np.array([names.index(label) for _, label in rows])
        k = len(rows) // 20
        flipped = random.sample(range(len(rows)), k)
        for place in flipped:
            labels[place] = random.choice([other for other in range(len(names)) if other != labels[place]])
        started = time.process_time()
        found = judge([text for text, _ in rows], labels, num_labels=len(names), seed=0)
        seconds = time.process_time() - started
        first = set(np.argsort(-found.gap, kind="stable")[: 2 * k].tolist())
        told = set(np.flatnonzero(found.is_confident & (found.gap > 0)).tolist())
        report("labels", {
            "set": name, "rows": len(rows), "labels": len(names), "flipped": k,
            "in_first_2k": len(first & set(flipped)) / k, "told": len(told),
            "told_recall": len(told & set(flipped)) / k,
            "told_precision": len(told & set(flipped)) / len(told),
            "agreement": found.agreement, "cpu_seconds": seconds,
        })  # fmt: skip


# --- personal data ----------------------------------------------------------------------------------


def measure_personal(folder: Path) -> None:
    """Passages with sensitive content or without; a scanner is right where it finds anything in one with."""
    from tailor.data.doctor.personal import find_personal

    rows = list(jsonl(folder / "probes/enterprise_pii_classification.jsonl"))
    passages = [re.search(r"Passage: '''\n(.*?)\n'''", row["query"], re.DOTALL)[1] for row in rows]  # type: ignore[index]
    truth = np.array([row["gold"] == 1 for row in rows])
    scanners: dict[str, Callable[[str], Any]] = {"tailor": find_personal}
    scanners |= dict(opponents())
    for name, scan in scanners.items():
        started = time.process_time()
        found = np.array([bool(scan(passage)) for passage in passages])
        seconds = time.process_time() - started
        report("personal", {
            "scanner": name, "passages": len(rows), "sensitive": int(truth.sum()),
            "precision": float((found & truth).sum() / max(found.sum(), 1)),
            "recall": float((found & truth).sum() / truth.sum()),
            "microseconds": 1e6 * seconds / len(rows),
        })  # fmt: skip


def opponents() -> Iterator[tuple[str, Callable[[str], Any]]]:
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ModuleNotFoundError:
        print("presidio-analyzer is not installed")
    else:

        class Loaded(SpacyNlpEngine):
            def __init__(self, nlp: Any) -> None:
                super().__init__()
                self.nlp = {"en": nlp}

        installed = spacy.util.get_installed_models()
        for model in installed or [None]:
            nlp = spacy.load(model) if model else spacy.blank("en")
            engine = AnalyzerEngine(nlp_engine=Loaded(nlp))
            kinds = [
                "PERSON",
                "EMAIL_ADDRESS",
                "PHONE_NUMBER",
                "CREDIT_CARD",
                "IBAN_CODE",
                "IP_ADDRESS",
                "US_SSN",
            ]
            yield (
                f"presidio ({model or 'patterns only'})",
                lambda text, engine=engine, kinds=kinds: engine.analyze(
                    text, language="en", entities=kinds, score_threshold=0.4
                ),
            )
    try:
        import scrubadub
    except ModuleNotFoundError:
        print("scrubadub is not installed")
    else:
        scrubber = scrubadub.Scrubber()
        yield "scrubadub", lambda text: list(scrubber.iter_filth(text))


# --- speed ------------------------------------------------------------------------------------------


def made_rows(corpus: Path, count: int) -> Iterator[Row]:
    """Real sentences as questions and what follows them as answers; one in fifty is a near copy."""
    random = Random(SEED)
    made = 0
    recent: list[Pair] = []
    for number, piece in enumerate(pieces(corpus)):
        cut = piece.find(". ", 40, 240)
        if cut < 0:
            continue
        pair = (piece[: cut + 1], piece[cut + 2 :])
        recent = [*recent[-500:], pair] if number % 10 == 0 else recent
        if made % 50 == 49:
            asked, answer = random.choice(recent)
            pair = (respelled(asked, random), answer)
        made += 1
        messages = [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
        yield Row(line=made, file="", value={"messages": messages})
        if made == count:
            return


def made_labelled(corpus: Path, count: int) -> Iterator[Row]:
    """The same sentences with one of 50 labels that the words decide, one in fifty at random."""
    random = Random(SEED)
    for row in made_rows(corpus, count):
        text = row.value["messages"][0]["content"]
        number = sum(map(ord, max(plain(text).split(" "), key=len))) % 50
        label = f"label {random.randrange(50) if random.random() < 0.02 else number}"
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        yield Row(line=row.line, file="", value={"messages": messages})


def pieces(corpus: Path) -> Iterator[str]:
    """Passages of about 400 characters; cut at other places when the corpus is read again."""
    opened = gzip.open if corpus.suffix == ".gz" else open
    for offset in (0, 210, 105, 315):
        with opened(corpus, "rt", encoding="utf-8") as stream:
            for line in stream:
                text = " ".join(json.loads(line)["text"].split())
                for start in range(offset, len(text) - 200, 420):
                    yield text[start : start + 400].strip()


def measure_scale(corpus: Path, count: int, task: str) -> None:
    make = made_labelled if task == "labels" else made_rows
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # Written to disk first, so that what is measured is the check alone.
    with tempfile.TemporaryFile() as stream:
        for row in make(corpus, count):
            stream.write(json.dumps(row.value).encode() + b"\n")
        stream.seek(0)
        started, cpu = time.monotonic(), time.process_time()
        found = diagnose_jsonl(stream, name="train.jsonl")
    report("scale", {
        "rows": found.report.num_lines, "task": str(found.task), "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "before_mib": before,
        "counts": found.report.counts,
    })  # fmt: skip


def measure_libraries(corpus: Path, count: int) -> None:
    """Near copies, personal data and languages of the same texts, as one would chain libraries for them."""
    from tailor.data.doctor.duplicates import near_duplicates as ours
    from tailor.data.doctor.languages import language_of
    from tailor.data.doctor.personal import find_personal

    texts = [row.value["messages"][0]["content"] for row in made_rows(corpus, count)]

    def timed(what: str, name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        report("libraries", {"what": what, "with": name, "rows": count, "found": result,
                             "cpu_seconds": time.process_time() - started})  # fmt: skip

    timed("near copies", "tailor", lambda: sum(len(group) - 1 for group in ours(texts, threshold=0.8)))
    timed("personal data", "tailor", lambda: sum(bool(find_personal(text)) for text in texts))
    timed("languages", "tailor", lambda: sum(bool(language_of(text)) for text in texts))
    try:
        from datasketch import MinHash, MinHashLSH
    except ModuleNotFoundError:
        print("datasketch is not installed")
    else:

        def chained() -> int:
            index, found = MinHashLSH(threshold=0.8, num_perm=128), 0
            for number, text in enumerate(texts):
                letters = plain(text).encode()
                sketch = MinHash(num_perm=128)
                sketch.update_batch({letters[at : at + 4] for at in range(max(1, len(letters) - 3))})
                if index.query(sketch):
                    found += 1
                else:
                    index.insert(str(number), sketch)
            return found

        timed("near copies", "datasketch", chained)
    for name, scan in opponents():
        part = texts[: count // 20]
        started = time.process_time()
        found = sum(bool(scan(text)) for text in part)
        report("libraries", {"what": "personal data", "with": name, "rows": len(part), "found": found,
                             "cpu_seconds": time.process_time() - started})  # fmt: skip


def report(what: str, values: dict[str, Any]) -> None:
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
    print(what, json.dumps(rounded), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"benchmark": what, **rounded, "processor": platform.machine()}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("defects", "labels", "personal", "scale", "libraries"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--task", choices=("answers", "labels"), default="answers")
    parser.add_argument("--set", action="append", choices=sorted(SETS))
    wanted = parser.parse_args()
    if wanted.what == "defects":
        measure_defects(wanted.folder, wanted.set or list(SETS))
    elif wanted.what == "labels":
        measure_labels(wanted.folder)
    elif wanted.what == "personal":
        measure_personal(wanted.folder)
    elif wanted.what == "scale":
        measure_scale(wanted.folder, wanted.rows, wanted.task)
    else:
        measure_libraries(wanted.folder, min(wanted.rows, 20_000))


if __name__ == "__main__":
    main()
