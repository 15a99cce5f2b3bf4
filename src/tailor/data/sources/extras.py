"""Libraries that come with `tailor[data]`, loaded when a file needs them."""

from __future__ import annotations

import importlib
from typing import Any, Final

from tailor.errors import InvalidRequest

_WHAT_FOR: Final = {
    "openpyxl": "Excel files",
    "pyarrow": "Parquet and Arrow files",
    "zstandard": "Zstandard files",
    "huggingface_hub": "data sets of the Hugging Face hub",
}


def needed(module: str) -> Any:
    """A library by its name, `pyarrow.parquet` for a part of one.

    Raises:
        InvalidRequest: It is not installed.
    """
    root = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != root:
            raise
        raise InvalidRequest(
            f"{_WHAT_FOR[root]} are read with {root}, which is not installed.",
            remedy='pip install "tailor[data]" brings it.',
        ) from error
