"""Advice before money is spent: prices, what training and answering cost, and when the one pays back."""

from tailor.advise.costs import (
    Alternative,
    Device,
    Standing,
    break_even,
    duration,
    monthly,
    payback,
    per_thousand,
    request_cost,
    side_by_side,
    training_cost,
)
from tailor.advise.figures import Figure, given, money
from tailor.advise.plan import CostPlan, Workload, cost_plan
from tailor.advise.prices import Catalogue, Price, Usual, load_catalogue

__all__ = [
    "Alternative",
    "Catalogue",
    "CostPlan",
    "Device",
    "Figure",
    "Price",
    "Standing",
    "Usual",
    "Workload",
    "break_even",
    "cost_plan",
    "duration",
    "given",
    "load_catalogue",
    "money",
    "monthly",
    "payback",
    "per_thousand",
    "request_cost",
    "side_by_side",
    "training_cost",
]
