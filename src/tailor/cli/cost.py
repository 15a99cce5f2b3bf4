"""`tailor cost FILE --model M`: what tuning would cost, and when it would pay, before anything is started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.data import tokens
from tailor.cli.options import Json, home_of
from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from decimal import Decimal

    from tailor.advise import Catalogue, CostPlan, Device, Workload
    from tailor.cli.view import View
    from tailor.data.doctor import TokenCount

_PROMPT = "What answers today"
_DEVICE = "A device of your own"

File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="What to learn from: a file, folder or archive. None: list prices."
    ),
]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="The model to tune.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the file.")]
Volume = Annotated[
    str | None,
    typer.Option("--volume", metavar="N[/month|/day]", help="Requests, such as 30000/month, 50k or 1M/day."),
]
Setup = Annotated[
    str, typer.Option("--setup-cost", metavar="AMOUNT", help="What labels and work cost beside the training.")
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Prices of your own. (default: prices.toml in the home)"),
]
InsteadOf = Annotated[
    str | None,
    typer.Option(
        "--instead-of",
        metavar="NAME",
        help="The model that answers today. (default: the one to tune)",
        rich_help_panel=_PROMPT,
    ),
]
PromptTokens = Annotated[
    int | None,
    typer.Option(
        "--prompt-tokens",
        min=0,
        metavar="N",
        help="Tokens of today's prompt, all told. (default: as in the file)",
        rich_help_panel=_PROMPT,
    ),
]
DevicePrice = Annotated[
    str | None,
    typer.Option(
        "--device-price",
        metavar="P[/hour|/Nyears]",
        help="Rent of an hour, or 30000/3years for what you bought.",
        rich_help_panel=_DEVICE,
    ),
]
Watts = Annotated[
    str | None,
    typer.Option("--power-watts", metavar="W", help="Drawn at work.", rich_help_panel=_DEVICE),
]
Kwh = Annotated[
    str | None,
    typer.Option("--price-per-kwh", metavar="P", help="Of electricity.", rich_help_panel=_DEVICE),
]
Speed = Annotated[
    str | None,
    typer.Option(
        "--tokens-per-second",
        metavar="X",
        help="Measured, prompt and answer together, all requests at once.",
        rich_help_panel=_DEVICE,
    ),
]
TrainingSpeed = Annotated[
    str | None,
    typer.Option(
        "--training-tokens-per-second", metavar="X", help="Measured in training.", rich_help_panel=_DEVICE
    ),
]
Currency = Annotated[
    str, typer.Option("--currency", metavar="CODE", help="Of the device's prices.", rich_help_panel=_DEVICE)
]
Brief = Annotated[bool, typer.Option("--brief", help="Only the results, without their formulas.")]


def cost(
    file: File = None,
    model: Model = None,
    epochs: Epochs = 3,
    volume: Volume = None,
    setup_cost: Setup = "0",
    prices: Prices = None,
    instead_of: InsteadOf = None,
    prompt_tokens: PromptTokens = None,
    device_price: DevicePrice = None,
    power_watts: Watts = None,
    price_per_kwh: Kwh = None,
    tokens_per_second: Speed = None,
    training_tokens_per_second: TrainingSpeed = None,
    currency: Currency = "USD",
    base: tokens.Base = None,
    brief: Brief = False,
    as_json: Json = False,
) -> None:
    """Reckon what tuning costs, what a request costs before and after, and when the one pays for the other.

    Every result shows its formula with its numbers. Without a file: the prices, with date and source. Needs
    no server.
    """
    from datetime import date

    from tailor.advise import cost_plan, load_catalogue
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    own = prices or home_of(None) / "prices.toml"
    catalogue = load_catalogue(*([own] if prices or own.is_file() else []))
    if file is None:
        _show_prices(view, catalogue)
        return
    if model is None:
        raise InvalidRequest(
            "Which model is to be tuned?",
            remedy=f"Give --model, such as one of {', '.join(catalogue.prices)}.",
        )
    device = _device(
        price=device_price,
        watts=power_watts,
        per_kwh=price_per_kwh,
        speed=tokens_per_second,
        training_speed=training_tokens_per_second,
        currency=currency,
    )
    workload = _workload(
        file,
        tokens.token_count(base) if device or base else None,
        model=model,
        instead_of=instead_of,
        today_prompt_tokens=prompt_tokens,
        epochs=epochs,
        volume=None if volume is None else per_month(volume),
        setup=amount(setup_cost, "--setup-cost"),
    )
    plan = cost_plan(workload, catalogue, device=device, today=date.today())
    _show(view, plan, brief=brief)
    view.emit(plan.to_dict())


def per_month(text: str) -> Decimal:
    """Requests a month from how people write them: 30000/month, 50k, 1M/day.

    Raises:
        InvalidRequest: It says no number.
    """
    from decimal import Decimal

    from tailor.advise.costs import DAYS_A_MONTH

    found = re.fullmatch(r"([\d_,.]+)\s*([kKmM]?)\s*(?:/\s*(day|month|year))?", text.strip())
    if found is None:
        raise InvalidRequest(
            f"--volume {text[:40]} says no number.", remedy="Write 30000/month, 50k or 1M/day."
        )
    number = amount(found[1].replace(",", "").replace("_", ""), "--volume")
    times = {"": 1, "k": 1_000, "m": 1_000_000}[found[2].lower()]
    months = {None: Decimal(1), "month": Decimal(1), "day": DAYS_A_MONTH, "year": Decimal(1) / 12}[found[3]]
    return number * times * months


def amount(text: str, option: str) -> Decimal:
    """A number of an option, exactly as written.

    Raises:
        InvalidRequest: It is none, or negative.
    """
    from decimal import Decimal, InvalidOperation

    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise InvalidRequest(f"{option} {text[:40]} is no amount.", remedy="Write a number, such as 0.25.")
    return value


def _device(
    *,
    price: str | None,
    watts: str | None,
    per_kwh: str | None,
    speed: str | None,
    training_speed: str | None,
    currency: str,
) -> Device | None:
    """The device that the options describe, if they describe one."""
    from decimal import Decimal

    from tailor.advise import Device

    if not any((price, watts, per_kwh, speed, training_speed)):
        return None
    if speed is None:
        raise InvalidRequest(
            "How fast is the device?", remedy="Give --tokens-per-second; benchmarks/serving.py measures it."
        )
    hourly = bought = Decimal(0)
    years = Decimal(3)
    if price is not None:
        found = re.fullmatch(r"([^/]+)(?:/\s*(?:(hour|h)|([\d.]+)\s*(?:years?|y)))?", price.strip())
        if found is None:
            raise InvalidRequest(
                f"--device-price {price[:40]} is no price.", remedy="Write 2.50/hour or 30000/3years."
            )
        if found[3]:
            bought, years = amount(found[1], "--device-price"), amount(found[3], "--device-price")
        else:
            hourly = amount(found[1], "--device-price")
    return Device(
        currency=currency,
        price_per_hour=hourly,
        purchase_price=bought,
        years=years,
        watts=amount(watts or "0", "--power-watts"),
        price_per_kwh=amount(per_kwh or "0", "--price-per-kwh"),
        tokens_per_second=amount(speed, "--tokens-per-second"),
        training_tokens_per_second=None
        if training_speed is None
        else amount(training_speed, "--training-tokens-per-second"),
    )


def _workload(
    file: Path,
    count: TokenCount | None,
    *,
    model: str,
    instead_of: str | None,
    today_prompt_tokens: int | None,
    epochs: int,
    volume: Decimal | None,
    setup: Decimal,
) -> Workload:
    """The file, counted as the data doctor counts it: an estimate for models hosted elsewhere."""
    from tailor.advise import Workload
    from tailor.data.doctor import Options, TokenCount, read_corpus
    from tailor.data.problems import Findings
    from tailor.data.rows import open_source

    count = count or TokenCount()
    source = open_source(file)
    corpus, num_lines = read_corpus(
        source.rows(), name=source.name, form=source.form, options=Options(tokens=count), findings=Findings()
    )
    if not len(corpus):
        raise InvalidRequest(f"{source.name} has no sound example.", remedy="See tailor data check.")
    lines = f"{len(corpus):,} examples"
    if len(corpus) < num_lines:
        lines += f" (of {num_lines:,} lines; tailor data check says what is wrong with the others)"
    return Workload(
        examples=len(corpus),
        tokens=int(corpus.facts.tokens.sum(dtype="int64")),
        answer_tokens=int(corpus.facts.answer_tokens.sum(dtype="int64")),
        counted_with=f"{lines}, counted with {count.name}",
        model=model,
        instead_of=instead_of,
        today_prompt_tokens=today_prompt_tokens,
        epochs=epochs,
        volume=volume,
        setup=setup,
    )


def _show(view: View, plan: CostPlan, *, brief: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right", overflow="fold")
    rows = list(plan.rows)
    for name, text, _ in rows:
        table.add_row(name[:1].upper() + name[1:], Text(text, style="bold"))
    view.people.print(table)
    said = set()
    for figure in () if brief else (figure for *_, figure in rows if figure is not None):
        # A figure explains its parts too; each is explained once.
        for block in re.split(r"\n(?! )", figure.explain()):
            if block not in said:
                said.add(block)
                view.say(block, style="dim")
    view.say()
    for note in plan.notes:
        view.say(f"note: {note}", style="yellow" if "check" in note else None)


def _show_prices(view: View, catalogue: Catalogue) -> None:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title="Prices per million tokens", title_justify="left"
    )
    for title in ("model", "", "read", "written", "training", "tuned: read", "written", "date", "source"):
        is_text = title in ("model", "", "date", "source")
        table.add_column(title, justify="left" if is_text else "right", overflow="fold")
    for price in catalogue.prices.values():
        amounts = (price.input, price.output, price.training, price.tuned_input, price.tuned_output)
        shown = ("" if value is None else f"{value:.2f}" for value in amounts)
        how = "" if price.read == "checked" else f" ({price.read})"
        table.add_row(price.model, price.currency, *shown, price.date.isoformat(), price.source + how)
    view.people.print(table)
    view.emit({"prices": [price.to_dict() for price in catalogue.prices.values()]})
