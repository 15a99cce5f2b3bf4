"""What was measured is kept: a study that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tailor.advise.arms import Arm, ArmResult, Skipped
from tailor.data.examples import digest_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """A folder with one file for each finished arm of one study."""

    folder: Path
    """Of this study alone: its name holds the study's fingerprint."""

    def find(self, arm: Arm) -> ArmResult | Skipped | None:
        """What an arm came to; None where it is not finished, or what is kept cannot be read."""
        try:
            kept = json.loads(self._path(arm).read_text(encoding="utf-8"))
            if "reason" in kept:
                return Skipped(arm=arm, reason=kept["reason"])
            return ArmResult.from_dict(kept)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, outcome: ArmResult | Skipped) -> None:
        """Write it aside, then put it in its place at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(outcome.arm)
        kept = outcome.to_dict() if isinstance(outcome, ArmResult) else {"reason": outcome.reason}
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
        aside.replace(path)

    def _path(self, arm: Arm) -> Path:
        return self.folder / f"{digest_of([arm.name, arm.model])[:24]}.json"
