"""What a version can no longer do that its base could: a fixed battery, and the user's own canaries.

Measured beside the proof, with the models that it has in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Final

from tailor.data import Case, Example
from tailor.evals.battery import Battery
from tailor.evals.canaries import Canaries
from tailor.evals.items import Item, render_items
from tailor.evals.pair import Answer, Arm, Pair
from tailor.grading import equals, matches, mcnemar
from tailor.models import Template
from tailor.protocol import CanaryResult, Forgetting, ProbeResult, ProofItem
from tailor.training import ExampleScore, TokenizedExample

LIMIT: Final = 0.5
"""A version that keeps less of what its base can do is not promoted; measured in docs/versions.md."""
BROKEN_SHARE: Final = 0.05
"""Of the canaries that the base passed, as many may break."""
_LONGEST_ANSWER: Final = 128
_MARGIN_TOKENS: Final = 8
_MAX_LISTED: Final = 20
_MAX_CHARACTERS: Final = 2_000


class Along:
    """A pair that is watched: whatever it is asked for, the battery and the canaries are asked along."""

    def __init__(
        self,
        pair: Pair,
        battery: Battery,
        canaries: Canaries | None,
        template: Template,
        *,
        max_tokens: int,
        tick: Callable[[float], None] = lambda share: None,
    ) -> None:
        """`max_tokens`: the context; canaries that do not fit it are left out. `tick` may raise to stop."""
        self._tick = tick
        self._pair = pair
        self._battery = battery
        self._canaries = canaries
        self._cases, self._items = _rendered(canaries, template, max_tokens)
        self._scores: dict[Arm, list[ExampleScore]] = {}
        self._answers: dict[Arm, list[Answer]] = {}

    def scores(self, arm: Arm, examples: Sequence[TokenizedExample]) -> Iterator[ExampleScore]:
        """As the pair has it."""
        self._score(arm)
        yield from self._pair.scores(arm, examples)

    def answers(self, arm: Arm, items: Sequence[Item], *, max_tokens: int) -> Iterator[Answer]:
        """As the pair has it."""
        self._score("base")
        self._score("version")
        self._answer(arm)
        yield from self._pair.answers(arm, items, max_tokens=max_tokens)

    def forgetting(self) -> Forgetting:
        """What came of it; asks for whatever was not asked along."""
        arms: tuple[Arm, Arm] = ("base", "version")
        for arm in arms:
            self._score(arm)
        for arm in arms:
            self._answer(arm)
        probes = self._battery.judge(self._scores["base"], self._scores["version"])
        canaries = self._canary_result() if self._canaries is not None else None
        reasons = [*_lost(probes), *_broken(canaries)]
        kept = [probe.kept for probe in probes if probe.kept is not None]
        return Forgetting(
            battery=self._battery.name,
            probes=probes,
            kept=round(fmean(kept), 4) if kept else None,
            limit=LIMIT,
            canaries=canaries,
            is_blocked=bool(reasons),
            reasons=reasons,
            remedies=list(REMEDIES) if reasons else [],
        )

    def _score(self, arm: Arm) -> None:
        if arm in self._scores:
            return
        found = []
        for score in self._pair.scores(arm, self._battery.examples(arm)):
            found.append(score)
            self._tick(0.0)
        self._scores[arm] = found

    def _answer(self, arm: Arm) -> None:
        if arm in self._answers or not self._items:
            return
        longest = max(item.num_reference_tokens for item in self._items) + _MARGIN_TOKENS
        if any(case.expected_patterns for case in self._cases):
            longest = max(longest, _LONGEST_ANSWER)
        found = []
        for answer in self._pair.answers(arm, self._items, max_tokens=longest):
            found.append(answer)
            self._tick(0.0)
        self._answers[arm] = found

    def _canary_result(self) -> CanaryResult | None:
        if self._canaries is None or not self._items:
            return None
        old, new = (
            [_passes(case, answer.text) for case, answer in zip(self._cases, self._answers[arm], strict=True)]
            for arm in ("base", "version")
        )
        fixed = sum(after > before for before, after in zip(old, new, strict=True))
        broken = [place for place, (before, after) in enumerate(zip(old, new, strict=True)) if before > after]
        return CanaryResult(
            file=self._canaries.file,
            num_items=len(self._items),
            before=sum(old),
            after=sum(new),
            fixed=fixed,
            broken=len(broken),
            p_value=mcnemar(fixed, len(broken)),
            items=[self._canary(place) for place in broken[:_MAX_LISTED]],
        )

    def _canary(self, place: int) -> ProofItem:
        case = self._cases[place]
        return ProofItem(
            line=case.line,
            outcome="broken",
            passed=False,
            prompt=self._items[place].prompt_text[:_MAX_CHARACTERS],
            expected=_expected(case)[:_MAX_CHARACTERS],
            base_answer=self._answers["base"][place].text[:_MAX_CHARACTERS],
            version_answer=self._answers["version"][place].text[:_MAX_CHARACTERS],
            base_loss=None,
            version_loss=None,
        )


REMEDIES: Final = (
    "Train at a lower rate: `tailor train ... --learning-rate-multiplier 0.3`",
    "Keep less of what a LoRA adapter learned: the job's option `tailor.adapter_scale`, such as 0.7",
    "Mix general examples in while it trains: the job's option `tailor.replay`, or `tailor data mix`",
    "Train fewer weights: `--adapter lora` with a smaller `--rank`",
)


def _lost(probes: Sequence[ProbeResult]) -> list[str]:
    """Why the battery blocks, if it does."""
    known = [(probe.name, probe.kept) for probe in probes if probe.kept is not None]
    if not known:
        return []
    kept = fmean(share for _, share in known)
    each = ", ".join(f"{name} {100 * share:.0f} %" for name, share in known)
    if kept >= LIMIT:
        return []
    return [
        f"It keeps {100 * kept:.0f} % of its base's general ability, less than {100 * LIMIT:.0f} % ({each})."
    ]


def _broken(canaries: CanaryResult | None) -> list[str]:
    if canaries is None or canaries.broken <= BROKEN_SHARE * canaries.before:
        return []
    return [f"{canaries.broken} of the {canaries.before} canaries that its base passes are broken."]


def _passes(case: Case, text: str) -> bool:
    if case.expected_patterns:
        return matches(text, case.expected_patterns)
    return equals(text, case.reference or "")


def _expected(case: Case) -> str:
    return " + ".join(case.expected_patterns) or case.reference or ""


def _rendered(
    canaries: Canaries | None, template: Template, max_tokens: int
) -> tuple[list[Case], list[Item]]:
    """The cases that fit, and as items."""
    cases: list[Case] = []
    items: list[Item] = []
    for case in canaries.cases if canaries else ():
        answer = {"role": "assistant", "content": _expected(case)}
        example = Example(line=case.line, messages=(*case.messages, answer), tools=case.tools)
        for item in render_items([example], template, max_tokens=max_tokens - _MARGIN_TOKENS):
            cases.append(case)
            items.append(item)
    return cases, items
