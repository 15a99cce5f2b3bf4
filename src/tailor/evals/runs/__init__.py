"""Runs of evals: rows read, answers asked for, grades given, each recorded as soon as it is there."""

from tailor.evals.runs.execution import execute
from tailor.evals.runs.judging import Complete, judge
from tailor.evals.runs.means import Means
from tailor.evals.runs.prompting import probe
from tailor.evals.runs.rows import InvalidRows, check_rows, open_rows, row_json
from tailor.evals.runs.schema import check_schema, whole_schema

__all__ = [
    "Complete",
    "InvalidRows",
    "Means",
    "check_rows",
    "check_schema",
    "execute",
    "judge",
    "open_rows",
    "probe",
    "row_json",
    "whole_schema",
]
