"""Opening the files that people name, with a sentence when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tailor.errors import InvalidRequest


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading.

    Raises:
        InvalidRequest: It does not exist, is a directory or may not be read.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise InvalidRequest(f"There is no file {path}.", remedy="Check the spelling.") from error
    except IsADirectoryError as error:
        raise InvalidRequest(f"{path} is a directory.", remedy="Name a JSONL file.") from error
    except PermissionError as error:
        raise InvalidRequest(f"{path} may not be read.", remedy="Check its permissions.") from error
    with stream:
        yield stream
