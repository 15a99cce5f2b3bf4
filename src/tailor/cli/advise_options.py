"""The options of `tailor advise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_ASKED = "What cannot be measured"
_TRIED = "What is tried"
_MONEY = "Costs"

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Questions with answers: any file, folder, archive.")
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="KIND",
        help="classification, extraction, exact, text or tool calls. (default: by the answers)",
        rich_help_panel=_TRIED,
    ),
]
Volume = Annotated[
    str | None,
    typer.Option(
        "--volume",
        metavar="N[/month|/day]",
        help="Requests, such as 30000/month or 1M/day.",
        rich_help_panel=_ASKED,
    ),
]
Changes = Annotated[
    str | None,
    typer.Option(
        "--knowledge-changes",
        metavar="HOW OFTEN",
        help="What answers rest on changes never, monthly, weekly or daily.",
        rich_help_panel=_ASKED,
    ),
]
Sources = Annotated[
    bool | None,
    typer.Option(
        "--needs-sources/--no-sources",
        help="Answers must say where they are from.",
        rich_help_panel=_ASKED,
    ),
]
Latency = Annotated[
    float | None,
    typer.Option(
        "--latency-ms", min=1, metavar="N", help="95 of 100 answers within N ms.", rich_help_panel=_ASKED
    ),
]
Privacy = Annotated[
    str | None,
    typer.Option(
        "--privacy",
        metavar="local|any",
        help="local: no text goes beyond the endpoint.",
        rich_help_panel=_ASKED,
    ),
]
NoQuestions = Annotated[
    bool, typer.Option("--no-questions", help="Ask nothing on the terminal.", rich_help_panel=_ASKED)
]
Documents = Annotated[
    Path | None,
    typer.Option(
        "--documents", metavar="FOLDER", help="Texts to look answers up in.", rich_help_panel=_TRIED
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="NAME,...",
        help="Strong models of the endpoint to ask and to learn from.",
        rich_help_panel=_TRIED,
    ),
]
Embeddings = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="NAME",
        help="A model of the endpoint: look passages up by meaning too.",
        rich_help_panel=_TRIED,
    ),
]
BaseName = Annotated[
    str | None,
    typer.Option(
        "--base", metavar="NAME", help="The base to ask and to tune. (default: the endpoint's)",
        rich_help_panel=_TRIED,
    ),
]  # fmt: skip
Quick = Annotated[
    bool,
    typer.Option("--quick", help="Fewer arms, one training; the curve by words.", rich_help_panel=_TRIED),
]
MaxSteps = Annotated[
    int,
    typer.Option("--max-steps", min=1, metavar="N", help="Of one training.", rich_help_panel=_TRIED),
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", min=1, max=5, metavar="N", help="Trainings on all examples.", rich_help_panel=_TRIED
    ),
]
Margin = Annotated[
    float,
    typer.Option(
        "--margin",
        min=0.1,
        max=50,
        metavar="POINTS",
        help="What a cheaper way may lose.",
        rich_help_panel=_ASKED,
    ),
]
SetupCost = Annotated[
    str | None,
    typer.Option(
        "--setup-cost",
        metavar="AMOUNT",
        help="Work of a trained model. (default: 500 is assumed)",
        rich_help_panel=_MONEY,
    ),
]
DevicePrice = Annotated[
    str | None,
    typer.Option(
        "--device-price",
        metavar="P",
        help="An hour of the endpoint's machine. (default: 0.05 is assumed)",
        rich_help_panel=_MONEY,
    ),
]
Watts = Annotated[
    str | None, typer.Option("--power-watts", metavar="W", help="Drawn at work.", rich_help_panel=_MONEY)
]
Kwh = Annotated[
    str | None,
    typer.Option("--price-per-kwh", metavar="P", help="Of electricity.", rich_help_panel=_MONEY),
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Prices of your own.", rich_help_panel=_MONEY),
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the page there, with plots and prompts.")
]
Work = Annotated[
    Path | None,
    typer.Option("--work", metavar="DIR", help="Where finished arms are kept. (default: in the home)"),
]
