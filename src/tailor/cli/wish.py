"""What to train, as the options of `tailor train` say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailor.protocol import JobRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What to train, as the options say it; None leaves the choice to the server."""

    file: Path
    validation: Path | None = None
    model: str | None = None
    """None: the server's default base."""
    suffix: str | None = None
    method: str = "supervised"
    """What is learned, and from which kind of file: one of `data.METHODS`."""
    grader: Path | None = None
    """For the methods reinforcement and distillation: a JSON file with the grader."""
    teacher: str | None = None
    """For the method distillation: the model to learn from."""
    patience: int | None = None
    """Looks at the held-out items in vain after which training stops."""
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    seed: int | None = None
    full: bool = False
    """Train all weights instead of an adapter."""
    adapter: str | None = None
    """What to train instead: lora, rslora, dora, ia3, bottleneck or prefix."""
    rank: int | None = None
    quantize: str | None = None
    """Round the frozen base: int8 or nf4."""
    hold_out: float | None = None
    """How much of the training file is kept aside for the proof when there is no validation file: a share
    below 1, or a number of examples."""
    proof_items: int | None = None
    """Most held-out items that both models are asked."""
    canaries: Path | None = None
    """Cases that must not break."""
    name: str | None = None
    """A label for people, kept in the job's metadata."""

    def request(
        self, *, model: str, training_file: str, validation_file: str | None, canaries: str | None = None
    ) -> JobRequest:
        """The wire's form of it; files by their ids.

        Raises:
            InvalidRequest: A value is outside its bounds.
        """
        hyperparameters = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        given = {name: value for name, value in hyperparameters.items() if value is not None}
        part = {"hyperparameters": given} | self._grader() | self._teacher()
        return _checked(
            {
                "model": model,
                "training_file": training_file,
                "validation_file": validation_file,
                "suffix": self.suffix,
                "seed": self.seed,
                "metadata": {"name": self.name} if self.name else None,
                "method": {"type": self.method, self.method: part},
                "tailor": self._ours() | ({"canaries": canaries} if canaries else {}) or None,
            }
        )

    def _teacher(self) -> dict[str, Any]:
        from tailor.errors import InvalidRequest

        if (self.teacher is None) == (self.method == "distillation"):
            raise InvalidRequest(
                "Distillation learns from a teacher, and no other method does.",
                param="--teacher",
                remedy="Give --method distillation and --teacher NAME together (docs/distillation.md).",
            )
        return {} if self.teacher is None else {"teacher": self.teacher}

    def _grader(self) -> dict[str, Any]:
        from tailor.cli.files import opened
        from tailor.errors import InvalidRequest

        if self.method != "distillation" and (self.grader is None) == (self.method == "reinforcement"):
            raise InvalidRequest(
                "A grader gives the reward of reinforcement, or rejects a teacher's answers.",
                param="--grader",
                remedy="Give --method reinforcement and --grader FILE together (docs/graders.md).",
            )
        if self.grader is None:
            return {}
        with opened(self.grader) as stream:
            try:
                return {"grader": json.load(stream)}
            except ValueError as error:
                raise InvalidRequest(f"{self.grader} is not JSON: {error}.", param="--grader") from error

    def _ours(self) -> dict[str, Any]:
        ours: dict[str, Any] = {"adapter": adapter} if (adapter := self._adapter()) else {}
        if self.quantize is not None:
            ours["quantization"] = self.quantize
        if self.hold_out is not None:
            ours["hold_out"] = self.hold_out if self.hold_out < 1 else int(self.hold_out)
        if self.patience is not None:
            ours["early_stopping"] = {"patience": self.patience}
        if self.proof_items is not None:
            ours["proof_items"] = self.proof_items
        return ours

    def _adapter(self) -> dict[str, Any]:
        from tailor.errors import InvalidRequest

        if self.full and self.adapter not in (None, "full"):
            raise InvalidRequest(
                f"--full trains all weights, --adapter {self.adapter} does not.",
                remedy="Give one of the two.",
            )
        kind = "full" if self.full else self.adapter
        if kind is None and self.rank is None:
            return {}
        adapter: dict[str, Any] = {"type": "lora" if kind in (None, "rslora") else kind}
        if kind == "rslora":
            adapter["rslora"] = True
        if self.rank is not None:
            adapter["rank"] = self.rank
        return adapter


def _checked(body: dict[str, Any]) -> JobRequest:
    from pydantic import ValidationError

    from tailor.errors import InvalidRequest
    from tailor.protocol import JobRequest

    try:
        return JobRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(
            f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}.",
            remedy="`tailor train --help` names the options.",
        ) from error
