"""The client half: an endpoint that speaks the OpenAI API, and what tailor's commands do with it."""

from tailor.client.cases import Contest, Graded, Outcome, Score, judge, run_cases
from tailor.client.endpoint import FINISHED, Answer, Endpoint, Update
from tailor.client.find import Address, find
from tailor.client.registry import Registry

__all__ = [
    "FINISHED",
    "Address",
    "Answer",
    "Contest",
    "Endpoint",
    "Graded",
    "Outcome",
    "Registry",
    "Score",
    "Update",
    "find",
    "judge",
    "run_cases",
]
