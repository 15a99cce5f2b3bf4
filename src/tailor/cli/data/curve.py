"""What more data would bring, from what `tailor advise --json` measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from tailor.data.doctor import Gain


def gain_of(path: Path) -> Gain:
    """The gain of twice the data, by the first learning curve (tuned models come before classical ones).

    Raises:
        InvalidRequest: it is not such a file, or holds no curve.
    """
    from tailor.cli.files import opened
    from tailor.data.doctor import Gain

    with opened(path) as stream:
        try:
            curves = json.load(stream)["learning_curves"]
            found = next(curve for curve in curves if curve["gain_of_2x"])
            gain = found["gain_of_2x"]
            return Gain(sentence=str(found["sentence"]), low=float(gain["low"]), high=float(gain["high"]))
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise InvalidRequest(
                f"{path} holds no learning curve.",
                param="--advice",
                remedy="Make one with `tailor advise DATA --json > advice.json`.",
            ) from error
