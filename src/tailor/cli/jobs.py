"""`tailor jobs`: what was asked to be trained, and how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tailor.cli.groups import ListByDefault
from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from rich.text import Text

    from tailor.cli.view import View
    from tailor.protocol import JobObject

app = typer.Typer(cls=ListByDefault, help="List, follow and steer fine-tuning jobs.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job, ftjob-...")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=100, help="How many at most.")]


@app.command("list")
def list_jobs(limit: Limit = 20, home: Home = None, as_json: Json = False) -> None:
    """The newest jobs."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = connection.endpoint.jobs(limit=limit)
    view.emit([job.model_dump(mode="json") for job in found])
    if not as_json:
        _show_list(view, found)


@app.command()
def show(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """One job: state, settings, result."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        job = connection.endpoint.job(job_id)
    view.emit(job.model_dump(mode="json"))
    if not as_json:
        _show_job(view, job)


@app.command()
def events(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """Everything that happened to a job, oldest first."""
    from datetime import datetime

    from tailor.cli.connect import connect
    from tailor.cli.figures import printable
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = connection.endpoint.events(job_id)
    view.emit([event.model_dump(mode="json") for event in found])
    if not as_json:
        for event in found:
            at = datetime.fromtimestamp(event.created_at).strftime("%H:%M:%S")
            view.say(f"{at}  {printable(event.message)}", style=STYLES[event.level])


@app.command()
def follow(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """Watch a job to its end, then show its proof."""
    from tailor.cli.connect import connect
    from tailor.cli.train import conclude, finish
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        job, proof = finish(view, connection, job_id)
        conclude(view, connection, job, proof)


@app.command()
def cancel(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """End a job for good; its checkpoints stay."""
    _steer("cancel", job_id, home=home, as_json=as_json)


@app.command()
def pause(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """Stop a job at its next step and keep everything."""
    _steer("pause", job_id, home=home, as_json=as_json)


@app.command()
def resume(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """Let a paused job go on."""
    _steer("resume", job_id, home=home, as_json=as_json)


STYLES = {"info": "", "warn": "yellow", "error": "bold red"}
"""How an event's level looks."""


def _steer(
    verb: Literal["cancel", "pause", "resume"], job_id: str, *, home: Path | None, as_json: bool
) -> None:
    from tailor.cli.connect import connect
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        endpoint = connection.endpoint
        steer = {"cancel": endpoint.cancel, "pause": endpoint.pause, "resume": endpoint.resume}[verb]
        job = steer(job_id)
    view.emit(job.model_dump(mode="json"))
    if not as_json:
        view.say(f"Job {job.id} is {job.status}.")


def _show_list(view: View, found: list[JobObject]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not found:
        view.say("No jobs yet. `tailor train FILE` starts one.")
        return
    table = Table("job", "status", "model", "steps", "result", box=box.SIMPLE_HEAD, pad_edge=False)
    for job in found:
        total = job.tailor.get("total_steps")
        steps = f"{job.tailor.get('step', 0)}/{total}" if total else ""
        table.add_row(
            job.id, _status(job), Text(job.model), steps, Text(job.fine_tuned_model or _reason(job))
        )
    view.people.print(table)


def _show_job(view: View, job: JobObject) -> None:
    from datetime import datetime

    from tailor.cli.figures import printable

    rows = {
        "job": job.id,
        "status": job.status,
        "model": job.model,
        "result": job.fine_tuned_model,
        "steps": f"{job.tailor.get('step', 0)}/{job.tailor.get('total_steps') or '?'}",
        "queue": job.tailor.get("queue_position"),
        "created": datetime.fromtimestamp(job.created_at).isoformat(sep=" "),
        "ready": job.estimated_finish and datetime.fromtimestamp(job.estimated_finish).isoformat(sep=" "),
        "finished": job.finished_at and datetime.fromtimestamp(job.finished_at).isoformat(sep=" "),
        "settings": ", ".join(f"{name} {value}" for name, value in job.hyperparameters.items()),
        "seed": job.seed,
        "tokens": job.trained_tokens,
        "training": job.training_file,
        "validation": job.validation_file,
        "metadata": ", ".join(f"{name}={value}" for name, value in (job.metadata or {}).items()) or None,
        "reason": _reason(job) or None,
    }
    for name, value in rows.items():
        if value is not None:
            view.say(f"{name:>11}  {printable(str(value))}")


def _status(job: JobObject) -> Text:
    from rich.text import Text

    style = {"succeeded": "green", "failed": "red", "running": "cyan", "paused": "yellow"}.get(job.status, "")
    return Text(job.status, style=style)


def _reason(job: JobObject) -> str:
    from tailor.cli.figures import printable

    if job.error is not None:
        return printable(job.error.message)
    return str(job.tailor.get("pause_reason") or "")
