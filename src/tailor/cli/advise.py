"""`tailor advise DATA`: whether to fine-tune at all, measured on your own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tailor.cli import advise_options as given
from tailor.cli.data import options as columns
from tailor.cli.options import Home, Json, home_of
from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from tailor.advise.advice import Advice
    from tailor.advise.material import Material
    from tailor.advise.pricing import Rates
    from tailor.advise.study import Study
    from tailor.advise.verdict import Circumstances
    from tailor.cli.view import View
    from tailor.client import Endpoint
    from tailor.protocol import ModelObject


def advise(
    data: given.Data,
    task: given.Task = None,
    volume: given.Volume = None,
    knowledge_changes: given.Changes = None,
    needs_sources: given.Sources = None,
    latency_ms: given.Latency = None,
    privacy: given.Privacy = None,
    margin: given.Margin = 2.0,
    no_questions: given.NoQuestions = False,
    documents: given.Documents = None,
    models: given.Models = None,
    embeddings: given.Embeddings = None,
    base: given.BaseName = None,
    quick: given.Quick = False,
    max_steps: given.MaxSteps = 200,
    seeds: given.Seeds = 2,
    device_price: given.DevicePrice = None,
    power_watts: given.Watts = None,
    price_per_kwh: given.Kwh = None,
    setup_cost: given.SetupCost = None,
    prices: given.Prices = None,
    input: columns.Input = None,
    output: columns.Output = None,
    system: columns.System = None,
    split: columns.Split = None,
    html: given.Html = None,
    work: given.Work = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Try prompts, examples, look-up, a linear model and fine-tuning on the same items, and say what to do.

    Only what cannot be measured is asked, on a terminal. A run that was interrupted goes on where it stopped.
    """
    from dataclasses import replace

    from tailor.advise.material import read_material
    from tailor.advise.passages import read_documents
    from tailor.cli.advise_page import show
    from tailor.cli.advise_run import carry_out
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.data.rows import open_source

    view = View.open(as_json=as_json)
    if html is not None and not html.parent.is_dir():
        raise InvalidRequest(f"There is no folder {html.parent} to write the page into.", param="--html")
    source = open_source(
        data, mapping=columns.mapping_of(input=input, output=output, system=system), split=split
    )
    material = read_material(source, kind=_kind(task))
    circumstances = _circumstances(
        view,
        volume=volume,
        knowledge_changes=knowledge_changes,
        needs_sources=needs_sources,
        latency_ms=latency_ms,
        privacy=privacy,
        margin=margin / 100,
        may_ask=not (no_questions or as_json),
        has_models=models is not None,
    )
    rates = _rates(device_price, power_watts, price_per_kwh, setup_cost, own_prices=prices, home=home)
    passages = read_documents(documents) if documents else ()
    with connect(view, home) as connection:
        others = _named(connection.endpoint, models, circumstances, option="--models")
        embedders = _named(connection.endpoint, embeddings, circumstances, option="--embeddings")
        study = _study(
            connection.endpoint,
            material,
            base=_base(connection.endpoint, base),
            others=others,
            documents=passages,
            embedder=next(iter(embedders), None),
            max_steps=max_steps,
            num_seeds=1 if quick else seeds,
            quick=quick,
            folder=work or home_of(home) / "advise",
        )
        advice = carry_out(view, study, circumstances, replace(rates, models=others))
        _tidy(study, advice)
    show(view, advice)
    if html is not None:
        from tailor.advise.report import page_of

        html.write_text(page_of(advice), encoding="utf-8")
        view.say(f"The page: {html}")
    view.emit(advice.to_dict())


def _kind(task: str | None) -> Any:
    from tailor.advise.measure import KINDS

    if task is not None and task not in KINDS:
        raise InvalidRequest(f"--task {task[:40]} is none.", remedy=f"There are {', '.join(KINDS)}.")
    return task


