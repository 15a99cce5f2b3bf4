"""The parts that arms are made of: prompts, look-up, rules, a linear model, prices, the journal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from tailor.advise import load_catalogue
from tailor.advise.arms import Progress, Shown, Skipped
from tailor.advise.classical import fit, linear, lookup, lookup_passage
from tailor.advise.forecast import tuned_curve
from tailor.advise.journal import Journal
from tailor.advise.measure import measure_of
from tailor.advise.passages import Passage, finder, fused_finder, of_examples, read_documents
from tailor.advise.pricing import Rates, cost_of, pays_back
from tailor.advise.prompts import Prompt, diverse, form_forced, form_named, labels_described, similar
from tailor.advise.rules import learn_span
from tailor.advise.search import CANDIDATES, candidates
from tailor.advise.texts import Index, spread_out
from tailor.errors import InvalidRequest
from tailor.protocol import ModelObject
from tests.advise.making import cost, item, passes, result

MAILS = [
    item(f"{word} number {number}", label, line=number + 1, system="Sort the mail.")
    for number in range(40)
    for word, label in ((("parcel", "order"), ("prize", "spam"))[number % 2],)
]


def test_the_nearest_text_shares_the_rare_words() -> None:
    index = Index(["the cat sat", "the dog sat on the mat", "a parrot", ""])
    assert [place for place, _ in index.nearest("where is the dog", 2)] == [1, 0]
    assert index.nearest("xyzzy", 3) == [] and Index([]).nearest("cat", 3) == []


def test_what_is_spread_out_differs() -> None:
    texts = ["red apple", "red apple pie", "red apples", "blue car", "green sea"]
    assert {"blue car", "green sea"} < {texts[place] for place in spread_out(texts, 3)}
    assert spread_out(["", ""], 5) == [0, 1] and spread_out([], 2) == []


def test_examples_stand_before_the_question_the_nearest_last() -> None:
    prompt = Prompt(choose=similar(MAILS, 3), instruction="One word.")
    sent = prompt.request(item("prize number 7", "spam", system="Sort the mail.")).messages
    assert [message["role"] for message in sent] == ["system", *["user", "assistant"] * 3, "user"]
    assert sent[0]["content"] == "Sort the mail.\nOne word."
    assert sent[-3]["content"] == "prize number 7" and sent[-2]["content"] == "spam"


def test_what_does_not_fit_is_left_out_the_least_telling_first() -> None:
    near = Prompt(choose=similar(MAILS, 8), room_tokens=60)
    sent = near.request(item("prize number 7", "spam", system="Sort the mail.")).messages
    assert 3 <= len(sent) < 2 + 2 * 8
    assert sent[-3]["content"] == "prize number 7"


def test_diverse_examples_show_every_class() -> None:
    chosen = diverse(MAILS, measure_of(MAILS), 4)(MAILS[0])
    assert {each.answer for each in chosen} == {"order", "spam"} and len(chosen) == 4


def test_the_form_is_named_and_can_be_forced() -> None:
    measure = measure_of(MAILS)
    assert (
        form_named(measure, MAILS) == "Answer with exactly one of these labels and nothing else: order, spam."
    )
    forced = form_forced(measure)
    assert forced and forced["json_schema"]["schema"]["properties"]["label"]["enum"] == ["order", "spam"]
    assert "- spam: prize" in labels_described(measure, MAILS)
    objects = [item(f"to c{n}", f'{{"city": "c{n}", "people": {n}}}') for n in range(30)]
    assert '"city" (text), "people" (number)' in (form_named(measure_of(objects), objects) or "")
    texts = [item(f"q{n}", f"a long answer, the {n}th of many in this file") for n in range(30)]
    assert form_named(measure_of(texts), texts) is None
    actions = [item(f"jump {n} times", "JUMP " * n) for n in range(1, 30)]
    assert form_named(measure_of(actions, kind="exact"), actions) is None


def test_passages_come_with_their_sources(tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices/2026.md").write_text(
        "# Prices\n\n" + "Shipping to Rome costs 4.\n" * 20 + "\n\nTea costs 2."
    )
    (tmp_path / "page.html").write_text("<style>x</style><p>Cake &amp; coffee</p>")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    passages = read_documents(tmp_path)
    assert {passage.source for passage in passages} == {
        "page.html:1",
        "prices/2026.md:1",
        "prices/2026.md:25",
    }
    asked = item("what does tea cost?", "2")
    prompt = Prompt(find=finder(passages, 2))
    request = prompt.request(asked)
    assert "[1] (prices/2026.md:25) Tea costs 2." in request.messages[0]["content"]
    assert request.sources[0] == "prices/2026.md:25"
    assert lookup_passage(passages)("what does tea cost?") == ("Tea costs 2.", ("prices/2026.md:25",))
    with pytest.raises(InvalidRequest, match="There is no folder"):
        read_documents(tmp_path / "absent")
    with pytest.raises(InvalidRequest, match="holds no text"):
        read_documents(tmp_path / "picture.png")


def test_passages_are_found_by_words_and_by_meaning_together() -> None:
    texts = ["parcels arrive in three days", "refunds take a week", "we are closed on Sunday", "prices rise"]
    passages = [Passage(source=f"help.md:{line}", text=text) for line, text in enumerate(texts, start=1)]

    def embed(texts: Sequence[str]) -> list[list[float]]:
        """Vectors that know one thing: what is about money coming back."""
        return [[float("refund" in text or "money" in text), len(text) / 1e6] for text in texts]

    asked = item("when do I get my money after three days", "a week")
    by_words = finder(passages, 1)(asked)
    assert [passage.source for passage in by_words] == ["help.md:1"]
    both = fused_finder(passages, 2, embed)(asked)
    assert {passage.source for passage in both} == {"help.md:1", "help.md:2"}


def test_what_was_answered_before_is_looked_up_with_its_line() -> None:
    measure = measure_of(MAILS)
    answer = lookup(measure, MAILS)
    label, sources = answer("prize number 99")
    assert label == "spam" and sources[0].startswith("line ")
    assert answer("xyzzy") == ("order", ())
    assert of_examples(MAILS)[0].text == "Question: parcel number 0\nAnswer: order"


def test_words_and_a_linear_model_tell_classes() -> None:
    tell = fit(measure_of(MAILS), MAILS, MAILS[:6])
    assert tell and tell(["a parcel of mine", "you win a prize"]) == ["order", "spam"]
    assert linear(["a", "b"], ["only", "only"])(["c"]) == ["only"]


def test_a_value_in_the_text_is_found_by_how_it_is_written_and_what_stands_before() -> None:
    texts = [f"please cancel order AB-{n:04} for mrs Smith" for n in range(30)]
    span = learn_span(texts, [f"AB-{n:04}" for n in range(30)])
    assert span("cancel AB-9999 now") == "AB-9999"
    cities = ["rome", "oslo", "bonn", "bern"] * 5
    named = learn_span([f"a table in {city} at {n}" for n, city in enumerate(cities)], cities)
    assert named("a table in paris") == "paris" and named("bonn, please") == "bonn"


def test_fields_are_filled_in_one_by_one() -> None:
    rows = [
        item(
            f"{verb} a table in {city} for {n}",
            f'{{"intent": "{intent}", "city": "{city}", "people": "{n}"}}',
        )
        for n in range(2, 13)
        for city in ["rome", "oslo", "bonn", "bern", "kiel", "riga", "nice", "pisa", "linz", "york"]
        for verb, intent in (("book", "book"), ("cancel", "cancel"))
    ]
    measure = measure_of(rows)
    tell = fit(measure, rows, ())
    assert tell is not None
    [answer] = tell(["cancel a table in lima for 99"])
    assert measure.score(answer, '{"intent": "cancel", "city": "lima", "people": "99"}') == 1


def test_the_search_is_bounded_and_the_same_every_time() -> None:
    measure = measure_of(MAILS)
    built = candidates(measure, MAILS, room_tokens=800, seed=3)
    assert len(built) == CANDIDATES == len({each.words for each in built})
    again = candidates(measure, MAILS, room_tokens=800, seed=3)
    assert [each.words for each in built] == [each.words for each in again]


def test_a_result_is_kept_and_read_back_and_a_broken_one_is_not_believed(tmp_path: Path) -> None:
    journal = Journal(folder=tmp_path / "study")
    shown = Shown(line=3, sent=({"role": "user", "content": "a"},), answer="b", expected="c", score=0.0)
    made = result("tuned", passes(3, 5), passes(2, 5))
    assert journal.find(made.arm) is None
    from dataclasses import replace

    made = replace(made, shown=(shown,), notes=("x",), made="ft:a:b:c:d")
    journal.keep(made)
    assert journal.find(made.arm) == made
    [path] = (tmp_path / "study").iterdir()
    path.write_text(path.read_text()[:-20])
    assert journal.find(made.arm) is None
    journal.keep(Skipped(arm=made.arm, reason="nothing was right"))
    assert journal.find(made.arm) == Skipped(arm=made.arm, reason="nothing was right")


def test_intervals_are_wider_where_trainings_differ() -> None:
    steady, shaky = result("tuned", passes(150)), result("tuned", passes(170), passes(130))
    assert shaky.quality == steady.quality == 0.75
    assert shaky.interval.low < steady.interval.low < 0.75 < steady.interval.high < shaky.interval.high
    scores = result("prompt", (0.2, 0.4, 0.9, 0.7) * 10)
    assert scores.interval.low < scores.quality < scores.interval.high
    assert scores.only([0, 1]).quality == pytest.approx(0.3)


def test_hosted_requests_cost_tokens_and_own_ones_time() -> None:
    from dataclasses import replace

    facts = {"kind": "upstream", "input_price": 0.25, "output_price": 2.0}
    model = ModelObject(id="lab/strong", created=0, owned_by="lab", tailor=facts)
    rates = replace(Rates.assumed(load_catalogue()), models=(model,))
    hosted = result("few-shot", passes(5, 5), elsewhere=True)
    hosted = replace(
        hosted, arm=replace(hosted.arm, model="lab/strong"), prompt_tokens=1_000.0, completion_tokens=10.0
    )
    thousand = cost_of(hosted, rates).thousand
    assert thousand and thousand.value == Decimal("0.27")
    own = replace(result("tuned", passes(5, 5)), seconds_per_request=0.036)
    found = cost_of(own, rates)
    assert found.thousand and found.thousand.value == Decimal("0.0005")
    assert found.setup.value == Decimal(500) + Decimal(60) * Decimal("0.05") / 3_600
    unknown = replace(hosted, arm=replace(hosted.arm, model="lab/unheard-of"))
    assert cost_of(unknown, rates).thousand is None
    assert pays_back(cost_of(unknown, rates), found, Decimal(1_000)) is None
    months = pays_back(cost("2"), cost("1", setup="100"), Decimal(10_000))
    assert months and months.value == 10


def test_every_run_of_a_size_is_a_point_of_the_curve() -> None:
    arms = [
        result("prompt", passes(20)),
        result("tuned", passes(100), size=100),
        result("tuned", passes(140), size=200),
        result("tuned", passes(160), passes(164), size=400),
    ]
    curve = tuned_curve(arms)
    assert curve and [point.size for point in curve.points] == [0, 100, 200, 400, 400]
    gain = curve.gain()
    assert gain and gain.low <= gain.value <= gain.high and curve.sentence.startswith("2x the data:")
    assert tuned_curve(arms[:1]) is None
    assert "not known" in tuned_curve(arms[:2]).sentence  # type: ignore[union-attr]
    assert Progress(arm=arms[0].arm, done=0.5, what="asking").done == 0.5
