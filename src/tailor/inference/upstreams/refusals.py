"""What an upstream answers instead of an answer, in our words; its own are cut short, without its key."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any, Final

from tailor.errors import InvalidRequest, RateLimited, TailorError, Unavailable
from tailor.inference.upstreams.config import Upstream

_RETRY_SECONDS: Final = 5.0
_MAX_CHARACTERS: Final = 500


class UpstreamFailed(TailorError):
    """The upstream does not do its part; asking again at once would not help."""

    status = 502
    default_code = "upstream_failed"


def refusal_of(upstream: Upstream, status: int, headers: Mapping[str, str], body: Any) -> TailorError:
    """The error for an answer that is not a success."""
    told = _words_of(upstream, body)
    said = f": {told}" if told else "."
    if status in (401, 403):
        return UpstreamFailed(
            f"The upstream {upstream.name} refuses the key of this server.",
            code="upstream_refuses_key",
            remedy="The operator can look at it with `tailor doctor`.",
        )
    if status == 429 and _code_of(body) == "insufficient_quota":
        return UpstreamFailed(
            f"The account of this server at the upstream {upstream.name} is used up.",
            code="upstream_quota",
        )
    if status == 429:
        return RateLimited(
            f"The upstream {upstream.name} has enough to do{said}",
            code="upstream_rate_limit",
            retry_after_seconds=_wait_of(headers),
        )
    if status in (400, 404, 413, 422):
        return InvalidRequest(
            f"The upstream {upstream.name} refuses the request{said}", code="upstream_refused"
        )
    if status >= 500 or status == 408:
        return Unavailable(
            f"The upstream {upstream.name} cannot answer now (status {status}).",
            code="upstream_unavailable",
            retry_after_seconds=_wait_of(headers),
        )
    return UpstreamFailed(f"The upstream {upstream.name} answered with status {status}.")


def unreachable(upstream: Upstream) -> TailorError:
    """The error for a connection that fails."""
    return Unavailable(
        f"The upstream {upstream.name} cannot be reached.",
        code="upstream_unreachable",
        retry_after_seconds=_RETRY_SECONDS,
    )


def too_slow(upstream: Upstream) -> TailorError:
    """The error for an answer that does not come."""
    return Unavailable(
        f"The upstream {upstream.name} did not answer within {upstream.timeout_seconds:g} s.",
        code="upstream_timeout",
        retry_after_seconds=_RETRY_SECONDS,
    )


def nonsense(upstream: Upstream, what: str) -> TailorError:
    """The error for an answer that is none."""
    return UpstreamFailed(f"The answer of the upstream {upstream.name} {what}.", code="upstream_nonsense")


def _code_of(body: Any) -> Any:
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("code") if isinstance(error, dict) else None


def _words_of(upstream: Upstream, body: Any) -> str:
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    if upstream.key is not None:
        message = message.replace(upstream.key.get_secret_value(), "***")
    plain = "".join(letter if letter.isprintable() else " " for letter in message)
    return plain[:_MAX_CHARACTERS]


def _wait_of(headers: Mapping[str, str]) -> float:
    """`Retry-After` in any of its forms, in seconds."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = headers.get(name, "")
        try:
            seconds = float(text) / unit
        except ValueError:
            continue
        if 0 <= seconds < 1e6:
            return max(seconds, 0.1)
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if date is not None:
        return max(email.utils.mktime_tz(date) - time.time(), 0.1)
    return _RETRY_SECONDS