def _circumstances(
    view: View,
    *,
    volume: str | None,
    knowledge_changes: str | None,
    needs_sources: bool | None,
    latency_ms: float | None,
    privacy: str | None,
    margin: float,
    may_ask: bool,
    has_models: bool,
) -> Circumstances:
    """What the options say; what they do not say is asked, where somebody can answer."""
    from tailor.advise.verdict import CHANGES, Circumstances
    from tailor.cli.cost import per_month

    if may_ask and view.people.is_terminal:
        if volume is None:
            volume = _question("Requests, such as 30000/month or 1M/day (Enter: not known)")
        if knowledge_changes is None:
            knowledge_changes = _question(f"What answers rest on changes: {', '.join(CHANGES)}") or "never"
        if needs_sources is None:
            needs_sources = typer.confirm("Must an answer say where it is from?", default=False)
        if privacy is None and has_models:
            privacy = (
                "any"
                if typer.confirm("May texts go beyond the endpoint, to the models named?", default=False)
                else "local"
            )
    if knowledge_changes is not None and knowledge_changes not in CHANGES:
        raise InvalidRequest(
            f"--knowledge-changes {knowledge_changes[:40]} is none.",
            remedy=f"There are {', '.join(CHANGES)}.",
        )
    if privacy not in (None, "local", "any"):
        raise InvalidRequest(f"--privacy {privacy[:40]} is none.", remedy="Write local or any.")
    return Circumstances(
        volume=per_month(volume) if volume else None,
        knowledge_changes=knowledge_changes,  # type: ignore[arg-type]
        needs_sources=bool(needs_sources),
        latency_ms=latency_ms,
        is_private=privacy == "local",
        margin=margin,
    )


def _question(text: str) -> str | None:
    answer: str = typer.prompt(text, default="", show_default=False)
    return answer.strip() or None


def _base(endpoint: Endpoint, name: str | None) -> ModelObject:
    if name is not None:
        found = endpoint.model(name)
        if found.tailor and found.tailor.get("kind") == "upstream":
            raise InvalidRequest(
                f"{name} is elsewhere and cannot be tuned here.", remedy=f"Ask it: --models {name}."
            )
        return found
    for model in endpoint.models():
        if model.tailor and model.tailor.get("default"):
            return model
    raise InvalidRequest("The endpoint names no default base.", remedy="Name one with --base.")


def _named(
    endpoint: Endpoint, names: str | None, circumstances: Circumstances, *, option: str
) -> tuple[ModelObject, ...]:
    """The models that an option names, unless texts must stay here."""
    from tailor.advise.study import is_elsewhere

    if names is None:
        return ()
    found = tuple(endpoint.model(name.strip()) for name in names.split(",") if name.strip())
    elsewhere = [model.id for model in found if is_elsewhere(model)]
    if circumstances.is_private and elsewhere:
        raise InvalidRequest(
            f"With --privacy local nothing is sent to {', '.join(elsewhere)}.",
            param=option,
            remedy=f"Leave {option} out, or say --privacy any.",
        )
    return found


def _study(endpoint: Endpoint, material: Material, *, folder: Path, **what: Any) -> Study:
    """The study, with a folder of its own to keep what is finished."""
    from dataclasses import replace

    from tailor.advise.journal import Journal
    from tailor.advise.material import split
    from tailor.advise.study import Study

    most = {"most_held_out": 150} if what["quick"] else {}
    study = Study(endpoint=endpoint, material=material, parts=split(material.items, **most), **what)
    return replace(study, journal=Journal(folder=folder / study.fingerprint[:16]))


def _rates(
    device_price: str | None,
    watts: str | None,
    per_kwh: str | None,
    setup_cost: str | None,
    *,
    own_prices: Path | None,
    home: Path | None,
) -> Rates:
    """What machines, work and hosted models cost, as far as it is known."""
    from dataclasses import replace
    from decimal import Decimal

    from tailor.advise import Device, load_catalogue
    from tailor.advise.pricing import Rates
    from tailor.cli.cost import amount

    prices = own_prices or home_of(home) / "prices.toml"
    rates = Rates.assumed(load_catalogue(*([prices] if own_prices or prices.is_file() else [])))
    if setup_cost is not None:
        rates = replace(rates, work=amount(setup_cost, "--setup-cost"))
    if device_price is None and watts is None:
        return rates
    device = Device(
        currency="USD",
        price_per_hour=amount(device_price or "0", "--device-price"),
        watts=amount(watts or "0", "--power-watts"),
        price_per_kwh=amount(per_kwh or "0", "--price-per-kwh"),
        tokens_per_second=Decimal(1),
    )
    return replace(rates, hour=device.hour, is_assumed=False)


def _tidy(study: Study, advice: Advice) -> None:
    """Versions that were only points of the curve are not kept."""
    from tailor.errors import NotFound

    for result in advice.evidence.results:
        if result.made and result.arm.means == "tuned" and result.arm.size != len(study.parts.train):
            try:
                study.endpoint.delete_model(result.made)
            except NotFound:
                continue
