"""`tailor data synthesize`: more examples, written by a model, filtered, and marked as what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.client import Endpoint
    from tailor.client.teaching import Teacher
    from tailor.data import Example
    from tailor.data.synthesis import Acceptance, Brief, Journal

_CHARACTERS_PER_TOKEN = 4
_SHARE_ACCEPTED = 0.6
_REPLY_TOKENS = 120
_MOST_SEEDS_SHOWN = 500
_REASONS = {
    "no_json": "no example in the reply",
    "other_label": "another answer than asked for",
    "duplicate": "says what is there already",
    "wrong_format": "answer of another format",
    "failed_grader": "failed the grader",
}

Seeds = Annotated[Path | None, typer.Argument(metavar="[SEEDS]", help="Examples to go by, in any format.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT.jsonl", help="The file to write.")]
Model = Annotated[str, typer.Option("--model", help="The teacher: any model that the server has.")]
Count = Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="Examples wanted.")]
Task = Annotated[str, typer.Option("--task", help="What the model should learn, in words.")]
System = Annotated[
    str | None, typer.Option("--system", help="System prompt of the rows. (default: the seeds')")
]
Labels = Annotated[list[str] | None, typer.Option("--label", help="An answer to be balanced over (repeat).")]
Balance = Annotated[bool, typer.Option("--balance", help="Balance over the answers that the seeds have.")]
Personas = Annotated[
    list[str] | None, typer.Option("--persona", help="Who writes (repeat); ours by default.")
]
Grader = Annotated[
    Path | None, typer.Option("--grader", exists=True, help="A grader as JSON; only what passes is kept.")
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Orders at once.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, max=2.0)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the teacher is paid.")]
PriceIn = Annotated[float | None, typer.Option("--price-in", help="Price of a million tokens read.")]
PriceOut = Annotated[float | None, typer.Option("--price-out", help="Price of a million tokens written.")]
Seed = Annotated[int, typer.Option("--seed", help="Source of all choices.")]


def synthesize(
    out: Out,
    model: Model,
    seeds: Seeds = None,
    count: Count = 100,
    task: Task = "",
    system: System = None,
    labels: Labels = None,
    balance: Balance = False,
    personas: Personas = None,
    grader: Grader = None,
    concurrency: Concurrency = 4,
    temperature: Temperature = 1.0,
    yes: Yes = False,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    seed: Seed = 0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Let a model write training examples like yours, or for a task in words.

    The same command goes on after a stop: what was answered is kept beside OUT and nothing is paid twice.
    Copies, other formats, wrong labels and what fails the grader are left out; every row says its origin.
    """
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client.teaching import Teacher
    from tailor.data.synthesis import Acceptance, Journal

    view = View.open(as_json=as_json)
    examples = _examples(seeds)
    brief = _brief(examples, task, system, labels, personas, seed, balance=balance)
    with connect(view, home) as connection:
        teacher = Teacher(
            endpoint=connection.endpoint, model=model, temperature=temperature, concurrency=concurrency
        )
        grade = _grade(grader) if grader else None
        identity = _identity(brief, model, temperature, grader)
        journal = Journal.open(out.with_name(f"{out.name}.orders.jsonl"), identity)
        prices = _prices(teacher.endpoint, model, price_in, price_out)
        if not _agreed(view, brief, journal, count, prices, yes=yes):
            raise typer.Exit(1)
        _run(view, teacher, brief, journal, Acceptance(brief, grade=grade), count)
    _write(out, journal, count)
    _report(view, out, journal, count, prices)


def _examples(seeds: Path | None) -> tuple[Example, ...]:
    if seeds is None:
        return ()
    from tailor.data.problems import Findings
    from tailor.data.reading import SupervisedReader
    from tailor.data.rows import Row, open_source

    reader = SupervisedReader(Findings())
    found: list[Example] = []
    for row in open_source(seeds).rows():
        if isinstance(row, Row) and (example := reader.read(row.line, row.value)) is not None:
            found.append(example)
        if len(found) == _MOST_SEEDS_SHOWN:
            break
    return tuple(found)


def _brief(
    examples: tuple[Example, ...],
    task: str,
    system: str | None,
    labels: list[str] | None,
    personas: list[str] | None,
    seed: int,
    *,
    balance: bool,
) -> Brief:
    from collections import Counter

    from tailor.data.synthesis import PERSONAS, Brief
    from tailor.errors import InvalidRequest

    if not examples and not task:
        raise InvalidRequest(
            "There is nothing to go by.",
            remedy="Give a file of examples, --task with a description, or both.",
        )
    systems = Counter(
        str(message["content"])
        for each in examples
        for message in each.prompt()[:1]
        if message["role"] == "system"
    )
    answers = dict.fromkeys(str(each.reference().get("content") or "") for each in examples)
    if balance and not answers:
        raise InvalidRequest(
            "--balance needs seeds to take the answers from.", remedy="Name them with --label."
        )
    return Brief(
        task=task,
        seeds=examples,
        labels=tuple(labels or (answers if balance else ())),
        system=system if system is not None else (systems.most_common(1)[0][0] if systems else None),
        personas=tuple(personas or PERSONAS),
        seed=seed,
    )


