"""`tailor train FILE --dry-run`: steps, memory and time, and nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tailor.cli.connect import Connection
    from tailor.cli.view import View
    from tailor.cli.wish import Wish
    from tailor.protocol import TrainingPlan

_PARTS = (
    ("libraries", "libraries_bytes"),
    ("base", "base_bytes"),
    ("what is trained", "trained_bytes"),
    ("activations", "activations_bytes"),
    ("output layer", "output_bytes"),
)
_ADAPTERS = {"lora": "LoRA", "dora": "DoRA", "ia3": "IA3", "prefix": "prefix tuning", "full": "all weights"}


def dry_run(view: View, connection: Connection, wish: Wish) -> None:
    """Ask the server what the job would take and show it; exit code 1 if it does not fit."""
    from tailor.cli.train import default_base

    endpoint = connection.endpoint
    model = wish.model or default_base(endpoint)
    files = [endpoint.upload(path) for path in (wish.file, wish.validation) if path is not None]
    try:
        plan = endpoint.plan(
            wish.request(
                model=model,
                training_file=files[0].id,
                validation_file=files[1].id if wish.validation is not None else None,
            )
        )
    finally:
        for file in files:
            endpoint.openai.files.delete(file.id)
    _show(view, plan)
    view.emit(plan.model_dump(mode="json"))
    if not plan.fits:
        raise typer.Exit(1)
    view.say("Nothing was trained; without --dry-run it is.", style="dim")


def _show(view: View, plan: TrainingPlan) -> None:
    from tailor.cli.figures import printable

    recipe, memory = plan.recipe, plan.memory
    what = _ADAPTERS.get(recipe["adapter"], recipe["adapter"])
    if recipe["adapter"] in ("lora", "dora"):
        what += f" of rank {recipe['rank']}"
    if recipe["quantization"]:
        what += f" on a base in {recipe['quantization']}"
    view.say(printable(f"{plan.method} on {plan.model}: {what}, {recipe['dtype']}"), style="bold")
    view.say(
        f"  {plan.num_examples:,} examples, {plan.num_tokens:,} tokens, {recipe['num_epochs']} epochs of "
        f"{recipe['batch_size']} a step: {plan.num_steps:,} steps at a rate of {recipe['learning_rate']:.2g}"
    )
    parts = ", ".join(f"{name} {getattr(memory, field) / 1e9:.2f}" for name, field in _PARTS)
    room = "" if memory.room_bytes is None else f" of {memory.room_bytes / 1e9:.1f} GB that are free"
    mark, style = ("✓", "green") if plan.fits else ("✗", "bold red")
    view.say(f"{mark} memory: about {memory.total_bytes / 1e9:.2f} GB{room}", style=style)
    view.say(f"  {parts}", style="dim")
    if plan.seconds is not None:
        view.say(f"  time: about {_in_words(plan.seconds)} for the steps (within a factor of two)")
    for sentence in (*plan.changes, *plan.notes, *([plan.offer] if plan.offer else [])):
        view.say(printable(f"  {sentence}"))


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
