"""The battery and the canaries: what they say of a base, of its like, and of one that has lost its mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tailor.data import Case
from tailor.evals import Along, Battery, LocalPair
from tailor.evals.artefacts import artefacts
from tailor.evals.canaries import Canaries
from tailor.evals.clusters import Asked, by_outcome
from tailor.evals.items import Item
from tailor.evals.pair import Answer, Arm
from tailor.models import (
    Lora,
    Template,
    adapter_parameters,
    attach,
    embedded_directory,
    load_base,
    load_template,
    save_adapter,
)
from tailor.training import ExampleScore, TokenizedExample

CONTEXT = 256


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(embedded_directory())


def adapter(directory: Path, strength: float) -> Path:
    """An adapter of noise: the stronger, the less is left of the base."""
    loaded, shape = load_base(embedded_directory()), Lora(rank=4)
    attach(loaded, shape, seed=1)
    weights = adapter_parameters(loaded.model)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in weights.items():
        if ".lora_B." in name:
            tensor.data = strength * torch.randn(tensor.shape, generator=generator)
    directory.mkdir()
    save_adapter(directory, weights, shape)
    return directory


def test_the_battery_tells_the_embedded_base_from_noise(template: Template, tmp_path: Path) -> None:
    battery = Battery.read(template)
    found = {}
    for name, strength in (("same", 0.0), ("gone", 1.0)):
        version = adapter(tmp_path / name, strength)
        with LocalPair(
            base=embedded_directory(), version=version, dtype="float32", context_length=CONTEXT
        ) as pair:
            found[name] = Along(pair, battery, None, template, max_tokens=CONTEXT).forgetting()

    probes = {probe.name: probe for probe in found["same"].probes}
    assert probes["grammar"].before > 0.9 and probes["sense"].before > 0.9
    assert probes["English"].before + 3 < probes["English"].nothing
    assert probes["conversation"].before + 3 < probes["conversation"].nothing
    assert found["same"].kept == 1.0 and not found["same"].is_blocked
    assert found["gone"].kept is not None and found["gone"].kept < 0.3
    assert found["gone"].is_blocked and "less than 50 %" in found["gone"].reasons[0]
    assert found["gone"].remedies


class Parrot:
    """A pair whose version has forgotten some answers."""

    def __init__(self, forgotten: int) -> None:
        self.forgotten = forgotten

    def scores(self, arm: Arm, examples: Sequence[TokenizedExample]) -> Iterator[ExampleScore]:
        for index, each in enumerate(examples):
            yield ExampleScore(loss_sum=1.0 + index, num_tokens=each.num_tokens, num_correct=1)

    def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
        for place, item in enumerate(items):
            is_lost = arm == "version" and place < self.forgotten
            text = "spam" if is_lost else item.reference_text
            yield Answer(text=text, num_tokens=1, seconds=0.0, is_complete=True)


@pytest.mark.parametrize(("forgotten", "is_blocked"), [(0, False), (1, False), (2, True)])
def test_canaries_that_break_block_promotion(template: Template, forgotten: int, is_blocked: bool) -> None:
    cases = [
        Case(line=n, messages=({"role": "user", "content": f"What is {n}?"},), reference=f"It is {n}.")
        for n in range(1, 22)
    ]
    battery = Battery(name="none", probes=())
    canaries = Canaries(file="file-a", cases=cases)

    found = Along(Parrot(forgotten), battery, canaries, template, max_tokens=CONTEXT).forgetting()

    assert found.canaries is not None and found.kept is None
    assert (found.canaries.before, found.canaries.after) == (21, 21 - forgotten)
    assert [item.line for item in found.canaries.items] == list(range(1, forgotten + 1))
    assert found.is_blocked is is_blocked


def test_artefacts_show_length_refusals_and_lost_form() -> None:
    wanted = ["spam", "order", "invoice", "spam"] * 5
    chatty = ["The answer is spam, I think."] * 10 + ["I cannot help with that request."] * 10

    found = artefacts(wanted, wanted, chatty)

    assert found.length_ratio["base"] == 1.0 and found.length_ratio["version"] > 4
    assert found.refusals == {"base": 0.0, "version": 0.5}
    assert found.in_format == {"base": 1.0, "version": 0.0}
    assert len(found.notes) == 3
    json_wanted = ['{"a": 1}'] * 5
    assert artefacts(json_wanted, json_wanted, ['{"a": 1'] * 5).in_format["version"] == 0.0
    assert artefacts([""] * 2, ["a b"] * 2, ["a b c d"] * 2).length_ratio["base"] == 1.0


def test_items_are_grouped_by_what_they_ask_and_expect() -> None:
    parcels = [Asked(line=n, prompt=f"where is my parcel {n}", expected="order") for n in range(1, 13)]
    bills = [
        Asked(line=n, prompt=f"the bill of month {n} is wrong", expected="invoice") for n in range(13, 21)
    ]
    rest = [Asked(line=n, prompt=f"hello number {n}", expected="support") for n in range(21, 31)]

    found = by_outcome([*parcels, *bills, *rest], ["broken"] * 20 + ["unchanged"] * 9 + ["fixed"])

    assert [(each.outcome, each.expected) for each in found][-1] == ("fixed", "support")
    broken = [each for each in found if each.outcome == "broken"]
    assert {each.expected for each in broken} == {"order", "invoice"}
    assert sum(each.count for each in broken) == 20
    assert any("parcel" in each.words for each in broken) and any("bill" in each.words for each in broken)
    assert all(len(each.examples) <= 3 and each.lines == sorted(each.lines) for each in found)
