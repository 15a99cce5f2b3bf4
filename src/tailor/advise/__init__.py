"""Advice before money is spent: whether to fine-tune, by experiment; what it costs, when it pays back."""

from tailor.advise.advice import Advice, judge
from tailor.advise.arms import Arm, ArmResult
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
from tailor.advise.material import Material, Parts, read_material
from tailor.advise.plan import CostPlan, Workload, cost_plan
from tailor.advise.prices import Catalogue, Price, Usual, load_catalogue
from tailor.advise.pricing import Rates
from tailor.advise.study import Study
from tailor.advise.verdict import Circumstances, Verdict

__all__ = [
    "Advice",
    "Arm",
    "ArmResult",
    "Circumstances",
    "Material",
    "Parts",
    "Rates",
    "Study",
    "Verdict",
    "judge",
    "read_material",
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
