"""The rules of the verdict, one by one, on results that were never run."""

from __future__ import annotations

import json
from decimal import Decimal

from tailor.advise import load_catalogue
from tailor.advise.advice import judge
from tailor.advise.arms import Skipped
from tailor.advise.material import Material, Parts
from tailor.advise.measure import measure_of
from tailor.advise.pricing import Rates
from tailor.advise.report import page_of
from tailor.advise.study import Study
from tailor.advise.verdict import Circumstances, beats
from tailor.advise.wording import cost_lines, headline, in_use, reasons
from tailor.client import Endpoint
from tailor.protocol import ModelObject
from tests.advise.making import chosen, cost, evidence, item, passes, result


def test_fine_tuning_is_advised_where_it_is_better_for_certain() -> None:
    arms = [result("prompt", passes(20)), result("few-shot", passes(60)), result("tuned", passes(180))]
    assert chosen(arms) == "tuned"


def test_fine_tuning_is_never_advised_where_a_cheaper_way_is_as_good() -> None:
    for cheaper in ("prompt", "structured", "classical", "lookup", "few-shot", "optimised", "retrieval"):
        arms = [result("tuned", passes(185)), result(cheaper, passes(185))]
        assert chosen(arms) == cheaper


def test_a_difference_that_is_not_shown_earns_no_place() -> None:
    # Six items of 200 are fixed and two broken: p is far above 0.05.
    prompt = (1.0,) * 170 + (0.0,) * 28 + (1.0,) * 2
    tuned = (1.0,) * 176 + (0.0,) * 24
    assert chosen([result("prompt", prompt), result("tuned", tuned)]) == "prompt"


def test_a_small_loss_is_taken_for_a_cheaper_way_when_it_is_within_the_margin() -> None:
    # 1 point better, and for certain: ten of 1,000 items fixed and none broken.
    arms = [result("prompt", passes(940, 1_000)), result("tuned", passes(950, 1_000))]
    assert chosen(arms) == "prompt"
    assert chosen(arms, Circumstances(margin=0.005)) == "tuned"


def test_training_runs_that_differ_much_prove_nothing() -> None:
    one_run = [result("prompt", passes(100)), result("tuned", passes(150))]
    assert chosen(one_run) == "tuned"
    runs = [result("prompt", passes(100)), result("tuned", passes(190), passes(110))]
    assert chosen(runs) == "prompt"


def test_of_equal_effort_the_better_one_is_taken() -> None:
    assert chosen([result("lookup", passes(90)), result("classical", passes(150))]) == "classical"


def test_ten_arms_that_are_alike_are_not_told_apart_by_luck() -> None:
    arms = [result("prompt", passes(100))]
    arms += [
        result("few-shot", (0.0,) * shift + passes(100 + shift, 200 - shift), name=f"few-shot {shift}")
        for shift in range(3, 12)
    ]
    assert chosen(arms) == "prompt"


def test_a_dearer_arm_that_is_as_good_may_earn_its_place_by_money() -> None:
    arms = [result("prompt", passes(190), elsewhere=True), result("tuned", passes(190))]
    costs = {"prompt": cost("20"), "tuned": cost("0.5", setup="600")}
    assert chosen(arms, costs=costs) == "prompt"  # nobody knows how many requests there are
    assert chosen(arms, Circumstances(volume=Decimal(1_000)), costs) == "prompt"  # 31 months
    assert chosen(arms, Circumstances(volume=Decimal(30_000)), costs) == "tuned"  # one month


def test_a_dearer_arm_that_is_worse_earns_nothing_by_money() -> None:
    arms = [result("prompt", passes(190), elsewhere=True), result("tuned", passes(150))]
    costs = {"prompt": cost("20"), "tuned": cost("0.5", setup="600")}
    assert chosen(arms, Circumstances(volume=Decimal(1_000_000)), costs) == "prompt"


def test_where_facts_change_looking_up_comes_first() -> None:
    arms = [result("few-shot", passes(80)), result("retrieval", passes(150)), result("tuned", passes(152))]
    assert chosen(arms, Circumstances(knowledge_changes="weekly")) == "retrieval"
    # even where a cheaper arm is as good now: it would not stay so
    arms = [result("structured", passes(150)), result("retrieval", passes(150))]
    assert chosen(arms, Circumstances(knowledge_changes="daily")) == "retrieval"
    assert chosen(arms, Circumstances(knowledge_changes="never")) == "structured"


def test_where_facts_change_and_looking_up_is_measured_to_fail_it_is_not_taken() -> None:
    arms = [result("retrieval", passes(30)), result("tuned", passes(180))]
    changing = Circumstances(knowledge_changes="weekly")
    assert chosen(arms, changing) == "tuned"
    said = reasons(arms[1], evidence(arms, changing))
    assert any("train for the form, and look the facts up" in line for line in said)


