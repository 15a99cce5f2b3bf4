"""Proof: base and version on the same held-out items, and what may be said; `runs` has the Evals API's work.

Names are imported when they are first used: they bring torch, which runs of evals do not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailor.evals.battery import Battery
    from tailor.evals.forgetting import Along
    from tailor.evals.frame import Question
    from tailor.evals.judgements import prove_judgements
    from tailor.evals.pair import LocalPair, Pair
    from tailor.evals.proof import prove
    from tailor.evals.rewards import prove_rewards

_MODULES = {
    "battery": ("Battery",),
    "forgetting": ("Along",),
    "frame": ("Question",),
    "judgements": ("prove_judgements",),
    "pair": ("LocalPair", "Pair"),
    "proof": ("prove",),
    "rewards": ("prove_rewards",),
}

__all__ = ["Along", "Battery", "LocalPair", "Pair", "Question", "prove", "prove_judgements", "prove_rewards"]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"tailor.evals.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
