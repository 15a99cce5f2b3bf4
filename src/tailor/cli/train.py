"""`tailor train FILE`: check, train before your eyes, prove, and say what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from tailor.cli.connect import Connection
    from tailor.cli.view import View
    from tailor.cli.wish import Wish
    from tailor.client import Endpoint
    from tailor.protocol import JobObject, Proof

_MOST_ADVICE = 5
"""Pieces of advice shown before training; `tailor check` shows all."""

_QUESTION = ({"role": "user", "content": "..."},)


def train(
    file: Annotated[
        Path, typer.Argument(help="A training file (JSONL, as the method wants it).", metavar="FILE")
    ],
    validation: Annotated[
        Path | None,
        typer.Option("--validation", metavar="FILE", help="Held-out items for the proof. (default: a split)"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Base or tuned model to start from."),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option("--suffix", metavar="WORD", help="A word in the tuned model's name.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="NAME",
            help="supervised, dpo or reward_model (pairs), kto, reinforcement, distillation or text.",
        ),
    ] = "supervised",
    grader: Annotated[
        Path | None,
        typer.Option(
            "--grader",
            metavar="FILE",
            help="As JSON: what gives the reward of reinforcement, or rejects a teacher's answers.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="NAME", help="For distillation: whom to learn from."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            metavar="N",
            min=1,
            help="Stop after N looks at held-out items in vain.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, max=50, help="Passes over it.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", min=1, max=256, help="Examples per step.")
    ] = None,
    learning_rate_multiplier: Annotated[
        float | None,
        typer.Option("--learning-rate-multiplier", metavar="X", help="Scales the automatic rate."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Same seed, same bytes.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights, not an adapter.")] = False,
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter", metavar="KIND", help="lora (default), rslora, dora, ia3, bottleneck or prefix."
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", metavar="N", min=1, help="Rank of a LoRA or DoRA adapter.")
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option("--quantize", metavar="TYPE", help="Round the frozen base to int8 or nf4: less memory."),
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            "--hold-out", metavar="X", min=0.0, help="Kept aside for the proof: a share, or a number."
        ),
    ] = None,
    proof_items: Annotated[
        int | None,
        typer.Option("--proof-items", metavar="N", min=1, help="Most held-out items to compare on."),
    ] = None,
    canaries: Annotated[
        Path | None,
        typer.Option("--canaries", metavar="FILE", help="Cases that must not break: asked before and after."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="A label for the job's metadata.")
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, in memory and time; train nothing.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start the job and do not wait for it.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check a file, train on it before your eyes, prove the result.

    Without TAILOR_BASE_URL a server is started for this command. Ctrl-C leaves the job to be continued.
    """
    from tailor.cli.connect import connect
    from tailor.cli.plan import dry_run
    from tailor.cli.view import View
    from tailor.cli.wish import Wish

    view = View.open(as_json=as_json)
    wish = Wish(
        file=file,
        validation=validation,
        model=model,
        suffix=suffix,
        method=method,
        grader=grader,
        teacher=teacher,
        patience=patience,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate_multiplier=learning_rate_multiplier,
        seed=seed,
        full=full,
        adapter=adapter,
        rank=rank,
        quantize=quantize,
        hold_out=hold_out,
        proof_items=proof_items,
        canaries=canaries,
        name=name,
    )
    check_first(view, wish)
    with connect(view, home) as connection:
        if dry:
            dry_run(view, connection, wish)
            return
        job = start(connection.endpoint, wish)
        view.say(f"Job {job.id}", style="bold")
        if detach:
            view.say(_how_to_continue(job.id, connection))
            view.emit({"job": job.model_dump(mode="json"), "proof": None})
            return
        job, proof = finish(view, connection, job.id)
        conclude(view, connection, job, proof)


def check_first(view: View, wish: Wish) -> None:
    """Show what the files hold; end here, with exit code 1, when they cannot be trained on."""
    from tailor.cli.check import read_reports, show_report

    # A contradiction among the options is said before anything is read or sent.
    wish.request(model=wish.model or "the default", training_file="-", validation_file=None)
    reports = read_reports(wish.file, wish.validation, wish.method)
    for report in reports:
        show_report(view, report, most_advice=_MOST_ADVICE)
    if not all(report.ok for report in reports):
        view.say("Nothing was sent and nothing was trained.")
        view.emit({"ok": False, "files": [report.to_dict() for report in reports]})
        raise typer.Exit(1)


