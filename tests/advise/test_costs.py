"""Every worked figure of the mission's section on cost and return."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from tailor.advise import (
    Alternative,
    Device,
    Figure,
    Workload,
    break_even,
    cost_plan,
    duration,
    given,
    load_catalogue,
    money,
    monthly,
    payback,
    per_thousand,
    request_cost,
    side_by_side,
    training_cost,
)
from tailor.advise.costs import DAYS_A_MONTH
from tailor.errors import InvalidRequest, NotFound

TODAY = date(2026, 11, 20)


def usd(name: str, amount: str | int) -> Figure:
    return money(name, amount, "USD")


def test_the_worked_example_breaks_even_after_555_requests_not_555_555() -> None:
    tokens = given("examples", 1_000) * given("tokens each", 500)
    training = training_cost(tokens, 1, load_catalogue().price("gpt-4o").figure("training"))
    assert training.value == Decimal("12.5")
    saving = (given("prompt tokens saved", 1_500) * usd("price of 1M tokens", 15) / 1_000_000).named(
        "saved a request"
    )
    assert saving.value == Decimal("0.0225")
    requests = break_even(training, saving)
    assert requests is not None
    assert int(requests.value) == 555
    assert requests.text == "555.6 requests"
    # 555 requests are a cent short; the 556th pays.
    assert 555 * saving.value < training.value < 556 * saving.value
    assert requests.explain().split("\n") == [
        "break-even = training cost / saved a request",
        "  = USD 12.50 / USD 0.0225",
        "  = 555.6 requests",
        "training cost = examples x tokens each x epochs x price of 1M training tokens / 1,000,000",
        "  = 1,000 x 500 x 1 x USD 25.00 / 1,000,000",
        "  = USD 12.50",
        "saved a request = prompt tokens saved x price of 1M tokens / 1,000,000",
        "  = 1,500 x USD 15.00 / 1,000,000",
        "  = USD 0.0225",
    ]


@pytest.mark.parametrize(
    ("setup", "saved", "said"),
    [(500, 150, "3.3 months"), (2_000, 1_500, "1.3 months"), (5_000, 15_000, "10 days")],
)
def test_the_paybacks_of_the_mission(setup: int, saved: int, said: str) -> None:
    months = payback(usd("paid once", setup), usd("saved a month", saved))
    assert months is not None
    assert months.value == Decimal(setup) / saved
    assert duration(months) == said


@pytest.mark.parametrize(
    ("months", "said"),
    [("0.001", "within a day"), ("0.033", "1 day"), ("12", "12.0 months"), ("30", "2.5 years")],
)
def test_durations_are_said_as_people_do(months: str, said: str) -> None:
    assert duration(given("payback", months)) == said


def test_what_saves_nothing_never_pays() -> None:
    for saving in (0, -3):
        assert break_even(usd("cost", 10), usd("saved", saving)) is None
        assert payback(usd("cost", 10), usd("saved", saving)) is None


def test_the_reference_story_of_a_million_mails_a_day() -> None:
    volume = given("mails a month", 1_000_000 * DAYS_A_MONTH)
    big = Alternative(
        name="the big model with its prompt",
        setup=usd("nothing", 0),
        request=(usd("a month before", 20_000) / volume).named("a mail before"),
        quality=0.88,
    )
    small = Alternative(
        name="the tuned small model",
        setup=usd("fees", 200),
        request=(usd("a month after", 1_000) / volume).named("a mail after"),
        quality=0.94,
    )
    before, after = side_by_side(big, [small], volume)
    assert round(before.month.value, 6) == 20_000
    assert before.payback is None
    assert before.saving.value == 0
    assert round(after.month.value, 6) == 1_000
    assert round(after.saving.value, 6) == 19_000
    assert after.payback is not None
    assert after.payback.value < 1  # paid back in the first month
    assert duration(after.payback) == "within a day"
    assert big.request.text == "USD 0.0006575"


def test_a_tuned_prompt_of_200_tokens_against_ten_examples() -> None:
    price = load_catalogue().price("gpt-4o-mini")
    nothing = given("tokens of an answer", 0)
    few_shot = request_cost("few-shot", given("tokens", 3_000), nothing, price, tuned=False)
    tuned = request_cost("tuned", given("tokens", 200), nothing, price, tuned=True)
    assert few_shot.value == Decimal("0.00045")
    assert tuned.value == Decimal("0.00006")
    table = side_by_side(
        Alternative(name="few-shot", setup=usd("nothing", 0), request=few_shot, latency_ms=800),
        [Alternative(name="tuned", setup=usd("training", 10), request=tuned, latency_ms=200)],
        given("requests a month", 100_000),
    )
    assert [standing.month.text for standing in table] == ["USD 45.00", "USD 6.00"]
    slow, fast = (standing.alternative.latency_ms or 0 for standing in table)
    assert slow / fast == 4


def test_the_four_ways_stand_side_by_side() -> None:
    catalogue = load_catalogue()
    answer, query = given("tokens of an answer", 0), catalogue.usual["retrieval"].query
    mini = catalogue.price("gpt-4o-mini")
    long, short = given("tokens of the long prompt", 3_000), given("tokens of the short one", 200)
    retrieval = money("a retrieval", query or 0, "USD")
    rows = side_by_side(
        Alternative(
            name="big, prompt",
            setup=usd("nothing", 0),
            request=request_cost("big", long, answer, catalogue.price("gpt-4o"), tuned=False),
        ),
        [
            Alternative(
                name="small, retrieval",
                setup=usd("nothing", 0),
                request=request_cost("small", short, answer, mini, tuned=False) + retrieval,
            ),
            Alternative(
                name="small, tuned",
                setup=usd("training", 100),
                request=request_cost("tuned", short, answer, mini, tuned=True),
            ),
            Alternative(
                name="distilled",
                setup=usd("teacher and training", 300),
                request=request_cost("own", short, answer, catalogue.price("distilled-small"), tuned=True),
            ),
        ],
        given("requests a month", 100_000),
    )
    assert [row.month.text for row in rows] == ["USD 750.00", "USD 1,003.00", "USD 6.00", "USD 2.00"]
    assert [row.payback is None for row in rows] == [True, True, False, False]


def test_a_thousand_requests_and_a_month() -> None:
    request = request_cost(
        "a request", given("in", 200), given("out", 50), load_catalogue().price("gpt-4o"), tuned=False
    )
    assert request.value == Decimal("0.001")
    assert per_thousand(request, "1,000 requests").text == "USD 1.00"
    assert monthly(request, given("requests a month", 30_000), "a month").text == "USD 30.00"


def test_a_device_costs_its_rent_its_purchase_and_its_power() -> None:
    rented = Device(currency="EUR", price_per_hour=Decimal("2.50"), tokens_per_second=Decimal(1_000))
    assert rented.million_tokens.text == "EUR 0.6944"  # 2.50 / 3.6 million tokens an hour
    bought = Device(
        currency="EUR",
        purchase_price=Decimal(26_280),
        years=Decimal(3),
        watts=Decimal(500),
        price_per_kwh=Decimal("0.40"),
        tokens_per_second=Decimal(1_000),
    )
    assert bought.hour.value == Decimal("1.2")  # 26,280 over 26,280 hours, and half a kWh
    assert "watts / 1,000 x price of a kWh" in bought.hour.explain()


def test_a_month_of_devices_is_paid_whether_they_work_or_not() -> None:
    device = Device(currency="USD", price_per_hour=Decimal(1), tokens_per_second=Decimal(100))
    prompt, answer = given("prompt", 90), given("answer", 10)
    few = device.devices(given("requests", 1_000), prompt, answer)
    many = device.devices(given("requests", 5_000_000), prompt, answer)
    assert [few.value, many.value] == [1, 2]  # 5 million seconds of work; a month has 2.6 million
    assert device.month("a month", few).text == "USD 730.00"


def test_a_device_has_a_speed_and_costs_something() -> None:
    with pytest.raises(InvalidRequest):
        Device(currency="USD", price_per_hour=Decimal(1), tokens_per_second=Decimal(0))
    with pytest.raises(InvalidRequest, match="costs nothing"):
        Device(currency="USD", tokens_per_second=Decimal(5))


def load(**more: object) -> Workload:
    usual = {"examples": 1_000, "tokens": 500_000, "answer_tokens": 50_000, "counted_with": "a test"}
    return Workload(**(usual | {"model": "gpt-4o-mini"} | more))  # type: ignore[arg-type]


def test_a_plan_has_everything_that_can_be_said() -> None:
    plan = cost_plan(
        load(today_prompt_tokens=3_000, volume=Decimal(100_000), setup=Decimal(495)),
        load_catalogue(),
        today=TODAY,
    )
    assert plan.training is not None and plan.setup is not None
    assert plan.training.text == "USD 4.50"  # 500,000 x 3 epochs at 3 a million
    assert plan.setup.text == "USD 499.50"
    assert plan.today is not None and plan.tuned is not None
    assert plan.today.value == Decimal("0.00048")  # 3,000 at 0.15 and 50 at 0.60
    assert plan.tuned.value == Decimal("0.000195")  # 450 at 0.30 and 50 at 1.20
    assert plan.break_even is not None and plan.payback is not None
    assert plan.break_even.text == "1,752,632 requests"
    assert duration(plan.payback) == "17.5 months"
    assert {name for name, *_ in plan.rows} >= {"training cost", "break-even", "payback", "a month, tuned"}


def test_a_plan_says_what_it_cannot_say() -> None:
    plan = cost_plan(load(model="gpt-4.1-mini"), load_catalogue(), today=TODAY)
    assert plan.training is None
    assert any("training costs" in note for note in plan.notes)
    assert any("--prompt-tokens" in note for note in plan.notes)
    assert {name: text for name, text, _ in plan.rows}["break-even"].startswith("never")


def test_a_device_of_ones_own_against_the_hosted_model() -> None:
    device = Device(
        currency="USD",
        price_per_hour=Decimal("0.10"),
        tokens_per_second=Decimal(2_000),
        training_tokens_per_second=Decimal(1_000),
    )
    plan = cost_plan(
        load(model="house-1b", instead_of="gpt-4o", today_prompt_tokens=3_000, volume=Decimal(10_000)),
        load_catalogue(),
        device=device,
        today=TODAY,
    )
    assert plan.training is not None and plan.training.text == "USD 0.04167"  # 1,500 seconds
    assert plan.tuned_monthly is not None and plan.tuned_monthly.text == "USD 73.00"
    assert plan.today_monthly is not None and plan.today_monthly.text == "USD 80.00"
    assert plan.cheaper_from is not None and plan.cheaper_from.text == "9,125 requests a month"
    alone = cost_plan(load(model="house-1b"), load_catalogue(), device=device, today=TODAY)
    assert alone.today is None and alone.break_even is None
    assert any("--instead-of" in note for note in alone.notes)


def test_a_model_without_a_price_or_a_device_is_not_reckoned() -> None:
    with pytest.raises(NotFound):
        cost_plan(load(model="house-1b"), load_catalogue(), today=TODAY)
    euros = Device(currency="EUR", price_per_hour=Decimal(1), tokens_per_second=Decimal(10))
    with pytest.raises(InvalidRequest, match="same currency"):
        cost_plan(load(), load_catalogue(), device=euros, today=TODAY)
