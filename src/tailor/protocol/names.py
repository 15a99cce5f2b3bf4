"""Names of tuned models: `ft:{base}:{organization}:{suffix}:{id}[:ckpt-step-{N}]` (contract section 2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tailor.protocol.ids import random_name

_NAME = re.compile(
    r"ft:(?P<base>[A-Za-z0-9][A-Za-z0-9._/-]{0,95}):(?P<organization>[A-Za-z0-9_-]{1,64})"
    r":(?P<suffix>[A-Za-z0-9_-]{0,64}):(?P<id>[A-Za-z0-9]{8})(:ckpt-step-(?P<step>[0-9]{1,9}))?"
)
SUFFIX_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
BASE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,95}$"
ALIAS_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionName:
    """A tuned model's name, in its parts."""

    base: str
    organization: str
    suffix: str
    """Empty when the job named none."""
    id: str
    step: int | None = None
    """The optimiser step of a checkpoint; None for the final model."""

    @classmethod
    def new(cls, *, base: str, organization: str, suffix: str | None, step: int | None = None) -> VersionName:
        """A fresh name with an id of its own."""
        return cls(base=base, organization=organization, suffix=suffix or "", id=random_name(8), step=step)

    @classmethod
    def parse(cls, text: str) -> VersionName | None:
        """The parts of `text`, or None when it is not a tuned model's name."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        step = found["step"]
        return cls(
            base=found["base"],
            organization=found["organization"],
            suffix=found["suffix"],
            id=found["id"],
            step=int(step) if step else None,
        )

    def __str__(self) -> str:
        name = f"ft:{self.base}:{self.organization}:{self.suffix}:{self.id}"
        return name if self.step is None else f"{name}:ckpt-step-{self.step}"
