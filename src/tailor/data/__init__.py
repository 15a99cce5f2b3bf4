"""Read, check, split and fingerprint training data: pure Python, no model needed."""

from tailor.data._messages import text_of
from tailor.data.cases import Case, Cases, read_cases
from tailor.data.examples import (
    Dataset,
    Example,
    JsonObject,
    Learnable,
    Message,
    PreferenceExample,
    TextExample,
    canonical_json,
    write_jsonl,
)
from tailor.data.lessons import Lesson, read_lessons
from tailor.data.methods import METHODS, read_for
from tailor.data.opinions import Opinion, read_opinions
from tailor.data.preferences import read_preferences
from tailor.data.problems import DataReport, Problem
from tailor.data.reading import check_syntax
from tailor.data.reinforcement import ReinforcementExample, read_reinforcement
from tailor.data.splitting import hold_out, overlap
from tailor.data.supervised import read_supervised
from tailor.data.texts import read_texts

__all__ = [
    "METHODS",
    "Case",
    "Cases",
    "DataReport",
    "Dataset",
    "Example",
    "JsonObject",
    "Learnable",
    "Lesson",
    "Message",
    "Opinion",
    "PreferenceExample",
    "Problem",
    "ReinforcementExample",
    "TextExample",
    "canonical_json",
    "check_syntax",
    "hold_out",
    "overlap",
    "read_cases",
    "read_for",
    "read_lessons",
    "read_opinions",
    "read_preferences",
    "read_reinforcement",
    "read_supervised",
    "read_texts",
    "text_of",
    "write_jsonl",
]
