"""What training and answering cost, and when the one pays for the other. Every result explains itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Final

from tailor.advise.figures import Figure, given
from tailor.advise.prices import Price
from tailor.errors import InvalidRequest

MILLION: Final = 1_000_000
DAYS_A_MONTH: Final = Decimal(365) / 12
HOURS_A_MONTH: Final = 730
HOURS_A_YEAR: Final = 8_760


def training_cost(tokens: Figure, epochs: int, price: Figure) -> Figure:
    """What one training costs: tokens of the file, times epochs, at the price of a million."""
    cost = tokens * given("epochs", epochs) * price / MILLION
    return cost.named("training cost")


def request_cost(
    name: str, prompt_tokens: Figure, answer_tokens: Figure, price: Price, *, tuned: bool
) -> Figure:
    """What one request costs.

    Raises:
        InvalidRequest: A price is not known.
    """
    kind = "tuned_" if tuned else ""
    cost = prompt_tokens * price.figure(f"{kind}input") / MILLION
    if answer_tokens.value:
        cost = cost + answer_tokens * price.figure(f"{kind}output") / MILLION
    return cost.named(name)


def per_thousand(request: Figure, name: str) -> Figure:
    """What 1,000 requests cost."""
    return (request * 1_000).named(name)


def monthly(request: Figure, volume: Figure, name: str) -> Figure:
    """What a month costs, at so many requests."""
    return (volume * request).named(name)


def break_even(setup: Figure, saving: Figure) -> Figure | None:
    """After how many requests the set-up is paid for, from what each saves; None: never.

    555.6 requests means that the 556th pays the last cent.
    """
    if saving.value <= 0:
        return None
    return (setup / saving).named("break-even", "requests")


def payback(setup: Figure, monthly_saving: Figure) -> Figure | None:
    """After how many months the set-up is paid for; None: never."""
    if monthly_saving.value <= 0:
        return None
    return (setup / monthly_saving).named("payback", "months")


def duration(months: Figure) -> str:
    """Months as people say them: 3.3 months, 10 days, within a day."""
    if months.value >= 24:
        return f"{months.value / 12:.1f} years"
    if months.value >= 1:
        return f"{months.value:.1f} months"
    days = round(months.value * DAYS_A_MONTH)
    return "within a day" if days < 1 else f"{days} {'day' if days == 1 else 'days'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A machine of one's own, or a rented one."""

    currency: str
    """Of all its prices."""

    price_per_hour: Decimal = Decimal(0)
    """Rent of an hour."""

    purchase_price: Decimal = Decimal(0)
    """What it cost to buy; spread over its years."""

    years: Decimal = Decimal(3)
    """For how long it is used."""

    watts: Decimal = Decimal(0)
    """Drawn from the wall at work."""

    price_per_kwh: Decimal = Decimal(0)
    """Of electricity."""

    tokens_per_second: Decimal
    """Measured, prompt and answer together, over all requests at once."""

    training_tokens_per_second: Decimal | None = None
    """Measured; None: not known."""

    def __post_init__(self) -> None:
        if self.tokens_per_second <= 0 or (self.training_tokens_per_second or 1) <= 0 or self.years <= 0:
            raise InvalidRequest("A device has a speed above zero and years above zero.")
        amounts = (self.price_per_hour, self.purchase_price, self.watts, self.price_per_kwh)
        if any(amount < 0 for amount in amounts):
            raise InvalidRequest("Prices and watts of a device are not negative.")
        if not self.price_per_hour and not self.purchase_price and not self.watts:
            raise InvalidRequest(
                "A device that costs nothing and draws nothing answers for nothing.",
                remedy="Give --device-price, or --power-watts and --price-per-kwh.",
            )

    @property
    def hour(self) -> Figure:
        """What it costs for an hour at work: rent, or its share of the purchase, and electricity."""
        parts = []
        if self.price_per_hour:
            parts.append(Figure(name="rent of an hour", value=self.price_per_hour, currency=self.currency))
        if self.purchase_price:
            price = Figure(name="price of the device", value=self.purchase_price, currency=self.currency)
            parts.append(price / (given("years", self.years) * HOURS_A_YEAR))
        if self.watts and self.price_per_kwh:
            kwh = Figure(name="price of a kWh", value=self.price_per_kwh, currency=self.currency)
            parts.append(given("watts", self.watts) / 1_000 * kwh)
        total = parts[0] if parts else Figure(name="", value=Decimal(0), currency=self.currency)
        for part in parts[1:]:
            total = total + part
        return total.named("an hour of the device")

    @property
    def million_tokens(self) -> Figure:
        """What a million tokens cost while it is fully used: the price that compares with a hosted one."""
        speed = given("tokens per second", self.tokens_per_second)
        return (self.hour / (speed * 3_600) * MILLION).named("1M tokens on the device, fully used")

    def request(self, name: str, prompt_tokens: Figure, answer_tokens: Figure) -> Figure:
        """What one request costs while the device is fully used."""
        return ((prompt_tokens + answer_tokens) * self.million_tokens / MILLION).named(name)

    def training(self, tokens: Figure, epochs: int) -> Figure | None:
        """What one training costs; None where its speed is not known."""
        if self.training_tokens_per_second is None:
            return None
        speed = given("training tokens per second", self.training_tokens_per_second)
        return (tokens * given("epochs", epochs) / (speed * 3_600) * self.hour).named("training cost")

    def devices(self, volume: Figure, prompt_tokens: Figure, answer_tokens: Figure) -> Figure:
        """How many devices so many requests a month need, if they came evenly."""
        speed = given("tokens per second", self.tokens_per_second)
        busy = volume * (prompt_tokens + answer_tokens) / (speed * 3_600 * HOURS_A_MONTH)
        load = busy.named("devices' worth of work")
        return given("devices", max(1, ceil(load.value)))

    def month(self, name: str, devices: Figure) -> Figure:
        """What a month costs with the devices always on, used or not."""
        return (devices * self.hour * HOURS_A_MONTH).named(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """One way to do the job: what it costs to set up and to ask, how good and how fast it is."""

    name: str
    """For people: "gpt-4o, long prompt"."""

    setup: Figure
    """Once: training, labelling, work."""

    request: Figure
    """Each."""

    quality: float | None = None
    """Share right, measured; None: not measured."""

    latency_ms: float | None = None
    """Median; None: not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """An alternative beside the one in use."""

    alternative: Alternative
    """The one."""

    month: Figure
    """What it costs a month."""

    saving: Figure
    """A month, against the one in use; negative where it costs more."""

    payback: Figure | None
    """When its set-up is paid for; None: never."""


def side_by_side(in_use: Alternative, others: Sequence[Alternative], volume: Figure) -> list[Standing]:
    """Alternatives at a volume of requests a month, the one in use first, in the order given."""
    today = monthly(in_use.request, volume, f"a month of {in_use.name}")
    found = []
    for alternative in (in_use, *others):
        month = monthly(alternative.request, volume, f"a month of {alternative.name}")
        saving = (today - month).named("saved a month")
        repaid = payback(alternative.setup, saving) if alternative is not in_use else None
        found.append(Standing(alternative=alternative, month=month, saving=saving, payback=repaid))
    return found
