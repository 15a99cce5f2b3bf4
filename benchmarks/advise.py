"""Does the verdict from half of the data hold on the other half? Real tasks, the embedded base.

    python benchmarks/advise.py DATA [--task NAME ...] [--rows N] [--max-steps N] [--full]
    python benchmarks/advise.py --rules

DATA is the folder of real data sets (its README says which; none is part of the project). Each task is cut in
two halves that share no question. On the first the advice is made as a user gets it: its own train,
development and held-out items. The same arms are then asked items of the second half, and the same rules say
which of them wins there. `agrees`: it is the same arm. `behind`: by how many points the advised arm is behind
the best one there. One JSON line a task goes to `benchmarks/results/advise.jsonl`.

`--rules` needs no data: it draws the scores of eight arms, and counts how often a dearer arm is advised that
is no better, and how often one that is.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tailor.advise import load_catalogue
from tailor.advise.advice import Advice, judge
from tailor.advise.arms import Arm, ArmResult, Means, Progress, Skipped
from tailor.advise.contests import contests
from tailor.advise.figures import money
from tailor.advise.forecast import tuned_curve
from tailor.advise.material import read_material, split
from tailor.advise.measure import MeasureKind
from tailor.advise.passages import Passage, read_documents
from tailor.advise.pricing import Cost, Rates
from tailor.advise.run import run
from tailor.advise.study import Study
from tailor.advise.verdict import Circumstances, cheapest_first, choose
from tailor.client import Endpoint
from tailor.data.rows import open_source
from tailor.grading import wilson
from tailor.server import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "advise.jsonl"
Rows = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learnt, and what cannot be measured about it."""

    rows: Callable[[Path], Rows]
    system: str
    kind: MeasureKind | None = None
    circumstances: Circumstances = field(default_factory=Circumstances)
    has_documents: bool = False
    must_lose: str = ""
    """Why fine-tuning must lose, where it must."""


def jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def mails(data: Path) -> Rows:
    return [(row["text"], row["label"]) for row in jsonl(data / "email_router/train.jsonl")]


def bitext(column: str) -> Callable[[Path], Rows]:
    def rows(data: Path) -> Rows:
        [path] = (data / "bitext_support_intents/data/train").glob("*.csv")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [(row["utterance"], row[column]) for row in csv.DictReader(stream)]

    return rows


def clinc(data: Path) -> Rows:
    found = json.loads((data / "clinc150/data_full.json").read_text(encoding="utf-8"))["train"]
    kept = sorted({label for _, label in found})[:20]
    return [(text, label) for text, label in found if label in kept]


def sms(data: Path) -> Rows:
    lines = (data / "sms_spam/SMSSpamCollection").read_text(encoding="utf-8").strip().split("\n")
    return [(text, label) for label, text in (line.split("\t", 1) for line in lines)]