def test_sources_latency_and_privacy_bar_arms_whatever_they_score() -> None:
    arms = [
        result("prompt", passes(199), elsewhere=True, latencies_ms=(900.0,)),
        result("retrieval", passes(90)),
        result("tuned", passes(180)),
    ]
    assert chosen(arms, Circumstances(needs_sources=True)) == "retrieval"
    assert chosen(arms, Circumstances(latency_ms=300)) == "tuned"
    assert chosen(arms, Circumstances(is_private=True)) == "tuned"
    assert chosen(arms[:1], Circumstances(is_private=True)) is None


def test_too_few_examples_are_not_trained_on() -> None:
    arms = [result("prompt", passes(20)), result("tuned", passes(180), size=30)]
    assert chosen(arms, num_train=30) == "prompt"


def test_points_of_the_learning_curve_are_no_candidates() -> None:
    arms = [
        result("prompt", passes(20)),
        result("tuned", passes(180), name="tuned on 100", size=100),
        result("tuned", passes(170), name="tuned on 400", size=400),
    ]
    assert chosen(arms) == "tuned on 400"


def test_what_does_not_beat_the_most_usual_answer_does_nothing() -> None:
    assert not beats(result("tuned", passes(105)), passes(100))
    assert beats(result("tuned", passes(150)), passes(100))


def test_the_evidence_is_said_with_interval_and_p() -> None:
    arms = [result("prompt", passes(20)), result("tuned", passes(180))]
    assert headline(arms[1], "right") == "Fine-tune: tuned, 90.0% right (85.1 to 93.4)."
    [said] = reasons(arms[1], evidence(arms))
    assert (
        said.startswith("The best cheaper way, prompt: 10.0%, -80.0 points (-84.6 to -73.3")
        and "p < 0.001" in said
    )


def test_costs_are_held_against_the_model_elsewhere() -> None:
    arms = [result("prompt", passes(176), elsewhere=True), result("tuned", passes(190))]
    costs = {"prompt": cost("20"), "tuned": cost("0.5", setup="600")}
    assert in_use(arms) is arms[0]
    busy = Circumstances(volume=Decimal(30_000))
    lines = cost_lines(arms[1], evidence(arms, busy, costs))
    assert lines[0] == "Set-up USD 600.00; 1,000 requests USD 0.50."
    assert lines[-1].endswith("it pays back: 1.0 months.")
    assert "--volume" in cost_lines(arms[1], evidence(arms, costs=costs))[-1]
    dearer = cost_lines(arms[1], evidence(arms, busy, costs | {"tuned": cost("30")}))
    assert "saves nothing" in dearer[-1]


def test_a_page_is_made_of_a_verdict_and_says_when_nothing_can_be_told() -> None:
    """The whole way from results to the page, for each of the three verdicts that name no arm or one."""
    study = a_study(passes_of_floor=25)
    rates = Rates.assumed(load_catalogue())
    usual = (1.0,) * 25 + (0.0,) * 15
    little = (1.0,) * 28 + (0.0,) * 12
    for scores, circumstances, said in (
        ((1.0,) * 40, Circumstances(), "Do nothing more"),
        (little, Circumstances(), "These items cannot tell whether anything does the task"),
        (usual, Circumstances(), "Nothing that was tried does the task"),
        (usual, Circumstances(latency_ms=1), "Nothing that was tried can be taken under your conditions"),
    ):
        arm = result("prompt", scores, name="<prompt>")
        skipped = [Skipped(arm=result("classical", scores).arm, reason="no & <reason>")]
        advice = judge(study, [arm], skipped, (), circumstances, rates)
        assert advice.verdict.headline.startswith(said)
        assert advice.verdict.arm == ("<prompt>" if said == "Do nothing more" else None)
        page = page_of(advice)
        assert "&lt;prompt&gt;" in page and "<prompt>" not in page and "no &amp; &lt;reason&gt;" in page
        assert json.loads(json.dumps(advice.to_dict()))["verdict"]["headline"] == advice.verdict.headline


def test_the_best_is_not_called_good_where_most_answers_are_wrong() -> None:
    study, rates = a_study(passes_of_floor=0), Rates.assumed(load_catalogue())
    for right, is_said in ((18, True), (40, False)):
        arm = result("prompt", (1.0,) * right + (0.0,) * (40 - right))
        verdict = judge(study, [arm], (), (), Circumstances(), rates).verdict
        assert verdict.arm == "prompt"
        assert any("still wrong" in line for line in verdict.because) is is_said


def a_study(*, passes_of_floor: int) -> Study:
    """40 held-out items of which so many have the most usual answer; nobody is asked."""
    labels = ["order"] * passes_of_floor + ["spam"] * (40 - passes_of_floor)
    held_out = tuple(item(f"mail {number}", label) for number, label in enumerate(labels))
    train = tuple(item(f"letter {number}", "order" if number % 3 else "spam") for number in range(90))
    items = (*train, *held_out)
    material = Material(
        name="mails.jsonl", items=items, num_refused=0, num_copies=0, measure=measure_of(items)
    )
    return Study(
        endpoint=Endpoint("http://127.0.0.1:9/v1", "none"),
        base=ModelObject(id="base", created=0, owned_by="tailor", tailor={"kind": "base", "parameters": 9}),
        material=material,
        parts=Parts(train=train, development=train[:5], held_out=held_out),
    )
