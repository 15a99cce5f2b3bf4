"""Versions, aliases and comparisons through an endpoint: what tailor has and OpenAI has no word for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from tailor.client.endpoint import FINISHED, Endpoint
from tailor.client.failures import as_tailor_errors
from tailor.errors import InvalidRequest
from tailor.protocol import VersionName
from tailor.protocol.aliases import AliasObject
from tailor.protocol.comparisons import Comparison
from tailor.protocol.versions import Reproduction, VersionRecord

Wire = TypeVar("Wire", bound=BaseModel)

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 2.0


class Registry:
    """The routes under /v1/tailor of one endpoint. Every method raises what the server answers."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    # Versions

    def versions(self, *, tag: str | None = None, base: str | None = None) -> list[VersionRecord]:
        """Every version and checkpoint, oldest first; without their notes, data and proofs."""
        query = {name: value for name, value in (("tag", tag), ("base", base)) if value is not None}
        return [VersionRecord.model_validate(each) for each in self._get("/versions", query)["data"]]

    def version(self, name: str) -> VersionRecord:
        """One version with everything that is known of it."""
        return VersionRecord.model_validate(self._get(f"/versions/{_quoted(name)}"))

    def full_name(self, text: str) -> str:
        """The version that `text` is short for: its id (the 8 letters at the end), its suffix, or an alias.

        Anything else comes back as it is. Raises InvalidRequest where it could be several versions.
        """
        if VersionName.parse(text) is not None:
            return text
        named = [(each.id, VersionName.parse(each.id)) for each in self.versions() if each.kind == "version"]
        for part in ("id", "suffix"):
            found = [full for full, name in named if getattr(name, part, None) == text]
            if len(found) > 1:
                raise InvalidRequest(
                    f"{text!r} could be {' or '.join(found[:4])}.",
                    remedy="Give the id: the 8 letters after the last colon.",
                )
            if found:
                return found[0]
        return next((alias.model for alias in self.aliases() if alias.name == text), text)

    def label(
        self, name: str, *, add: Sequence[str] = (), remove: Sequence[str] = (), note: str | None = None
    ) -> VersionRecord:
        """Put tags on a version, take some off, write a note."""
        body = {"add_tags": list(add), "remove_tags": list(remove), "note": note}
        return VersionRecord.model_validate(self._post(f"/versions/{_quoted(name)}", body))

    def reproduce(self, name: str) -> Reproduction:
        """Have a version made again."""
        return Reproduction.model_validate(self._post(f"/versions/{_quoted(name)}/reproductions", {}))

    def reproduction(self, name: str, job_id: str) -> Reproduction:
        """How far that is, and whether the same came out."""
        path = f"/versions/{_quoted(name)}/reproductions/{quote(job_id)}"
        return Reproduction.model_validate(self._get(path))

    # Aliases

    def aliases(self) -> list[AliasObject]:
        """All aliases, by name."""
        return [AliasObject.model_validate(each) for each in self._get("/aliases")["data"]]

    def alias(self, name: str) -> AliasObject:
        """One alias with its history."""
        return AliasObject.model_validate(self._get(f"/aliases/{_quoted(name)}"))

    def promote(self, name: str, model: str, **options: Any) -> AliasObject:
        """Let an alias stand for a model; raises InvalidRequest where the gate is shut."""
        given = {key: value for key, value in options.items() if value is not None}
        return AliasObject.model_validate(self._post(f"/aliases/{_quoted(name)}", {"model": model} | given))

    def roll_back(self, name: str, *, reason: str | None = None) -> AliasObject:
        """Let an alias stand for what it stood for before."""
        return AliasObject.model_validate(
            self._post(f"/aliases/{_quoted(name)}/rollback", {"reason": reason})
        )

    def remove_alias(self, name: str) -> None:
        """Take an alias back."""
        with as_tailor_errors(self._endpoint.base_url):
            self._endpoint.openai.delete(f"/tailor/aliases/{_quoted(name)}", cast_to=object)

    # Comparisons

    def compare(
        self,
        models: Sequence[str],
        *,
        file: str | None = None,
        limit: int | None = None,
        max_tokens: int = 256,
    ) -> Comparison:
        """Have models answer the same items."""
        body = {"models": list(models), "file": file, "limit": limit, "max_tokens": max_tokens}
        return Comparison.model_validate(self._post("/comparisons", body))

    def comparison(self, comparison_id: str) -> Comparison:
        """A comparison as far as it has come."""
        return Comparison.model_validate(self._get(f"/comparisons/{_quoted(comparison_id)}"))

    def comparison_page(self, comparison_id: str) -> str:
        """The same as a page."""
        with as_tailor_errors(self._endpoint.base_url):
            path = f"/tailor/comparisons/{_quoted(comparison_id)}?format=html"
            return self._endpoint.openai.get(path, cast_to=str)

    # Waiting

    def follow_comparison(self, comparison: Comparison) -> Iterator[Comparison]:
        """The comparison again and again, until all models are through."""
        return _follow(lambda: self.comparison(comparison.id), lambda found: found.status != "in_progress")

    def follow_reproduction(self, made: Reproduction) -> Iterator[Reproduction]:
        """The reproduction again and again, until its job has ended."""
        return _follow(
            lambda: self.reproduction(made.version, made.job), lambda found: found.status in FINISHED
        )

    def _get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        with as_tailor_errors(self._endpoint.base_url):
            return self._endpoint.openai.get(
                f"/tailor{path}", cast_to=object, options={"params": dict(query or {})}
            )

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        with as_tailor_errors(self._endpoint.base_url):
            return self._endpoint.openai.post(f"/tailor{path}", cast_to=object, body=dict(body))


def _follow(look: Callable[[], Wire], is_over: Callable[[Wire], bool]) -> Iterator[Wire]:
    wait_seconds = _FIRST_WAIT_SECONDS
    while True:
        found = look()
        yield found
        if is_over(found):
            return
        time.sleep(wait_seconds)
        wait_seconds = min(wait_seconds * 1.5, _LONGEST_WAIT_SECONDS)


def _quoted(name: str) -> str:
    return quote(name, safe=":")
