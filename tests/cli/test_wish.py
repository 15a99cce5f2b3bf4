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


def test_full_training_of_an_adapter_is_a_contradiction() -> None:
    with pytest.raises(InvalidRequest, match="--adapter dora"):
        Wish(file=Path("m"), full=True, adapter="dora").request(
            model="m", training_file="f", validation_file=None
        )
