"""What tuning a model on a file would cost and when it would pay, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from tailor.advise.costs import (
    Device,
    break_even,
    duration,
    monthly,
    payback,
    per_thousand,
    request_cost,
    training_cost,
)
from tailor.advise.figures import Figure, given, money
from tailor.advise.prices import Catalogue
from tailor.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What is to be learnt, and what will be asked."""

    examples: int
    """To learn from."""

    tokens: int
    """Of all of them, once."""

    answer_tokens: int
    """Of these, in answers."""

    counted_with: str
    """How tokens were counted, for people."""

    model: str
    """To be tuned."""

    instead_of: str | None = None
    """What answers today; None: the model to be tuned, where it has a price."""

    today_prompt_tokens: int | None = None
    """Of today's prompt with its instructions and examples; None: as in the file."""

    epochs: int = 3
    """Passes over the file."""

    volume: Decimal | None = None
    """Requests a month; None: not known."""

    setup: Decimal = Decimal(0)
    """What labelling and work cost beside the training."""

    def __post_init__(self) -> None:
        if self.examples < 1 or not 0 <= self.answer_tokens <= self.tokens or self.epochs < 1:
            raise InvalidRequest("A workload has examples, tokens, and at least one epoch.")
        if (self.volume is not None and self.volume <= 0) or self.setup < 0:
            raise InvalidRequest("A volume is above zero, and what setting up costs is not negative.")

    @property
    def prompt(self) -> Figure:
        """Mean tokens of a prompt in the file."""
        return given("tokens of a prompt", _mean(self.tokens - self.answer_tokens, self.examples))

    @property
    def answer(self) -> Figure:
        """Mean tokens of an answer."""
        return given("tokens of an answer", _mean(self.answer_tokens, self.examples))


@dataclass(frozen=True, kw_only=True, slots=True)
class CostPlan:
    """Figures, and what to know about them. None: cannot be said, and a note says why."""

    workload: Workload
    """What it is about."""

    training: Figure | None
    """One training."""

    setup: Figure | None
    """Training and the rest that is paid once."""

    today: Figure | None
    """A request as it is answered today."""

    tuned: Figure | None
    """A request to the tuned model."""

    saving: Figure | None
    """Per request."""

    break_even: Figure | None
    """Requests."""

    cheaper_from: Figure | None
    """Requests a month from which a device that is always on costs less than what answers today."""

    today_monthly: Figure | None
    """At the volume."""

    tuned_monthly: Figure | None
    """At the volume; devices of one's own cost the whole month."""

    monthly_saving: Figure | None
    """At the volume."""

    payback: Figure | None
    """Months."""

    device_tokens: Figure | None
    """A million tokens on the device."""

    notes: tuple[str, ...]
    """What is assumed, missing or old."""

    @property
    def rows(self) -> Iterator[tuple[str, str, Figure | None]]:
        """For a table: what, how much, and the figure that explains it."""
        for figure in (self.training, self.setup if self.workload.setup else None, self.device_tokens):
            if figure is not None:
                yield figure.name, figure.text, figure
        for request, name in ((self.today, "1,000 requests today"), (self.tuned, "1,000 requests, tuned")):
            if request is not None:
                thousand = per_thousand(request, name)
                yield name, thousand.text, thousand
        if self.saving is not None:
            never = "never: a tuned request costs as much or more" if self.saving.value <= 0 else "not known"
            yield "break-even", self.break_even.text if self.break_even else never, self.break_even
        if self.cheaper_from is not None:
            yield self.cheaper_from.name, self.cheaper_from.text, self.cheaper_from
        for figure in (self.today_monthly, self.tuned_monthly, self.monthly_saving):
            if figure is not None:
                yield figure.name, figure.text, figure
        if self.monthly_saving is not None:
            never = "never: nothing is saved" if self.monthly_saving.value <= 0 else "not known"
            yield "payback", duration(self.payback) if self.payback else never, self.payback

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        names = ("training", "setup", "today", "tuned", "saving", "break_even", "cheaper_from")
        more = ("today_monthly", "tuned_monthly", "monthly_saving", "payback", "device_tokens")
        figures = {name: getattr(self, name) for name in (*names, *more)}
        return {
            "model": self.workload.model,
            "instead_of": self.workload.instead_of,
            "examples": self.workload.examples,
            "tokens": self.workload.tokens,
            "answer_tokens": self.workload.answer_tokens,
            "counted_with": self.workload.counted_with,
            "epochs": self.workload.epochs,
            **{name: None if figure is None else figure.to_dict() for name, figure in figures.items()},
            "notes": list(self.notes),
        }


