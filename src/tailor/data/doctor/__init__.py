"""The data doctor: checks of what a file would teach, and what they find."""

from tailor.data.doctor.corpus import Corpus, Item
from tailor.data.doctor.diagnose import (
    Check,
    advise,
    diagnose,
    diagnose_jsonl,
    diagnosis_of,
    read_corpus,
    too_few_lines,
)
from tailor.data.doctor.findings import Diagnosis, Figure, Finding, Tokens
from tailor.data.doctor.losses import Losses, read_losses
from tailor.data.doctor.options import Gain, Options, TokenCount
from tailor.data.doctor.task import Task

__all__ = [
    "Check",
    "Corpus",
    "Diagnosis",
    "Figure",
    "Finding",
    "Gain",
    "Item",
    "Losses",
    "Options",
    "Task",
    "TokenCount",
    "Tokens",
    "advise",
    "diagnose",
    "diagnose_jsonl",
    "diagnosis_of",
    "read_corpus",
    "read_losses",
    "too_few_lines",
]
