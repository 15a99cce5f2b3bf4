"""Cases through an endpoint: how many a model passes, and whether that is more than another does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tailor.client.endpoint import Endpoint
from tailor.data import Case
from tailor.errors import InvalidRequest
from tailor.grading import (
    Difference,
    Interval,
    equals,
    matches,
    paired_difference,
    percentile,
    wilson,
)

Outcome = Literal["fixed", "broken", "unchanged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """One case, answered and judged."""

    line: int
    """The case's line in its file, counted from 1."""
    input: str
    """The last message that was asked."""
    expected: str | tuple[str, ...]
    """The reference answer, or the patterns that must all occur."""
    actual: str
    """The answer; for a case that the server refused, its sentence."""
    passed: bool
    refused: bool = False
    """The server would not take this case, say because it is too long; it counts as failed."""
    latency_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How one model did on all cases."""

    model: str
    graded: tuple[Graded, ...]
    """In the order of the file."""

    @property
    def total(self) -> int:
        """Cases asked."""
        return len(self.graded)

    @property
    def passed(self) -> int:
        """Cases answered as expected."""
        return sum(case.passed for case in self.graded)

    @property
    def pass_rate(self) -> float:
        """Passed of total, 0 to 1."""
        return self.passed / self.total

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the pass rate."""
        return wilson(self.passed, self.total)

    @property
    def failures(self) -> tuple[Graded, ...]:
        """The cases that did not pass."""
        return tuple(case for case in self.graded if not case.passed)

    def latency_ms(self, percent: float) -> float:
        """The latency that `percent` of 100 answers stayed within, as this client saw it."""
        return 1000 * percentile([case.latency_seconds for case in self.graded], percent)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "model": self.model,
            "total": self.total,
            "passed": self.passed,
            "failed": self.total - self.passed,
            "pass_rate": self.pass_rate,
            "interval": asdict(self.interval),
            "failures": [
                {"line": case.line, "input": case.input, "expected": case.expected, "actual": case.actual}
                for case in self.failures
            ],
            "prompt_tokens": sum(case.prompt_tokens for case in self.graded),
            "completion_tokens": sum(case.completion_tokens for case in self.graded),
            "latency_p50_ms": self.latency_ms(50),
            "latency_p95_ms": self.latency_ms(95),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """A model against another on the same cases."""

    model: Score
    against: Score

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each case, in the order of the file."""
        return tuple(
            "unchanged" if new.passed == old.passed else "fixed" if new.passed else "broken"
            for new, old in zip(self.model.graded, self.against.graded, strict=True)
        )

    @property
    def difference(self) -> Difference:
        """The model's pass rate minus the other's: interval and test of paired proportions."""
        before = [case.passed for case in self.against.graded]
        return paired_difference(before, [case.passed for case in self.model.graded])

    def changed(self, outcome: Outcome) -> list[tuple[Graded, Graded]]:
        """The cases with this outcome, as (model's, other's)."""
        pairs = zip(self.outcomes, self.model.graded, self.against.graded, strict=True)
        return [(new, old) for found, new, old in pairs if found == outcome]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        difference = self.difference
        return {
            "against": self.against.to_dict(),
            **{outcome: self.outcomes.count(outcome) for outcome in ("fixed", "broken", "unchanged")},
            "difference": {
                "mean": difference.mean,
                "interval": {"low": difference.low, "high": difference.high},
                "p_value": difference.p,
                "test": difference.method,
            },
        }


def run_cases(
    endpoint: Endpoint,
    model: str,
    cases: Sequence[Case],
    *,
    concurrency: int = 8,
    max_tokens: int = 256,
    on_done: Callable[[], None] = lambda: None,
) -> Score:
    """Ask `model` every case, greedily, and judge its answers.

    `on_done` is called after each. A case that the server refuses as a bad request counts as failed.

    Raises:
        InvalidRequest: There are no cases.
        TailorError: The model is unknown, the key is wrong or nobody answers; nothing is scored then.
    """
    if not cases:
        raise InvalidRequest("There are no cases to ask.", remedy="Give at least one line.")
    graded: dict[int, Graded] = {}
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        asked = {
            pool.submit(_ask, endpoint, model, case, max_tokens): place for place, case in enumerate(cases)
        }
        try:
            for done in as_completed(asked):
                graded[asked[done]] = done.result()
                on_done()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Score(model=model, graded=tuple(graded[place] for place in range(len(cases))))


def _ask(endpoint: Endpoint, model: str, case: Case, max_tokens: int) -> Graded:
    asked = case.messages[-1]["content"] or ""
    # `weight` is for training; other servers refuse it in a chat.
    messages = [
        {key: value for key, value in message.items() if key != "weight"} for message in case.messages
    ]
    expected = case.expected_patterns or case.reference or ""
    tools = {"tools": list(case.tools)} if case.tools else {}
    try:
        answer = endpoint.chat(model, messages, temperature=0, max_completion_tokens=max_tokens, **tools)
    except InvalidRequest as error:
        return Graded(
            line=case.line, input=asked, expected=expected, actual=error.sentence, passed=False, refused=True
        )
    return Graded(
        line=case.line,
        input=asked,
        expected=expected,
        actual=answer.text,
        passed=judge(case, answer.text),
        latency_seconds=answer.latency_seconds,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )


def judge(case: Case, answer: str) -> bool:
    """Whether an answer is right: all patterns occur, or without patterns it equals the reference."""
    if case.expected_patterns:
        return matches(answer, case.expected_patterns)
    return equals(answer, case.reference or "")
