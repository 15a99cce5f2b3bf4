"""What a study tries: which arms, on which items, through which endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Final

from tailor.advise.arms import Arm, Means
from tailor.advise.asking import Asking
from tailor.advise.journal import Journal
from tailor.advise.material import Material, Parts
from tailor.advise.measure import is_copied
from tailor.advise.passages import Passage
from tailor.advise.prompts import form_named
from tailor.advise.search import most_requests
from tailor.advise.tuning import LEAST_TO_TRAIN, nested_sizes
from tailor.client import Endpoint
from tailor.data.examples import digest_of
from tailor.protocol import ModelObject

_FORMAT: Final = 1
"""Of what is kept; a study that was kept in another form is made anew."""

_TAUGHT: Final = 1_000
"""Items that a teacher answers at most."""

_CONTEXT_ELSEWHERE: Final = 8_000
_FLOPS: Final = 6e10
"""Of one core in training, measured; only the time that is expected goes by it."""

_SECONDS_ELSEWHERE: Final = 0.15
"""A request among others under way to a model elsewhere; a guess."""

_TRAINING_ELSEWHERE: Final = 900.0
"""A job of a hosted service; a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What is tried, on what, and where."""

    endpoint: Endpoint
    base: ModelObject
    """Is asked, and is tuned."""

    others: tuple[ModelObject, ...] = ()
    """Models elsewhere: asked, and the first of them teaches."""

    material: Material
    parts: Parts
    documents: tuple[Passage, ...] = ()
    """To look up in."""

    embedder: ModelObject | None = None
    """Turns texts into vectors, to look up by meaning too."""

    max_steps: int = 200
    """Of one training."""

    num_seeds: int = 2
    """Trainings on all of the examples, each with another seed."""

    quick: bool = False
    """Only the arms that tell most."""

    journal: Journal | None = None
    concurrency: int = 16
    seed: int = 0
    max_tokens: int = field(init=False)
    """Longest answer that is waited for."""

    def __post_init__(self) -> None:
        lengths = sorted(len(item.answer) for item in self.parts.train)
        long = lengths[int(0.98 * (len(lengths) - 1))] if lengths else 40
        object.__setattr__(self, "max_tokens", min(max(round(long / 2.5) + 6, 8), 400))

    @property
    def fingerprint(self) -> str:
        """Equal for studies whose arms come to the same."""
        models = [[model.id, (model.tailor or {}).get("digest")] for model in self._models]
        return digest_of(
            [
                _FORMAT,
                self.material.fingerprint,
                [
                    item.fingerprint
                    for item in (*self.parts.train, *self.parts.development, *self.parts.held_out)
                ],
                models,
                [passage.text for passage in self.documents],
                [self.max_steps, self.num_seeds, self.quick, self.seed],
            ]
        )

    @property
    def _models(self) -> tuple[ModelObject, ...]:
        return (self.base, *self.others, *([self.embedder] if self.embedder else []))

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of texts, by the embedder."""
        if self.embedder is None:
            raise TypeError("there is no embedder")
        return self.endpoint.embed(self.embedder.id, texts)

    def asking(self, model: ModelObject) -> Asking:
        """How a model is asked."""
        return Asking(
            endpoint=self.endpoint, model=model.id, max_tokens=self.max_tokens, concurrency=self.concurrency
        )

    def room(self, model: ModelObject) -> int:
        """Tokens that a prompt of a model may have."""
        context = (model.tailor or {}).get("context_length") or _CONTEXT_ELSEWHERE
        return max(int(context) - self.max_tokens - 40, 64)


def is_elsewhere(model: ModelObject) -> bool:
    """Whether texts leave the endpoint's machine for a model, as far as the endpoint says."""
    return model.tailor is None or model.tailor.get("kind") == "upstream"


def plan(study: Study) -> list[Arm]:
    """The arms, the cheap ones first."""
    kind = study.material.measure.kind
    arms = [Arm(means="lookup", name="lookup, examples", variant="examples")]
    if study.documents and kind == "text":
        arms.append(Arm(means="lookup", name="lookup, documents", variant="documents"))
    if kind in ("classification", "extraction") or (kind == "exact" and is_copied(study.parts.train)):
        arms.append(Arm(means="classical", name="classical"))
    for model in (study.base, *study.others):
        arms += _prompted(study, model, f" · {model.id}" if study.others else "")
    sizes = nested_sizes(len(study.parts.train), quick=study.quick)
    arms += [
        Arm(
            means="tuned",
            name=f"tuned on {size:,}",
            model=study.base.id,
            is_elsewhere=is_elsewhere(study.base),
            size=size,
        )
        for size in sizes
    ]
    if study.others and kind != "tool calls" and len(study.parts.train) >= LEAST_TO_TRAIN:
        teacher = study.others[0].id
        size = min(len(study.parts.train), _TAUGHT)
        arms.append(
            Arm(
                means="distilled",
                name=f"distilled from {teacher}",
                model=study.base.id,
                teacher=teacher,
                is_elsewhere=is_elsewhere(study.others[0]),
                size=size,
            )
        )
    return arms


def _prompted(study: Study, model: ModelObject, after: str) -> Iterator[Arm]:
    def arm(means: Means, variant: str = "") -> Arm:
        return Arm(
            means=means,
            name=f"{means}, {variant}{after}" if variant else f"{means}{after}",
            model=model.id,
            is_elsewhere=is_elsewhere(model),
            variant=variant,
        )

    yield arm("prompt")
    if form_named(study.material.measure, study.parts.train):
        yield arm("structured")
    yield arm("few-shot", "similar")
    if not study.quick:
        yield arm("few-shot", "diverse")
        yield arm("retrieval", "examples")
    if study.documents:
        yield arm("retrieval", "documents")
    if study.embedder is not None:
        by_meaning = arm("retrieval", f"{'documents' if study.documents else 'examples'} by meaning")
        leaves = by_meaning.is_elsewhere or is_elsewhere(study.embedder)
        yield replace(by_meaning, is_elsewhere=leaves)
    if not study.quick:
        yield arm("optimised")


def expected_seconds(study: Study, arm: Arm) -> float:
    """About how long an arm takes on one core; a first guess and no more."""
    items = len(study.parts.held_out)
    if arm.model is None:
        return 1 + 0.0005 * len(study.parts.train)
    parameters = (study.base.tailor or {}).get("parameters")
    if arm.size is not None and parameters is None:
        return _TRAINING_ELSEWHERE
    if arm.means == "optimised":
        items += most_requests(len(study.parts.development))
    if parameters is None or (arm.is_elsewhere and arm.size is None):
        return 1 + _SECONDS_ELSEWHERE * items
    prompt = fmean(len(item.asked) for item in study.parts.held_out) / 4 + 30
    asked = 2 * parameters * (prompt + 6 * study.max_tokens) / _FLOPS
    if arm.size is None:
        longer = 3 if arm.means in ("few-shot", "retrieval", "optimised") else 1
        return float(1 + items * (0.004 + longer * asked))
    tokens = study.max_steps * min(32, max(4, arm.size / 60)) * prompt
    runs = (
        study.num_seeds if arm.means == "tuned" and not arm.is_point_of_curve(len(study.parts.train)) else 1
    )
    return float(runs * (12 + 6 * parameters * tokens / _FLOPS + items * asked))
