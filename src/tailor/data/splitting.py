"""Keep examples aside that training never sees, and notice when it has seen them after all."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from tailor.data.examples import AnyExample, Dataset
from tailor.data.problems import DataReport, Problem
from tailor.errors import InvalidRequest


def hold_out(
    dataset: Dataset[AnyExample], *, share: float, maximum: int, seed: int
) -> tuple[Dataset[AnyExample], Dataset[AnyExample]]:
    """Split into (train, held out): at most `share` of the examples and at most `maximum` are held out.

    The same dataset and seed give the same split whatever the order of the lines. Examples with equal
    prompts, exact duplicates among them, stay on one side. A dataset too small to spare any gives an
    empty second part.
    """
    if not 0 <= share < 1 or maximum < 0:
        raise InvalidRequest("share must be in [0, 1) and maximum at least 0", param="share")
    wanted = min(round(share * len(dataset)), maximum, max(len(dataset) - 1, 0))
    groups: dict[str, list[AnyExample]] = defaultdict(list)
    for example in dataset.examples:
        groups[example.prompt_key()].append(example)
    held: set[int] = set()
    for key in sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest()):
        if len(held) + len(groups[key]) <= wanted:
            held.update(id(example) for example in groups[key])
    name = dataset.report.file
    kept = [example for example in dataset.examples if id(example) not in held]
    taken = [example for example in dataset.examples if id(example) in held]
    return _part(kept, f"{name} (training part)"), _part(taken, f"{name} (held-out part)")


def overlap(train: Dataset[AnyExample], validation: Dataset[AnyExample]) -> tuple[Problem, ...]:
    """Advice for each validation example that training has seen, or whose prompt it has seen."""
    examples = {example.fingerprint: example.line for example in reversed(train.examples)}
    prompts = {example.prompt_key(): example.line for example in reversed(train.examples)}
    problems = []
    for example in validation.examples:
        seen = examples.get(example.fingerprint)
        asked = prompts.get(example.prompt_key())
        if seen is None and asked is None:
            continue
        what = "the example is also in" if seen is not None else "the same prompt is also in"
        problems.append(
            Problem(
                line=example.line,
                code="overlap" if seen is not None else "overlapping_prompt",
                message=f"{what} the training file, line {seen if seen is not None else asked}.",
                remedy="Remove it from one of the two: figures on seen examples say nothing.",
                severity="advice",
            )
        )
    return tuple(problems)


def _part(examples: list[AnyExample], name: str) -> Dataset[AnyExample]:
    report = DataReport(file=name, num_lines=len(examples), num_examples=len(examples))
    return Dataset(examples=tuple(examples), report=report)
