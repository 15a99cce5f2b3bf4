"""Vectors for the data doctor, from a model of the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.data.doctor.options import Embed


@contextmanager
def embedding(view: View, model: str | None, home: Path | None) -> Iterator[Embed | None]:
    """A function from texts to vectors, as long as the server is there; None where no model was named."""
    if model is None:
        yield None
        return
    from tailor.cli.connect import connect

    with connect(view, home) as connection:
        yield partial(connection.endpoint.embed, model)
