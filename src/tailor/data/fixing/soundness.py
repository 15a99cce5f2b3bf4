"""Rows that could not be trained on: those that the check blocks."""

from __future__ import annotations

from tailor.data.doctor.items import Items
from tailor.data.examples import JsonObject
from tailor.data.fixing.drafts import Draft
from tailor.data.problems import Findings
from tailor.data.rows import Form, Row


def drop_invalid(draft: Draft, form: Form) -> None:
    """Leave out every row that the check blocks."""
    reasons = {
        place: reason
        for place, row in enumerate(draft)
        if (reason := what_blocks(row, form, line=draft.line(place))) is not None
    }
    draft.drop(reasons, step="drop_invalid")


def what_blocks(row: JsonObject, form: Form, *, line: int) -> str | None:
    """The first thing that keeps a row from being used; None if nothing does."""
    findings = Findings()
    incoming = [Row(line=line, file="", value=row)]
    if next(iter(Items(incoming, form=form, name="", findings=findings)), None) is not None:
        return None
    problem = next(iter(findings.listed()), None)
    return f"{problem.code}: {problem.message}" if problem is not None else "the row cannot be used"
