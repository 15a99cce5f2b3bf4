"""How one server is set up."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Everything an operator may choose."""

    home: Path
    """Where everything is kept."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 8000
    """Port to listen on; 0 takes a free one."""

    allowed_hosts: tuple[str, ...] = ()
    """Names in the Host header that we answer for, beside loopback and `host` (reliability R11)."""

    organization: str = "local"
    """The slug inside tuned models' names, `ft:base:<organization>:suffix:id`."""

    training_threads: int | None = None
    """Threads of each training worker; None takes one for each core."""

    spare_workers: int = 0
    """Workers that wait for a job with everything loaded."""

    embedding_model: str | None = field(default_factory=lambda: os.environ.get("TAILOR_EMBEDDINGS") or None)
    """The model whose vectors `cosine` graders compare; None: such graders are refused."""

    max_json_bytes: int = 1 * MIB
    """Largest JSON body."""

    max_chat_bytes: int = 8 * MIB
    """Largest body of a chat request."""

    max_upload_bytes: int = 513 * MIB
    """Largest upload with its multipart frame; a file itself may have 512 MiB."""

    max_requests: int = 1_000
    """Requests in progress at once; one more is answered 503 at once."""

    drain_seconds: float = 30.0
    """How long requests in progress may go on after SIGTERM."""

    ping_seconds: float = 15.0
    """A stream that has nothing to say sends a comment this often."""

    stall_seconds: float = 30.0
    """A reader that takes nothing for this long loses its stream."""

    answer_seconds: float = 600.0
    """Longest time for one chat answer: the official client gives up then."""

    stuck_seconds: float = 60.0
    """An engine that has not moved for this long is restarted; longer than one run of the largest model."""

    @property
    def hosts(self) -> frozenset[str]:
        """Every name that a Host header may carry, without port, in lower case."""
        return frozenset(
            {*_LOOPBACK_HOSTS, _in_url(self.host), *(name.lower() for name in self.allowed_hosts)}
        )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
