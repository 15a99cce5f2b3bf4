"""Read, check, split and fingerprint training data: pure Python, no model needed."""

from tailor.data._messages import text_of
from tailor.data.cases import Case, Cases, read_cases
from tailor.data.examples import Dataset, Example, JsonObject, Message, canonical_json, write_jsonl
from tailor.data.problems import DataReport, Problem
from tailor.data.reading import check_syntax, read_supervised
from tailor.data.splitting import hold_out, overlap

__all__ = [
    "Case",
    "Cases",
    "DataReport",
    "Dataset",
    "Example",
    "JsonObject",
    "Message",
    "Problem",
    "canonical_json",
    "check_syntax",
    "hold_out",
    "overlap",
    "read_cases",
    "read_supervised",
    "text_of",
    "write_jsonl",
]
