"""Mend training data by explicit choices; every change is logged, and a second time changes nothing."""

from tailor.data.fixing.choices import Balance, Choices, Contradictions
from tailor.data.fixing.fixing import Fixed, fix
from tailor.data.fixing.lengths import Characters, Measure, Tokens

__all__ = ["Balance", "Characters", "Choices", "Contradictions", "Fixed", "Measure", "Tokens", "fix"]