def _identity(brief: Brief, model: str, temperature: float, grader: Path | None) -> dict[str, Any]:
    import hashlib

    return {
        "model": model,
        "temperature": temperature,
        "task": brief.task,
        "system": brief.system,
        "labels": list(brief.labels),
        "personas": list(brief.personas),
        "seed": brief.seed,
        "seeds": hashlib.sha256("".join(each.fingerprint for each in brief.seeds).encode()).hexdigest(),
        "grader": hashlib.sha256(grader.read_bytes()).hexdigest() if grader else None,
    }


def _grade(path: Path) -> Callable[[Example], bool]:
    """Whether an example passes a grader; `sample` is its answer, `item` its input and output."""
    import json

    from pydantic import TypeAdapter, ValidationError

    from tailor.errors import InvalidRequest
    from tailor.grading import Answered, grade_now, sample_of
    from tailor.protocol import Grader as AnyGrader

    try:
        grader: Any = TypeAdapter(AnyGrader).validate_python(json.loads(path.read_bytes()))
    except (ValueError, ValidationError) as error:
        raise InvalidRequest(f"{path} is no grader: {error}", param="--grader") from error

    def passes(example: Example) -> bool:
        text = str(example.reference()["content"])
        item = {"input": str(example.prompt()[-1]["content"]), "output": text}
        return bool(grade_now(grader, [Answered(item=item, sample=sample_of(text))])[0].passed)

    return passes


def _prices(
    endpoint: Endpoint, model: str, given_in: float | None, given_out: float | None
) -> tuple[float, float] | None:
    """Per million tokens (read, written): as given, or as the server's operator wrote them down."""
    if given_in is not None or given_out is not None:
        return given_in or 0.0, given_out or 0.0
    price = (endpoint.model(model).tailor or {}).get("price")
    if isinstance(price, dict):
        return float(price.get("input") or 0.0), float(price.get("output") or 0.0)
    return None


def _cost(prices: tuple[float, float] | None, prompt_tokens: float, completion_tokens: float) -> float | None:
    return None if prices is None else (prices[0] * prompt_tokens + prices[1] * completion_tokens) / 1e6


def _agreed(
    view: View, brief: Brief, journal: Journal, count: int, prices: tuple[float, float] | None, *, yes: bool
) -> bool:
    """Say what it will take, and ask where there is somebody to ask."""
    from tailor.data.synthesis import next_orders, request_of

    missing = count - len(journal.accepted)
    if missing <= 0:
        return True
    sample = next_orders(brief, first=journal.next_number(), count=8, accepted=journal.per_label())
    texts = [
        "".join(m["content"] for m in request_of(order, task=brief.task, system=brief.system))
        for order in sample
    ]
    orders = missing / _SHARE_ACCEPTED
    asked = orders * sum(map(len, texts)) / len(texts) / _CHARACTERS_PER_TOKEN
    answered = orders * _REPLY_TOKENS
    if journal.entries:
        view.say(f"Going on: {len(journal.accepted):,} of {count:,} are there from before.")
    cost = _cost(prices, asked, answered)
    price = f"about {cost:,.2f} at the teacher's price" if cost is not None else "its price is not known here"
    view.say(
        f"About {orders:,.0f} orders for {missing:,} examples: {asked:,.0f} tokens to read, "
        f"{answered:,.0f} to write; {price}."
    )
    if yes or not view.people.is_terminal:
        return True
    return typer.confirm("Ask the teacher?", default=True)


def _run(
    view: View, teacher: Teacher, brief: Brief, journal: Journal, acceptance: Acceptance, count: int
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tailor.client.teaching import teach

    columns = (TextColumn("examples"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    refused = TextColumn("{task.fields[refused]} refused", style="dim")
    with Progress(*columns, refused, console=view.people, disable=not view.people.is_terminal) as progress:
        bar = progress.add_task("", total=count, completed=len(journal.accepted), refused=0)
        most = 4 * count + 20
        for _ in teach(teacher, brief, journal, acceptance, wanted=count, most_orders=most):
            progress.update(bar, completed=len(journal.accepted), refused=sum(journal.refusals().values()))


def _write(out: Path, journal: Journal, count: int) -> None:
    import json

    from tailor.cli.data.writing import written

    with written(out) as stream:
        for entry in journal.accepted[:count]:
            stream.write(json.dumps(entry.row, ensure_ascii=False).encode() + b"\n")


def _report(view: View, out: Path, journal: Journal, count: int, prices: tuple[float, float] | None) -> None:
    num_made, refusals, usage = min(count, len(journal.accepted)), journal.refusals(), journal.usage
    cost = _cost(prices, usage.prompt_tokens, usage.completion_tokens)
    view.say(f"{num_made:,} examples in {out}, each marked as synthetic.")
    for reason, number in refusals.most_common():
        view.say(f"  {number:>7,} refused: {_REASONS.get(reason, reason)}", style="dim")
    paid = f", {cost:,.4f} at the teacher's price" if cost is not None else ""
    view.say(f"  {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written{paid}", style="dim")
    if num_made < count:
        view.say(
            f"{count - num_made:,} are missing: the teacher's drafts were refused too often.", style="yellow"
        )
    view.say(f"Next: tailor data check {out}")
    view.emit(
        {
            "file": str(out),
            "examples": num_made,
            "wanted": count,
            "refused": dict(refusals),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost": cost,
            "labels": {str(label): number for label, number in journal.per_label().items()},
        }
    )
    if num_made < count:
        raise typer.Exit(1)
