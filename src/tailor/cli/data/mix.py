"""`tailor data mix`: some general data among the special, against forgetting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Json

if TYPE_CHECKING:
    from tailor.data import JsonObject

File = Annotated[Path, typer.Argument(metavar="FILE", help="The data of the task.")]
General = Annotated[Path, typer.Option("--general", metavar="FILE", help="Data to be kept in mind.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT.jsonl", help="The file to write.")]
Share = Annotated[
    float, typer.Option("--share", min=0.0, max=0.95, help="Part of the whole that is general.")
]
Seed = Annotated[int, typer.Option("--seed", help="Decides which general rows are taken.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT.")]


def mix(
    file: File,
    general: General,
    out: Out,
    share: Share = 0.1,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Mix a share of general examples into a training file, so that old skills are practised too.

    Which ones follows from the seed and their content. General rows are marked in their `metadata`.
    """
    import json

    from tailor.cli.data.writing import refuse_overwriting, written
    from tailor.cli.view import View
    from tailor.data.mixing import mix as mixed

    view = View.open(as_json=as_json)
    refuse_overwriting(out, [file, general], force=force)
    num_own = num_general = 0
    with written(out) as stream:
        for row, is_general in mixed(_rows(file), _rows(general), share=share, seed=seed):
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            num_general += is_general
            num_own += not is_general
    view.say(f"{out}: {num_own:,} rows of {file.name} and {num_general:,} of {general.name}.")
    reached = num_general / max(1, num_own + num_general)
    if reached < share - 0.01:
        view.say(f"That is {reached:.0%}, not {share:.0%}: {general.name} has no more.", style="yellow")
    view.say(f"Next: tailor train {out}")
    view.emit({"file": str(out), "own": num_own, "general": num_general, "share": reached})


def _rows(path: Path) -> Iterator[JsonObject]:
    from tailor.data.rows import Row, open_source
    from tailor.errors import InvalidRequest

    for row in open_source(path).rows():
        if not isinstance(row, Row):
            raise InvalidRequest(
                f"{path.name}, line {row.line}: {row.message}",
                remedy=f"Mend it first: tailor data fix {path}",
            )
        yield row.value