def cost_plan(
    workload: Workload, catalogue: Catalogue, *, device: Device | None = None, today: date
) -> CostPlan:
    """Reckon it. With a device the tuned model runs there, and is trained there.

    Raises:
        NotFound: A model has no price, and there is no device.
        InvalidRequest: Prices in several currencies, or one that is needed and not known.
    """
    in_use = workload.instead_of or (
        workload.model if device is None or workload.model in catalogue.prices else None
    )
    hosted = [name for name in (in_use, None if device else workload.model) if name is not None]
    notes = [f"Tokens: {workload.counted_with}.", *catalogue.doubts(hosted, today)]
    tokens = given("tokens of the file", workload.tokens)
    prompt, answer = workload.prompt, workload.answer
    if device is None:
        price = catalogue.price(workload.model)
        currency = price.currency
        training = None
        if price.training is not None:
            training = training_cost(tokens, workload.epochs, price.figure("training"))
        else:
            notes.append(
                f"What training costs with {price.model} is not known here: give it in a file of prices."
            )
        tuned = request_cost("a request, tuned", prompt, answer, price, tuned=True)
    else:
        currency = device.currency
        training = device.training(tokens, workload.epochs)
        if training is None:
            notes.append("What training costs on the device: give --training-tokens-per-second.")
        tuned = device.request("a request, tuned", prompt, answer)
        notes.append("A request on the device is priced as if it were fully used; a month as if always on.")
    before = None
    if in_use is None:
        notes.append("What answers today is not known: give --instead-of MODEL to see when it pays.")
    else:
        long = prompt
        if workload.today_prompt_tokens is not None:
            long = given("tokens of a prompt today", workload.today_prompt_tokens)
        else:
            notes.append(
                "Today's prompt is taken to be as short as in the file: give --prompt-tokens if it is longer."
            )
        before = request_cost("a request today", long, answer, catalogue.price(in_use), tuned=False)
    return _plan(workload, training, before, tuned, currency, device, notes)


def _plan(
    workload: Workload,
    training: Figure | None,
    before: Figure | None,
    tuned: Figure,
    currency: str,
    device: Device | None,
    notes: list[str],
) -> CostPlan:
    setup = training
    if training is not None and workload.setup:
        work = money("work and labels", workload.setup, currency)
        setup = (training + work).named("paid once")
    saving = None if before is None else (before - tuned).named("saved a request")
    today_monthly = tuned_monthly = monthly_saving = cheaper_from = None
    if device is not None and before is not None and before.value:
        month = device.month("a month of the device", given("devices", 1))
        cheaper_from = (month / before).named("cheaper from", "requests a month")
    if workload.volume is not None:
        volume = given("requests a month", workload.volume)
        if device is None:
            tuned_monthly = monthly(tuned, volume, "a month, tuned")
        else:
            devices = device.devices(volume, workload.prompt, workload.answer)
            tuned_monthly = device.month("a month, tuned", devices)
        if before is not None:
            today_monthly = monthly(before, volume, "a month today")
            monthly_saving = (today_monthly - tuned_monthly).named("saved a month")
    return CostPlan(
        workload=workload,
        training=training,
        setup=setup,
        today=before,
        tuned=tuned,
        saving=saving,
        break_even=None if setup is None or saving is None else break_even(setup, saving),
        cheaper_from=cheaper_from,
        today_monthly=today_monthly,
        tuned_monthly=tuned_monthly,
        monthly_saving=monthly_saving,
        payback=None if setup is None or monthly_saving is None else payback(setup, monthly_saving),
        device_tokens=None if device is None else device.million_tokens,
        notes=tuple(notes),
    )


def _mean(total: int, count: int) -> Decimal:
    return (Decimal(total) / count).quantize(Decimal("0.1"))
