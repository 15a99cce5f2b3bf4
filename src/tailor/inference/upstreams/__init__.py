"""OpenAI-compatible endpoints that the operator has named: baselines, teachers and judges."""

from tailor.inference.upstreams.config import (
    MissingKey,
    Upstream,
    UpstreamModel,
    read_upstreams,
    upstreams_file,
)
from tailor.inference.upstreams.gateway import Gateway, Spent, UpstreamStream
from tailor.inference.upstreams.refusals import UpstreamFailed

__all__ = [
    "Gateway",
    "MissingKey",
    "Spent",
    "Upstream",
    "UpstreamFailed",
    "UpstreamModel",
    "UpstreamStream",
    "read_upstreams",
    "upstreams_file",
]
