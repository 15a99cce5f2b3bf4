"""Proof: base and version examined on the same held-out items, and what may be said about the difference."""

from tailor.evals.pair import LocalPair, Pair
from tailor.evals.proof import Question, prove
from tailor.evals.rewards import prove_rewards

__all__ = ["LocalPair", "Pair", "Question", "prove", "prove_rewards"]
