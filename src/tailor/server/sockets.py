"""The socket that we listen on, and the protocol's own refusals in our envelope."""

from __future__ import annotations

import json
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tailor.errors import InvalidRequest
from tailor.server.config import ServerConfig

_HEAD_SECONDS = 10.0
"""A new connection must have sent the head of its request by then."""

_DEAD_MILLISECONDS = 60_000
_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound


def bind(config: ServerConfig) -> socket.socket:
    """A listening socket; raises InvalidRequest when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # The kernel drops connections whose other end takes nothing for so long.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MILLISECONDS)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise InvalidRequest(
            f"Cannot listen on {config.host}, port {config.port}: {error.strerror or error}.",
            remedy="Choose another with --port, or stop what uses it.",
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """`host:port` under which clients on this machine reach the socket."""
    host, port = listener.getsockname()[:2]
    if listener.family == socket.AF_INET6 and host not in _ANY:
        host = f"[{host}]"
    return f"{_ANY.get(host, host)}:{port}"


class EnvelopeProtocol(H11Protocol):
    """HTTP/1.1 whose own 400 is the envelope too, and that does not wait for ever for a first request."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        self.loop.call_later(_HEAD_SECONDS, self._check_head)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        error = {"message": msg, "type": "invalid_request_error", "param": None, "code": "invalid_http"}
        body = json.dumps({"error": error}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _check_head(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
