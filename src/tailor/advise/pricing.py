"""What an arm costs, once and for each request: hosted by the price of tokens, own by the machine's time."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tailor.advise.arms import ArmResult
from tailor.advise.costs import MILLION, monthly, payback, per_thousand
from tailor.advise.figures import Figure, given, money
from tailor.advise.prices import Catalogue, Price
from tailor.errors import NotFound
from tailor.protocol import ModelObject

ASSUMED_HOUR: Final = Decimal("0.05")
"""USD for an hour of one core, rented: what is assumed until the operator says what the machine costs."""

ASSUMED_WORK: Final = Decimal(500)
"""USD of work that setting up and keeping up a trained model is taken to cost, unless told otherwise."""

_SECONDS: Final = 3_600


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What machines, work and hosted models cost."""

    hour: Figure
    """Of the machine that the endpoint runs on."""

    is_assumed: bool
    """Whether nobody said so."""

    work: Decimal = ASSUMED_WORK
    """Of a trained arm, in the same currency."""

    catalogue: Catalogue
    models: tuple[ModelObject, ...] = ()
    """Elsewhere, with the prices that the endpoint knows."""

    @property
    def currency(self) -> str:
        """Of all of it."""
        return self.hour.currency

    @classmethod
    def assumed(cls, catalogue: Catalogue) -> Rates:
        """While nothing is known of the machine."""
        hour = money("an hour of one core, assumed", ASSUMED_HOUR, "USD")
        return cls(hour=hour, is_assumed=True, catalogue=catalogue)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one arm."""

    setup: Figure
    """Once: machine, teacher and work."""

    request: Figure | None
    """Each; None: there is no price of the model."""

    @property
    def thousand(self) -> Figure | None:
        """Of 1,000 requests."""
        return None if self.request is None else per_thousand(self.request, "1,000 requests")

    def month(self, volume: Decimal) -> Figure | None:
        """At so many requests a month."""
        if self.request is None:
            return None
        return monthly(self.request, given("requests a month", volume), "a month")

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "setup": self.setup.to_dict(),
            "request": self.request and self.request.to_dict(),
            "thousand": self.thousand and self.thousand.to_dict(),
        }


def cost_of(result: ArmResult, rates: Rates) -> Cost:
    """From what was measured."""
    return Cost(setup=_setup(result, rates), request=_request(result, rates))


def saved_a_month(over: Cost, by: Cost, volume: Decimal | None) -> Figure | None:
    """What the second saves a month, against the first; None: not known."""
    if volume is None or over.request is None or by.request is None:
        return None
    if over.request.currency != by.request.currency:
        return None
    saving = (over.request - by.request).named("saved a request")
    return monthly(saving, given("requests a month", volume), "saved a month")


def pays_back(over: Cost, by: Cost, volume: Decimal | None) -> Figure | None:
    """After how many months the second instead of the first has paid for its set-up.

    None: never, or not known.
    """
    saving = saved_a_month(over, by, volume)
    return None if saving is None else payback(by.setup, saving)


def _request(result: ArmResult, rates: Rates) -> Figure | None:
    if _is_hosted(result):
        price = _price_of(result.arm.model or "", rates, tuned=result.arm.traits.is_trained)
        if price is None:
            return None
        read, written = price
        prompt = given("tokens of a prompt", round(result.prompt_tokens, 1))
        answer = given("tokens of an answer", round(result.completion_tokens, 1))
        return (prompt * read / MILLION + answer * written / MILLION).named("a request")
    seconds = given("seconds of the machine", f"{result.seconds_per_request:.6f}")
    return (seconds * rates.hour / _SECONDS).named("a request")


def _setup(result: ArmResult, rates: Rates) -> Figure:
    total = _making(result, rates)
    setup = result.setup
    teacher = _price_of(result.arm.teacher or "", rates, tuned=False)
    if setup.teacher_prompt_tokens and teacher is not None:
        read, written = teacher
        taught = (
            given("tokens the teacher read", setup.teacher_prompt_tokens) * read / MILLION
            + given("tokens the teacher wrote", setup.teacher_completion_tokens) * written / MILLION
        )
        total = total + taught.named("the teacher")
    if result.arm.traits.is_trained and rates.work:
        total = total + money("work", rates.work, rates.currency)
    return total.named("set-up")


def _making(result: ArmResult, rates: Rates) -> Figure:
    """The training by its tokens where it is hosted, everything else by the machine's time."""
    if _is_hosted(result) and result.setup.trained_tokens:
        price = _catalogued(result.arm.model or "", rates)
        if price is not None and price.training is not None:
            tokens = given("tokens trained", result.setup.trained_tokens)
            return (tokens * price.figure("training") / MILLION).named("training cost")
    seconds = given("seconds to set up", f"{result.setup.seconds:.1f}")
    return (seconds * rates.hour / _SECONDS).named("time of the machine")


def _is_hosted(result: ArmResult) -> bool:
    """Whether the model that answers is elsewhere; of a distilled one only the teacher is."""
    return result.arm.is_elsewhere and result.arm.means != "distilled"


def _price_of(model: str, rates: Rates, *, tuned: bool) -> tuple[Figure, Figure] | None:
    """Of a million tokens read and written: by the endpoint, else by the catalogue, else not known."""
    facts = next((known.tailor for known in rates.models if known.id == model), None) or {}
    if facts.get("input_price") or facts.get("output_price"):
        return (
            money("price of 1M tokens read", str(facts.get("input_price") or 0), "USD"),
            money("price of 1M tokens written", str(facts.get("output_price") or 0), "USD"),
        )
    price = _catalogued(model, rates)
    if price is None or price.input is None or price.output is None:
        return None
    kind = "tuned_" if tuned else ""
    return price.figure(f"{kind}input"), price.figure(f"{kind}output")


def _catalogued(model: str, rates: Rates) -> Price | None:
    try:
        return rates.catalogue.price(model.rpartition("/")[2])
    except NotFound:
        return None
