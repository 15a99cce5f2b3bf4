"""What every request passes on its way in, outermost first; each layer is plain ASGI and does one thing.

identity -> rate limits -> failures -> hosts -> traffic -> authentication -> bodies -> routes
"""

from tailor.server.layers.authentication import PUBLIC_PATHS, Authentication, Caller, caller_of
from tailor.server.layers.bodies import Bodies
from tailor.server.layers.failures import Failures, envelope
from tailor.server.layers.hosts import Hosts
from tailor.server.layers.identity import Identity
from tailor.server.layers.rates import RateLimits
from tailor.server.layers.traffic import Traffic

__all__ = [
    "PUBLIC_PATHS",
    "Authentication",
    "Bodies",
    "Caller",
    "Failures",
    "Hosts",
    "Identity",
    "RateLimits",
    "Traffic",
    "caller_of",
    "envelope",
]
