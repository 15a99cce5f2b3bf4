"""The operator's one file of upstreams: `TAILOR_UPSTREAMS`, or `upstreams.toml` in the home."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from tailor.errors import InvalidRequest, TailorError

VARIABLE: Final = "TAILOR_UPSTREAMS"
FILE_NAME: Final = "upstreams.toml"
_NANODOLLARS_PER_TOKEN: Final = 1000
"""For a price of one dollar per million tokens."""

_KEY: Final = re.compile(r"[!-~]{1,512}")


class MissingKey(TailorError):
    """The operator has named a variable for the key, and it is not set."""

    status = 502
    default_code = "upstream_key_missing"


def _check_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should be an address that begins with https:// or http://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("should hold no user name, no query and no fragment; the key comes from key_env")
    return text.rstrip("/")


Price = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input_price: Price = 0.0
    output_price: Price = 0.0
    cached_input_price: Price | None = None


class _Upstream(BaseModel):
    model_config = ConfigDict(extra="forbid")

    base_url: Annotated[str, StringConstraints(max_length=2048), AfterValidator(_check_url)]
    key_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 8
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    models: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")], _Model], Field(min_length=1)
    ]


_FILE: Final = TypeAdapter(
    dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")], _Upstream]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstream:
    """An endpoint."""

    name: str
    base_url: str
    key_env: str | None
    key: SecretStr | None
    """None: the endpoint wants none, or its variable is not set; `needs_key` tells."""
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int
    """Requests under way at once."""
    timeout_seconds: float
    """For a whole answer; of a stream, for each piece of it."""
    models: tuple[UpstreamModel, ...]

    @property
    def needs_key(self) -> bool:
        """Whether a key is wanted and missing."""
        return self.key_env is not None and self.key is None


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamModel:
    """A model of an endpoint, and its price in dollars per million tokens."""

    upstream: str
    model: str
    """As the endpoint calls it."""
    input_price: float
    output_price: float
    cached_input_price: float
    created_at: int
    """When the operator's file was last changed."""

    @property
    def name(self) -> str:
        """As callers here call it."""
        return f"{self.upstream}/{self.model}"

    def nanodollars(self, *, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> int:
        """What an answer costs, in whole billionths of a dollar."""
        price = (
            (prompt_tokens - cached_tokens) * self.input_price
            + cached_tokens * self.cached_input_price
            + completion_tokens * self.output_price
        )
        return round(price * _NANODOLLARS_PER_TOKEN)


def upstreams_file(home: Path, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that counts; None if there is none.

    Raises:
        InvalidRequest: the variable names a file that does not exist.
    """
    named = environment.get(VARIABLE)
    if not named:
        path = home / FILE_NAME
        return path if path.exists() else None
    path = Path(named).expanduser()
    if not path.is_file():
        raise InvalidRequest(
            f"{VARIABLE} names {path}, and there is no such file.",
            code="invalid_upstreams",
            remedy="Correct the variable, or remove it.",
        )
    return path


def read_upstreams(path: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[Upstream, ...]:
    """The endpoints in the file, in its order; keys are taken from the environment.

    Raises:
        InvalidRequest: the file is not as it should be; says where.
    """
    if path is None:
        return ()
    try:
        found = _FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid(path, str(error)) from error
    except ValidationError as error:
        raise _invalid(path, "; ".join(_sentence(one) for one in error.errors()[:8])) from None
    changed_at = int(path.stat().st_mtime)
    return tuple(_upstream(name, given, environment, path, changed_at) for name, given in found.items())


def _upstream(
    name: str, given: _Upstream, environment: Mapping[str, str], path: Path, changed_at: int
) -> Upstream:
    secret = environment.get(given.key_env, "").strip() if given.key_env else ""
    if secret and not _KEY.fullmatch(secret):
        # Never the value itself.
        raise _invalid(path, f"the variable {given.key_env} holds something that is no key")
    models = tuple(
        UpstreamModel(
            upstream=name,
            model=model,
            input_price=price.input_price,
            output_price=price.output_price,
            cached_input_price=price.input_price
            if price.cached_input_price is None
            else price.cached_input_price,
            created_at=changed_at,
        )
        for model, price in given.models.items()
    )
    fields = given.model_dump(exclude={"models"})
    return Upstream(name=name, key=SecretStr(secret) if secret else None, models=models, **fields)


def _sentence(error: object) -> str:
    """What is wrong where, without the value: it might be a key in the wrong place."""
    if not isinstance(error, dict):
        return "invalid"
    place = ".".join(str(step) for step in error["loc"] if step != "[key]")
    told = "is no setting" if error["type"] == "extra_forbidden" else str(error["msg"])
    return f"{place}: {told.removeprefix('Value error, ')}"


def _invalid(path: Path, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{path.name} is not as it should be: {what}.",
        code="invalid_upstreams",
        remedy="docs/upstreams.md shows one. Keys do not stand in it, only the variable's name: key_env.",
    )
