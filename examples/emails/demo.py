"""The whole loop on one machine: 500 labelled mails in, a tuned model out, proven on mails it never saw.

Run it with `make demo`. It does what `tailor check` and `tailor train` do, in a home of its own
(`.demo/home`), and leaves its figures in `.demo/result.json`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tailor.cli.check import read, show_report
from tailor.cli.connect import connect
from tailor.cli.figures import duration, p_value, percent, printable, shortened
from tailor.cli.train import finish, python_lines, start
from tailor.cli.view import View
from tailor.cli.wish import Wish
from tailor.client import FINISHED, Endpoint
from tailor.data import Dataset, Example, overlap
from tailor.errors import TailorError
from tailor.protocol import Proof

HERE = Path(__file__).parent
TRAIN = HERE / "train.jsonl"
HELD_OUT = HERE / "held_out.jsonl"
OUT = Path(".demo")
GOAL = 0.9


def main() -> int:
    """Run the demo; the exit code says whether a model came out, not how good it is."""
    started = time.monotonic()
    view = View.open()
    step(view, 1, "Check the data")
    held_out = check(view)
    step(view, 2, "Train, and compare with the base on every held-out mail")
    with connect(view, OUT / "home") as connection:
        clear_earlier(view, connection.endpoint)
        wish = Wish(
            file=TRAIN,
            validation=HELD_OUT,
            suffix="emails",
            epochs=3,
            full=True,  # so small a base learns more with all its weights (docs/log.md)
            seed=7,
            name="demo",
            proof_items=len(held_out),
        )
        job = start(connection.endpoint, wish)
        job, proof = finish(view, connection, job.id)
        if job.fine_tuned_model is None or proof is None:
            return 1
        step(view, 3, "Ask both about three of them")
        for example in one_of_each(held_out, 3):
            ask_both(view, connection.endpoint, proof, example)
    step(view, 4, "Call it from your own code")
    show_how_to_call(view, job.fine_tuned_model, held_out.examples[0])
    seconds = time.monotonic() - started
    write_result(proof, seconds)
    show_result(view, proof, seconds)
    return 0


def step(view: View, number: int, title: str) -> None:
    """A heading."""
    view.say()
    view.say(f"{number}. {title}", style="bold cyan")


def check(view: View) -> Dataset:
    """Check both files as `tailor check` does; the held-out mails are returned."""
    train = read(TRAIN, "supervised", "training_file")
    held_out = read(HELD_OUT, "supervised", "validation_file")
    show_report(view, train.report, most_advice=5)
    show_report(view, held_out.report.including(overlap(train, held_out)), most_advice=5)
    return held_out


def clear_earlier(view: View, endpoint: Endpoint) -> None:
    """Cancel what an interrupted demo left behind: it would go on first, and this one wait for it."""
    for job in endpoint.jobs():
        if job.status not in FINISHED:
            endpoint.cancel(job.id)
            view.note(f"Cancelled {job.id} of an earlier demo that was interrupted")


def one_of_each(dataset: Dataset, most: int) -> list[Example]:
    """The first example of each answer, `most` at most."""
    first: dict[str, Example] = {}
    for example in dataset.examples:
        first.setdefault(str(example.reference()["content"]), example)
    return list(first.values())[:most]


def ask_both(view: View, endpoint: Endpoint, proof: Proof, example: Example) -> None:
    """One mail, the right answer, and what base and tuned model say through the API."""
    base, tuned = (
        endpoint.chat(model, example.prompt(), temperature=0, max_completion_tokens=16).text
        for model in (proof.base, proof.model)
    )
    expected = str(example.reference()["content"])
    view.say()
    view.say(f"  {shortened(printable(str(example.prompt()[-1]['content'])), most=100)}")
    view.say(f"    right  {expected}", style="dim")
    view.say(f"    base   {shortened(printable(base), most=60)}")
    view.say(
        f"    tuned  {shortened(printable(tuned), most=60)}",
        style="bold green" if tuned == expected else "red",
    )


def show_how_to_call(view: View, model: str, example: Example) -> None:
    """The server to start, and the lines that use the model."""
    home = OUT / "home"
    mail = {"role": "user", "content": "Subject: parcel\n\nWhere is it? I ordered two weeks ago."}
    messages = [*example.prompt()[:-1], mail]
    view.say(f"  tailor serve --home {home}")
    view.say("  export OPENAI_BASE_URL=http://127.0.0.1:8000/v1")
    view.say(f"  export OPENAI_API_KEY=$(tailor keys create --home {home})")
    view.say()
    for line in python_lines(model, messages):
        view.say(f"  {line}", style="cyan")


def write_result(proof: Proof, seconds: float) -> None:
    """The figures for scripts."""
    result = {
        "base_accuracy": proof.arms["base"].score,
        "tuned_accuracy": proof.arms["version"].score,
        "p_value": proof.difference.p_value,
        "model": proof.model,
        "seconds": round(seconds, 1),
        "interval": [proof.difference.interval.low, proof.difference.interval.high],
        "num_items": proof.num_items,
    }
    (OUT / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def show_result(view: View, proof: Proof, seconds: float) -> None:
    """What came of it, in one line; a model below the goal is said to be so."""
    base, tuned = proof.arms["base"].score or 0.0, proof.arms["version"].score or 0.0
    view.say()
    view.say(
        f"{percent(base)} right before, {percent(tuned)} after, {p_value(proof.difference.p_value)}, "
        f"in {duration(seconds)}. Figures: {OUT / 'result.json'}",
        style="bold",
    )
    if tuned < GOAL:
        view.say(f"This is below the goal of {percent(GOAL)}.", style="bold yellow")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except TailorError as error:
        sys.exit(error.sentence)
