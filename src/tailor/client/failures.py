"""What the OpenAI client raises, as errors of ours with the server's own sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tailor.errors import (
    Forbidden,
    Internal,
    InvalidRequest,
    Misdirected,
    NotFound,
    RateLimited,
    StorageFull,
    TailorError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

if TYPE_CHECKING:
    import openai

_KINDS: tuple[type[TailorError], ...] = (
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    TooLarge,
    UnsupportedMedia,
    Misdirected,
    RateLimited,
    Internal,
    Unavailable,
    StorageFull,
)


@contextmanager
def as_tailor_errors(base_url: str) -> Iterator[None]:
    """Raise what happens inside as a `TailorError`.

    Raises:
        Unavailable: With code `unreachable` when nobody answers at `base_url`.
        TailorError: Of the class that the answer's status stands for.
    """
    import httpx2
    import openai

    try:
        yield
    except openai.APITimeoutError as error:
        raise Unavailable(f"The server at {base_url} did not answer in time.", code="unreachable") from error
    except openai.APIConnectionError as error:
        raise Unavailable(
            f"No server answers at {base_url}.",
            code="unreachable",
            remedy="Start one with `tailor serve`, or correct TAILOR_BASE_URL.",
        ) from error
    except openai.APIStatusError as error:
        raise from_answer(error) from error
    except httpx2.TransportError as error:
        raise Unavailable(f"The server at {base_url} went away in mid-answer.", code="unreachable") from error
    except openai.APIError as error:
        raise Internal(error.message, code=error.code) from error


def from_answer(answered: openai.APIStatusError) -> TailorError:
    """The error of ours that an answer with a failing status stands for."""
    status = answered.status_code
    fallback = Internal if status >= 500 else InvalidRequest
    kind = next((kind for kind in _KINDS if kind.status == status), fallback)
    body = answered.body
    if not isinstance(body, dict):
        return kind(f"The server answered {status} without a reason.", remedy="Is this an OpenAI-style API?")
    known = {"message", "type", "param", "code"}
    return kind(
        str(body.get("message") or f"The server answered {status}."),
        param=body.get("param"),
        code=body.get("code"),
        details={name: value for name, value in body.items() if name not in known},
    )
