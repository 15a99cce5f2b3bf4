"""Every error a user can meet, with its place on the wire.

    TailorError
      InvalidRequest       400   the caller can mend it (also state conflicts: a 409 would be retried)
      Unauthenticated      401
      Forbidden            403
      NotFound             404
      TooLarge             413
      UnsupportedMedia     415
      Misdirected          421   the Host header names somebody else
      RateLimited          429
      Internal             500   our fault; carries an incident id, never a traceback
      Unavailable          503   try again soon
      StorageFull          507

A message says what, where and what to do. The command line prints it without a traceback; the server
sends it in OpenAI's envelope.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TailorError(Exception):
    """Root of the tree: a sentence for people, a code for programs."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        remedy: str | None = None,
        retry_after_seconds: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.remedy = remedy
        self.retry_after_seconds = retry_after_seconds
        self.details = details or {}

    @property
    def sentence(self) -> str:
        """The message with its remedy, as one text."""
        return f"{self.message} {self.remedy}" if self.remedy else self.message

    def to_wire(self) -> dict[str, Any]:
        """OpenAI's error envelope; all four keys are always there (contract section 4)."""
        error = {"message": self.sentence, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error | self.details}


class InvalidRequest(TailorError):
    """What was asked for cannot be done as asked."""

    status = 400
    type = "invalid_request_error"


class Unauthenticated(TailorError):
    """No key, or one we do not know."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"


class Forbidden(TailorError):
    """A known caller asked for something that is not theirs to do."""

    status = 403
    type = "invalid_request_error"
    default_code = "forbidden"


class NotFound(TailorError):
    """No such object; the same answer whether it never existed or belongs to somebody else."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class TooLarge(TailorError):
    """The body, the file or a line of it is over its limit."""

    status = 413
    type = "invalid_request_error"
    default_code = "too_large"


class UnsupportedMedia(TailorError):
    """A content type or encoding that the route does not take."""

    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_media_type"


class Misdirected(TailorError):
    """The Host header names a host that this server does not answer for (DNS rebinding)."""

    status = 421
    type = "invalid_request_error"
    default_code = "misdirected_request"


class RateLimited(TailorError):
    """Too much at once from this caller."""

    status = 429
    type = "rate_limit_exceeded"
    default_code = "rate_limit_exceeded"


class Internal(TailorError):
    """Our own fault."""

    default_code = "internal_error"


class Unavailable(TailorError):
    """Nothing wrong with the request; the server cannot take it now."""

    status = 503
    default_code = "server_overloaded"


class StorageFull(TailorError):
    """The disk has reached its floor: nothing is lost, nothing new is taken."""

    status = 507
    default_code = "disk_full"