def snips(data: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    for path in sorted(data.glob("snips_slots/*/train_*_full.json")):
        intent = path.parent.name
        for row in json.loads(path.read_text(encoding="latin-1"))[intent]:
            text = "".join(part["text"] for part in row["data"])
            slots = {part["entity"]: part["text"].strip() for part in row["data"] if "entity" in part}
            yield text, intent, slots


def snips_intents(data: Path) -> Rows:
    return [(text, intent) for text, intent, _ in snips(data)]


def snips_slots(data: Path) -> Rows:
    return [(text, json.dumps({"intent": intent} | slots)) for text, intent, slots in snips(data)]


def scan(data: Path) -> Rows:
    lines = (data / "scan/simple_split/tasks_train_simple.txt").read_text().strip().split("\n")
    pairs = (line.removeprefix("IN: ").split(" OUT: ") for line in lines)
    return [(asked, answer) for asked, answer in pairs if len(answer.split()) <= 12]


def statements(data: Path) -> Rows:
    rows = jsonl(data / "model_written_evals/agreeableness.jsonl")
    return [(row["statement"], row["answer_matching_behavior"].strip()) for row in rows]


def restaurants(data: Path) -> Rows:
    with (data / "e2e_dev_test/devset.csv").open(encoding="utf-8", newline="") as stream:
        first = {row["mr"]: row["ref"] for row in csv.DictReader(stream)}
    return list(first.items())


def medical(data: Path) -> Rows:
    found = []
    with tarfile.open(data / "medquad/medquad.tar.gz") as archive:
        for member in archive:
            if not member.name.endswith(".xml") or not member.name.startswith(("4_", "5_")):
                continue
            stream = archive.extractfile(member)
            for pair in ElementTree.parse(stream).iter("QAPair") if stream else ():
                asked, answer = (
                    pair.findtext("Question") or "",
                    " ".join((pair.findtext("Answer") or "").split()),
                )
                if asked and 40 <= len(answer) <= 400:
                    found.append((" ".join(asked.split()), answer))
    return found


TASKS = {
    "mails": Task(rows=mails, system="Sort the email into one of: invoice, order, support, spam."),
    "support intents": Task(rows=bitext("intent"), system="Name the intent of the request."),
    "support categories": Task(rows=bitext("category"), system="Name the category of the request."),
    "clinc, 20 intents": Task(rows=clinc, system="Name the intent of the request."),
    "sms spam": Task(rows=sms, system="Is it spam or ham?", must_lose="a linear model of the words does it"),
    "snips intents": Task(
        rows=snips_intents,
        system="Name what is wanted.",
        must_lose="a linear model of the words does it",
    ),
    "snips slots": Task(rows=snips_slots, system="What is wanted, as JSON?"),
    "scan": Task(rows=scan, system="Write the actions.", kind="exact"),
    "statements": Task(rows=statements, system="Would you say this? Answer Yes or No."),
    "restaurants": Task(rows=restaurants, system="Describe the restaurant in one sentence."),
    "medical facts": Task(
        rows=medical,
        system="Answer the question.",
        circumstances=Circumstances(knowledge_changes="weekly"),
        has_documents=True,
        must_lose="facts that change: they are looked up",
    ),
}


def halves(rows: Rows, most: int) -> tuple[Rows, Rows]:
    """Two halves that share no question."""
    chosen = list({asked: (asked, answer) for asked, answer in rows}.values())
    random.Random(0).shuffle(chosen)
    chosen = chosen[:most]
    return chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]


def material_of(rows: Rows, task: Task, folder: Path, name: str) -> Any:
    path = folder / f"{name}.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for asked, answer in rows:
            turns = (("system", task.system), ("user", asked), ("assistant", answer))
            messages = [{"role": role, "content": content} for role, content in turns]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return read_material(open_source(path), kind=task.kind)


def documents_of(rows: Rows, folder: Path) -> tuple[Passage, ...]:
    """What the answers are found in: all of them, as files."""
    (folder / "documents").mkdir()
    for number, (_, answer) in enumerate(rows):
        (folder / "documents" / f"{number:05}.txt").write_text(answer, encoding="utf-8")
    return read_documents(folder / "documents")


