"""`tailor base`: make a base model of your own, from scratch or from another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tailor.cli.base_plan import PlanFile
    from tailor.cli.view import View
    from tailor.training.pretraining import Stage
    from tailor.training.updates import Update

app = typer.Typer(help="Make a base model of your own.", no_args_is_help=True)

_LINE_EVERY_STEPS = 20


@app.callback()
def group() -> None:
    """Keep the verb a word of its own."""


@app.command()
def create(
    plan: Annotated[Path, typer.Argument(metavar="CONFIG", exists=True, dir_okay=False, help="A TOML plan.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Working folder; the base ends in it too.")],
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the plan's data files.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="Processor cores to use.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Pre-train a base by a plan and add it to the catalogue; the same command again goes on where it was."""
    from tailor.cli.base_plan import read_plan
    from tailor.cli.models import add
    from tailor.cli.view import View
    from tailor.models import require_own_name
    from tailor.training import make_deterministic
    from tailor.training.pretraining import final_model, pretrain

    view = View.open(as_json=as_json)
    file = read_plan(plan, data)
    require_own_name(file.plan.name)  # now, not after hours of training
    make_deterministic(threads or len(os.sched_getaffinity(0)))
    stages = tuple(_stages(file))
    start = _start(file, output, view)
    _follow(view, pretrain(start, stages, output))
    made = final_model(stages, output)
    view.say(f"The base is complete: {made}")
    add(file.plan.name, str(made), home=home, as_json=as_json)


def _stages(file: PlanFile) -> Iterator[Stage]:
    from tailor.training.pretraining import Stage

    for number, stage in enumerate(file.plan.stages):
        yield Stage(
            name=f"{number + 1}-{stage.name}",
            files=tuple(file.data / name for name in stage.files),
            validation=file.data / file.plan.validation if file.plan.validation else None,
            hyperparameters=stage.hyperparameters,
            options=stage.tailor,
            seed=file.plan.seed + number,
        )


def _start(file: PlanFile, output: Path, view: View) -> Path:
    """The model before its first step; made once."""
    from tailor.errors import InvalidRequest
    from tailor.models.creation import BaseShape, create_base, grow_base, train_tokenizer

    plan, start = file.plan, output / "start"
    if (start / "model.safetensors").exists():
        return start
    if plan.start is not None:
        source = file.folder / plan.start.base
        if not source.is_dir():
            raise InvalidRequest(
                f"There is no base in {source}.",
                param="start.base",
                remedy="Name its directory, relative to the plan.",
            )
        if plan.start.num_layers is None:
            return source
        grow_base(source, start, num_layers=plan.start.num_layers)
    elif plan.tokenizer is not None and plan.shape is not None:
        view.note(f"Learning a vocabulary of {plan.tokenizer.vocab_size:,} tokens")
        texts = _texts([file.data / name for name in plan.tokenizer.files])
        train_tokenizer(texts, start, vocab_size=plan.tokenizer.vocab_size)
        shape = BaseShape(vocab_size=plan.tokenizer.vocab_size, **plan.shape.model_dump())
        create_base(start, shape, seed=plan.seed)
    return start


def _texts(files: list[Path]) -> Iterator[str]:
    from tailor.data import read_texts

    for path in files:
        with path.open("rb") as stream:
            for example in read_texts(stream, name=path.name).examples:
                yield example.text or "\n".join(str(each.get("content")) for each in example.messages)


def _follow(view: View, updates: Iterator[tuple[Stage, Update]]) -> None:
    """A live bar on a terminal, a line every so many steps elsewhere."""
    import time

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tailor.training import Note, StepMetrics

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    figures = TextColumn("{task.fields[figures]}")
    began, num_tokens = time.monotonic(), 0
    with Progress(*columns, figures, console=view.people, disable=not view.people.is_terminal) as progress:
        tasks: dict[str, int] = {}
        for stage, update in updates:
            if isinstance(update, Note):
                view.say(update.message, style="yellow")
            if not isinstance(update, StepMetrics):
                continue
            num_tokens += update.num_tokens
            speed = num_tokens / (time.monotonic() - began)
            text = f"loss {update.train_loss:.3f}, {speed:,.0f} tokens/s"
            if update.full_valid_loss is not None:
                text += f", validation loss {update.full_valid_loss:.4f}"
            if stage.name not in tasks:
                tasks[stage.name] = progress.add_task(stage.name, total=update.total_steps, figures="")
            progress.update(tasks[stage.name], completed=update.step, figures=text)  # type: ignore[arg-type]
            is_due = update.step % _LINE_EVERY_STEPS == 0 or update.step == update.total_steps
            if not view.people.is_terminal and is_due:
                view.say(f"{stage.name}: step {update.step}/{update.total_steps}, {text}")
