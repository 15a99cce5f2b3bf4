"""Data sets of the Hugging Face hub: fetched once into its cache, then read like any folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tailor.data.sources.extras import needed
from tailor.errors import InvalidRequest, Unavailable

_HUB: Final = re.compile(r"hf:/{0,2}([\w.-]+(?:/[\w.-]+)?)")
_WANTED: Final = [
    f"**{suffix}{packed}" if packed else f"**{suffix}"
    for suffix in (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
    for packed in ("", ".gz", ".zst")
]


def fetched(path: Path) -> Path:
    """The path itself, or the folder of the data set that `hf:owner/name` stands for.

    Raises:
        InvalidRequest: There is no such data set, it may not be had, or `hf:` was left out.
        Unavailable: The hub cannot be reached.
    """
    hub = _HUB.fullmatch(path.as_posix())
    if hub is None:
        if len(path.parts) == 2 and not path.suffix and not path.parent.exists():
            raise InvalidRequest(
                f"There is no file {path}.", remedy=f"For a data set of the Hugging Face hub write hf:{path}."
            )
        return path
    library = needed("huggingface_hub")
    errors = needed("huggingface_hub.errors")
    try:
        return Path(library.snapshot_download(hub[1], repo_type="dataset", allow_patterns=_WANTED))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError, errors.HFValidationError) as error:
        raise InvalidRequest(
            f"The hub has no data set {hub[1]} that may be read.",
            remedy="Check the spelling; for a gated one, accept its terms and run `hf auth login`.",
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise Unavailable(
            f"The data set {hub[1]} could not be fetched.",
            remedy="Check the network, or fetch it elsewhere and name the folder.",
        ) from error