def measure(data: Path, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    task, started = TASKS[name], time.monotonic()
    first, second = halves(task.rows(data), arguments.rows)
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer(home=Path(scratch) / "home") as server:
        folder = Path(scratch)
        here = material_of(first, task, folder, "first")
        there = material_of(second, task, folder, "second")
        endpoint = Endpoint(server.base_url, server.api_key)
        base = next(model for model in endpoint.models() if (model.tailor or {}).get("default"))
        parts = split(here.items, most_held_out=150)
        asked_there = there.items[: arguments.asked]
        own = len(parts.held_out)
        study = Study(
            endpoint=endpoint,
            base=base,
            material=here,
            parts=replace(parts, held_out=(*parts.held_out, *asked_there)),
            documents=documents_of([*first, *second], folder) if task.has_documents else (),
            max_steps=arguments.max_steps,
            num_seeds=1,
            quick=not arguments.full,
        )
        results, skipped = [], []
        for step in run(study):
            if isinstance(step, ArmResult):
                results.append(step)
                print(f"  {step.arm.name}: {step.quality:.1%}", flush=True)
            elif not isinstance(step, Progress):
                skipped.append(step)
                print(f"  {step.arm.name}: {step.reason}", flush=True)
        own_places = list(range(own))
        other_places = list(range(own, own + len(asked_there)))
        told = judged(study, parts.held_out, results, skipped, own_places, task)
        won = judged(study, asked_there, results, skipped, other_places, task)
    return row_of(name, task, told, won, time.monotonic() - started, arguments)


def judged(
    study: Study,
    items: tuple[Any, ...],
    results: list[ArmResult],
    skipped: list[Skipped],
    places: list[int],
    task: Task,
) -> Advice:
    """The rules over some of the items."""
    part = replace(study, parts=replace(study.parts, held_out=items))
    seen = [result.only(places) for result in results]
    curves = [curve for curve in (tuned_curve(seen),) if curve is not None]
    rates = Rates.assumed(load_catalogue())
    return judge(part, seen, skipped, curves, task.circumstances, rates)


def row_of(
    name: str, task: Task, told: Advice, won: Advice, seconds: float, arguments: argparse.Namespace
) -> dict[str, Any]:
    out = {each.name for each in won.verdict.barred}
    free = [result for result in won.evidence.results if result.arm.name not in out]
    best = max(free, key=lambda result: result.quality)
    advised = told.verdict.arm
    behind = None if advised is None else best.quality - won.evidence.result(advised).quality
    return {
        "task": name,
        "measure": str(told.evidence.study.material.measure),
        "train": len(told.evidence.study.parts.train),
        "items": len(told.evidence.study.parts.held_out),
        "items_of_the_other_half": len(won.evidence.study.parts.held_out),
        "max_steps": arguments.max_steps,
        "full": arguments.full,
        "advised": advised,
        "headline": told.verdict.headline,
        "winner": won.verdict.arm,
        "agrees": told.verdict.arm == won.verdict.arm,
        "best_of_the_other_half": best.arm.name,
        "behind": behind,
        "must_lose": task.must_lose,
        "fine_tuning_advised": advised is not None and told.evidence.result(advised).arm.traits.is_trained,
        "quality": qualities(told),
        "quality_of_the_other_half": qualities(won),
        "seconds": round(seconds),
    }


def qualities(advice: Advice) -> dict[str, float]:
    return {result.arm.name: round(result.quality, 4) for result in advice.evidence.results}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| task | examples | advised on one half | quality | wins on the other half | agrees | behind |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        quality = "" if row["advised"] is None else f"{row['quality'][row['advised']]:.1%}"
        behind = "" if row["behind"] is None else f"{100 * row['behind']:.1f}"
        must = f" ({row['must_lose']})" if row["must_lose"] else ""
        yield (
            f"| {row['task']}{must} | {row['train']} | {row['advised'] or 'none'} | {quality} | "
            f"{row['winner'] or 'none'} | {'yes' if row['agrees'] else '**no**'} | {behind} |"
        )


MEANS: tuple[Means, ...] = (
    "prompt", "lookup", "classical", "structured", "few-shot", "optimised", "retrieval", "tuned",
)  # fmt: skip


def advised(random_: random.Random, gain: float, *, items: int = 150) -> str:
    """What the rules take of eight arms, all 70 % right but the tuned one; half of the luck is the items'."""
    hard = [random_.random() for _ in range(items)]

    def scores(quality: float) -> tuple[float, ...]:
        return tuple(float((luck if random_.random() < 0.5 else random_.random()) < quality) for luck in hard)

    arms = [
        ArmResult(arm=Arm(means=means, name=means), runs=(scores(0.7 + gain if means == "tuned" else 0.7),))
        for means in MEANS
    ]
    price = Cost(setup=money("set-up", 0, "USD"), request=money("a request", 1, "USD"))
    costs = {arm.arm.name: price for arm in arms}
    return choose(cheapest_first(arms, costs), contests(arms), costs, Circumstances()).arm.name


def simulate() -> None:
    random_ = random.Random(0)
    for gain, count in ((0.0, 1_000), (0.1, 300), (0.15, 300), (0.2, 300)):
        taken = [advised(random_, gain) for _ in range(count)]
        hits = sum(name != "prompt" for name in taken) if gain == 0 else taken.count("tuned")
        around = wilson(hits, count)
        what = "a dearer arm advised" if gain == 0 else "tuned advised"
        print(
            f"tuned {100 * gain:+.0f} points, {what}: {hits / count:.1%} "
            f"({around.low:.1%} to {around.high:.1%}) of {count:,}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--rules", action="store_true", help="only the rules, on scores that are drawn")
    parser.add_argument("--task", choices=sorted(TASKS), action="append")
    parser.add_argument("--rows", type=int, default=1_200, help="of both halves together (1,200)")
    parser.add_argument("--asked", type=int, default=200, help="items of the other half that are asked (200)")
    parser.add_argument("--max-steps", type=int, default=200, help="of one training (200)")
    parser.add_argument("--full", action="store_true", help="every arm and size, not only those of --quick")
    arguments = parser.parse_args()
    if arguments.rules:
        simulate()
        return
    if arguments.data is None:
        parser.error("Name the folder of data sets, or give --rules.")
    rows = []
    for name in arguments.task or TASKS:
        print(name, flush=True)
        rows.append(measure(arguments.data, name, arguments))
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(rows[-1]) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
