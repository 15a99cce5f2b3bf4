from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailor.cli.wish import Wish
from tailor.errors import InvalidRequest


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, None),
        ({"rank": 8}, {"adapter": {"type": "lora", "rank": 8}}),
        ({"adapter": "rslora", "rank": 64}, {"adapter": {"type": "lora", "rslora": True, "rank": 64}}),
        ({"adapter": "ia3", "quantize": "nf4"}, {"adapter": {"type": "ia3"}, "quantization": "nf4"}),
        ({"full": True}, {"adapter": {"type": "full"}}),
    ],
)
def test_adapters_and_rounding_reach_the_wire(options: dict[str, Any], wanted: Any) -> None:
    wish = Wish(file=Path("mails.jsonl"), **options)
    assert wish.request(model="m", training_file="f", validation_file=None).tailor == wanted


def test_a_method_takes_its_part_of_the_wire(tmp_path: Path) -> None:
    grader = tmp_path / "grader.json"
    grader.write_text('{"type": "string_check"}')
    pairs = Wish(file=Path("p"), method="dpo", epochs=2)
    found = pairs.request(model="m", training_file="f", validation_file=None).method
    assert found is not None and found.dpo is not None and found.dpo.hyperparameters is not None
    assert (found.type, found.dpo.hyperparameters.n_epochs) == ("dpo", 2)
    for wish in (Wish(file=Path("p"), method="reinforcement"), Wish(file=Path("p"), grader=grader)):
        with pytest.raises(InvalidRequest, match="reward of reinforcement"):
            wish.request(model="m", training_file="f", validation_file=None)
    grader.write_text("{")
    with pytest.raises(InvalidRequest, match="is not JSON"):
        Wish(file=Path("p"), method="reinforcement", grader=grader).request(
            model="m", training_file="f", validation_file=None
        )


def test_full_training_of_an_adapter_is_a_contradiction() -> None:
    with pytest.raises(InvalidRequest, match="--adapter dora"):
        Wish(file=Path("m"), full=True, adapter="dora").request(
            model="m", training_file="f", validation_file=None
        )