def start(endpoint: Endpoint, wish: Wish) -> JobObject:
    """Send the files and create the job."""
    model = wish.model or default_base(endpoint)
    training = endpoint.upload(wish.file)
    validation = endpoint.upload(wish.validation) if wish.validation else None
    canaries = endpoint.upload(wish.canaries, purpose="evals") if wish.canaries else None
    request = wish.request(
        model=model,
        training_file=training.id,
        validation_file=validation.id if validation else None,
        canaries=canaries.id if canaries else None,
    )
    return endpoint.start(request)


def default_base(endpoint: Endpoint) -> str:
    """The base that the server trains when nobody names one.

    Raises:
        InvalidRequest: The server marks none of its models as the default.
    """
    from tailor.errors import InvalidRequest

    for model in endpoint.models():
        if model.tailor and model.tailor.get("default"):
            return model.id
    raise InvalidRequest("The server has no default base model.", remedy="Name one with --model.")


def finish(view: View, connection: Connection, job_id: str) -> tuple[JobObject, Proof | None]:
    """Watch a job to its end and show what came of it. Ctrl-C leaves the job and says how to go on."""
    from tailor.cli.watch import watch

    try:
        job = watch(view, connection.endpoint.follow(job_id))
    except KeyboardInterrupt:
        view.say()
        view.say(_how_to_continue(job_id, connection), style="yellow")
        raise
    return job, show_outcome(view, connection, job)


def show_outcome(view: View, connection: Connection, job: JobObject) -> Proof | None:
    """The proof of a job that succeeded; the reason of one that did not."""
    if job.status != "succeeded" or job.fine_tuned_model is None:
        _show_failure(view, job, connection.options)
        return None
    from tailor.cli.proven import show_proof
    from tailor.errors import NotFound

    try:
        proof = connection.endpoint.proof(job.fine_tuned_model)
        show_proof(view, proof)
    except NotFound:
        proof = None
        view.say("The server has no proof for this model.", style="yellow")
    return proof


def conclude(view: View, connection: Connection, job: JobObject, proof: Proof | None) -> None:
    """What to do next; job and proof as JSON; exit code 1 unless the job succeeded."""
    if job.fine_tuned_model is not None:
        _show_next_steps(view, job.fine_tuned_model, connection.options)
    view.emit({"job": job.model_dump(mode="json"), "proof": proof and proof.model_dump(mode="json")})
    if job.status != "succeeded":
        raise typer.Exit(1)


def _show_failure(view: View, job: JobObject, options: str) -> None:
    from tailor.cli.figures import printable

    reason = printable(job.error.message) if job.error else str(job.tailor.get("pause_reason") or "")
    view.say(f"✗ The job is {job.status}. {reason}".rstrip(), style="bold red")
    if job.status == "paused":
        view.say(f"Let it go on with `tailor jobs resume {job.id}{options}`.")


def _show_next_steps(view: View, model: str, options: str) -> None:
    view.say()
    view.say(f"✓ {model}", style="bold green")
    view.say(f"  tailor chat {model}{options}")
    view.say(f"  tailor eval {model} CASES.jsonl{options}")
    view.say(
        f"  from Python, with OPENAI_BASE_URL and OPENAI_API_KEY as `tailor serve{options}` prints them:"
    )
    for line in python_lines(model):
        view.say(f"    {line}", style="cyan")


def python_lines(model: str, messages: Sequence[Mapping[str, str]] = _QUESTION) -> list[str]:
    """How a program calls the model."""
    return [
        "from openai import OpenAI",
        "answer = OpenAI().chat.completions.create(",
        f'    model="{model}",',
        "    messages=[",
        *(f"        {json.dumps(dict(message), ensure_ascii=False)}," for message in messages),
        "    ],",
        ")",
        "print(answer.choices[0].message.content)",
    ]


def _how_to_continue(job_id: str, connection: Connection) -> str:
    follow = f"`tailor jobs follow {job_id}{connection.options}`"
    if connection.place == "embedded":
        return f"Job {job_id} is saved. It goes on with {follow}."
    return f"Job {job_id} goes on at {connection.endpoint.base_url}; {follow} shows it."
