"""A file, read and put through every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO, Final

import numpy as np

from tailor.data.doctor.amounts import find_too_few
from tailor.data.doctor.balance import find_imbalance
from tailor.data.doctor.contradictions import find_contradictions
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.diversity import MAPPED, find_groups
from tailor.data.doctor.duplicates import find_duplicates, find_near_duplicates
from tailor.data.doctor.examine import examine
from tailor.data.doctor.findings import Diagnosis, Evidence, Figure, Finding, Sample
from tailor.data.doctor.format import find_broken_json, find_format_breaks, find_spellings
from tailor.data.doctor.items import Incoming, Items, form_of, item_of, jsonl_rows
from tailor.data.doctor.labels import FIT_ON, find_suspicious_labels
from tailor.data.doctor.languages import find_languages
from tailor.data.doctor.leakage import find_leakage
from tailor.data.doctor.lengths import find_long, find_short, tokens_of
from tailor.data.doctor.losses import find_hard
from tailor.data.doctor.meaning import COMPARED, find_leaked_meaning, find_paraphrases
from tailor.data.doctor.options import Options
from tailor.data.doctor.pairs import find_pair_habits
from tailor.data.doctor.personal import find_names, find_personal_data, find_places
from tailor.data.doctor.prompts import find_system_prompts, find_without_question
from tailor.data.doctor.refusals import find_hedges, find_refusals
from tailor.data.doctor.tools import find_tool_flaws
from tailor.data.examples import Example
from tailor.data.problems import Findings, Problem
from tailor.data.rows import Form

_MOST_SHOWN: Final = 300
"""Characters of a text in a sample."""

Check = Callable[[Corpus, Options], Iterator[Evidence]]
"""A check looks at a corpus and yields findings and figures."""

QUICK: Final[tuple[Check, ...]] = (
    find_duplicates,
    find_contradictions,
    find_refusals,
    find_spellings,
    find_format_breaks,
    find_broken_json,
    find_imbalance,
    find_short,
    find_long,
    find_system_prompts,
    find_without_question,
    find_tool_flaws,
    find_personal_data,
)
"""What every job and every upload is checked for: nothing here imports more than NumPy."""

THOROUGH: Final[tuple[Check, ...]] = (
    find_groups,  # first: what others leave in Python's memory would come on top of its peak
    *QUICK,
    find_near_duplicates,
    find_paraphrases,
    find_hedges,
    find_names,
    find_places,
    find_languages,
    find_pair_habits,
    find_suspicious_labels,
    find_hard,
    find_too_few,
)
"""Everything."""


MEASURE: Final[tuple[Check, ...]] = (
    find_duplicates,
    find_contradictions,
    find_spellings,
    find_broken_json,
    find_imbalance,
    find_suspicious_labels,
)
"""What a validation file is checked for."""


def read_corpus(
    rows: Incoming, *, name: str, form: Form, options: Options, findings: Findings
) -> tuple[Corpus, int]:
    """(the sound rows as a corpus, how many lines there were); what is wrong goes to the findings."""
    items = Items(rows, form=form, name=name, findings=findings)
    corpus = examine(items, name=name, form=form, options=options)
    return corpus, items.num_lines


def diagnose(
    rows: Incoming,
    *,
    name: str,
    form: Form,
    options: Options | None = None,
    validation: Corpus | None = None,
    findings: Findings | None = None,
    minimum_examples: int = 10,
) -> Diagnosis:
    """Read rows and check all of it. Never raises for what is in them: look at `ok`.

    `findings` may hold what the reading of lines has found or will find. With a `validation` corpus,
    leakage is looked for too.
    """
    options = options or Options()
    findings = findings or Findings()
    corpus, num_lines = read_corpus(rows, name=name, form=form, options=options, findings=findings)
    if num_lines < minimum_examples:
        findings.add(too_few_lines(num_lines, minimum_examples))
    return diagnosis_of(corpus, findings, num_lines=num_lines, options=options, validation=validation)


def diagnose_jsonl(
    stream: BinaryIO, *, name: str, options: Options | None = None, minimum_examples: int = 10
) -> Diagnosis:
    """Diagnose a JSONL stream, such as an uploaded file."""
    findings = Findings()
    rows = jsonl_rows(stream, name=name, findings=findings)
    first = next(rows, None)
    form = Form.CHAT if first is None else form_of(first.value)
    return diagnose(
        rows if first is None else chain([first], rows),
        name=name,
        form=form,
        options=options,
        findings=findings,
        minimum_examples=minimum_examples,
    )


def diagnosis_of(
    corpus: Corpus,
    findings: Findings,
    *,
    num_lines: int,
    options: Options,
    validation: Corpus | None = None,
    is_validation: bool = False,
) -> Diagnosis:
    """The diagnosis of a corpus, of which `findings` holds what is wrong with its lines.

    A validation file is checked for what makes it a bad measure, not for what it would teach.
    """
    found: list[Finding] = list(_structure(findings, num_lines, several=len(corpus.files) > 1))
    figures: list[Figure] = []
    for evidence in _evidence(corpus, options, validation, MEASURE if is_validation else THOROUGH):
        if isinstance(evidence, Figure):
            figures.append(evidence)
        else:
            found.append(evidence)
            if evidence.file is None:
                findings.add_advice(evidence.problems, number=evidence.num_problems)
    found.sort(key=lambda finding: (finding.severity != "blocking", -finding.weight))
    return Diagnosis(
        file=corpus.name,
        task=corpus.task,
        report=findings.report(file=corpus.name, num_lines=num_lines, num_examples=len(corpus)),
        findings=tuple(found),
        figures=tuple(figures),
        tokens=tokens_of(corpus, options) if len(corpus) else None,
        validation=None if validation is None else validation.name,
        unchecked=() if is_validation else tuple(_unchecked(corpus, validation, options)),
        samples=_samples(corpus, found),
    )


def advise(examples: Sequence[Example]) -> Iterator[tuple[tuple[Problem, ...], int]]:
    """For each kind of advice: the first problems in detail, and how many there are."""
    if not examples:
        return
    options = Options()
    items = (item_of(example) for example in examples)
    corpus = examine(items, name="", form=Form.CHAT, options=options, thorough=False)
    for check in QUICK:
        for evidence in check(corpus, options):
            if isinstance(evidence, Finding):
                yield evidence.problems, evidence.num_problems


def too_few_lines(num_lines: int, minimum: int) -> Problem:
    """The problem of a file that a job would refuse for its size."""
    message = f"Training file has {num_lines} example(s), but must have at least {minimum} examples."
    return Problem(line=None, code="invalid_n_examples", message=message, remedy="Add more examples.")


def _evidence(
    corpus: Corpus, options: Options, validation: Corpus | None, checks: Sequence[Check]
) -> Iterator[Evidence]:
    if not len(corpus):
        return
    if validation is not None and len(validation):
        yield from find_leakage(corpus, validation, options)
        yield from find_leaked_meaning(corpus, validation, options)
        validation.release()
    for check in checks:
        yield from check(corpus, options)
        corpus.release()


def _structure(findings: Findings, num_lines: int, *, several: bool) -> Iterator[Finding]:
    """What is wrong with lines, one finding a code."""
    for code, problems in findings.by_code().items():
        first = problems[0]
        count = findings.counts[code]
        # Of several files a line alone names no place; the messages name the file.
        lines = () if several else tuple(sorted(findings.lines[code]))
        yield Finding(
            code=code,
            title=code.replace("_", " ").replace("json", "JSON").capitalize().replace("Json", "JSON"),
            severity=first.severity,
            lines=lines,
            message=_said(first) if count == 1 else f"{count:,} times, as in: {_said(first)}",
            why="A job refuses the file." if first.severity == "blocking" else "It is passed over.",
            remedy=first.remedy,
            problems=tuple(problems[:20]),
            num_problems=count,
            weight=count / max(num_lines, 1),
        )


def _said(problem: Problem) -> str:
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


def _unchecked(corpus: Corpus, validation: Corpus | None, options: Options) -> Iterator[str]:
    if validation is None:
        yield "Leakage: no validation file was given."
    if len(corpus.files) > 1:
        yield f"{len(corpus.files):,} files were read as one: numbers count examples in the order of reading."
    if options.embed is None:
        yield "Paraphrases: no model for embeddings was named (--embeddings)."
    elif len(corpus) > COMPARED:
        yield f"Paraphrases: the first {COMPARED:,} different examples."
    if len(corpus) > MAPPED:
        yield f"Groups and thin regions: a sample of {MAPPED:,} examples."
    if len(corpus) > FIT_ON and corpus.task.kind == "classification":
        yield f"Suspicious labels: fitted on {FIT_ON:,} examples, all were judged."


def _samples(corpus: Corpus, found: Sequence[Finding]) -> dict[int, Sample]:
    wanted = {
        problem.line
        for finding in found
        if finding.file is None
        for problem in finding.problems
        if problem.line is not None
    }
    at = {line: place for place, line in enumerate(corpus.lines(np.arange(len(corpus)))) if line in wanted}
    several = len(corpus.files) > 1
    return {
        line: Sample(
            where=corpus.where(place) if several else None,
            asked=corpus.asked[place][:_MOST_SHOWN],
            answer=corpus.answers[place][:_MOST_SHOWN],
        )
        for line, place in sorted(at.items())
    }
