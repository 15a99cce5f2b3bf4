"""Where the server is, as the environment says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tailor.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A server and the key for it."""

    base_url: str
    """Ends with the version, e.g. `http://127.0.0.1:8000/v1`."""
    api_key: str
    variable: str
    """The environment variable that named the server."""


def find(environment: Mapping[str, str]) -> Address | None:
    """The server that the environment names; None when it names none.

    `TAILOR_BASE_URL` comes first, then `OPENAI_BASE_URL` unless it is OpenAI's own: nobody who forgot a
    variable should train there by accident.

    Raises:
        InvalidRequest: A server is named without a key, or the address is not one.
    """
    for owner in ("TAILOR", "OPENAI"):
        variable = f"{owner}_BASE_URL"
        base_url = environment.get(variable, "").strip()
        if not base_url or (owner == "OPENAI" and urlsplit(base_url).hostname == "api.openai.com"):
            continue
        api_key = environment.get(f"{owner}_API_KEY")
        if not api_key:
            raise InvalidRequest(
                f"{variable} is set, but there is no key for it.",
                remedy=f"Set {owner}_API_KEY; `tailor keys create` on the server prints one.",
            )
        return Address(base_url=_with_version(base_url, variable), api_key=api_key, variable=variable)
    return None


def _with_version(base_url: str, variable: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            f"{variable} is not an address: {base_url!r}.",
            remedy="It looks like http://127.0.0.1:8000/v1.",
        )
    return base_url if parts.path.strip("/") else base_url.rstrip("/") + "/v1"
