"""Reward versions at work, for the server and for jobs whose grader is one: conversations in, numbers out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailor.errors import InvalidRequest
from tailor.store import Store, Version

if TYPE_CHECKING:
    from tailor.training import RewardModel

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a reward model makes of a conversation."""

    reward: float
    num_tokens: int
    """That were read."""

    @property
    def text(self) -> str:
        """The reward as the model's answer; six digits hide what depends on who else was judged."""
        return f"{self.reward:.6g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Which weights judge."""

    digest: str
    """Of the version."""
    base: Path
    """Directory of its base."""
    dtype: str

    @classmethod
    def of(cls, store: Store, version: Version) -> Judge:
        """The weights of a version."""
        return cls(
            digest=version.digest,
            base=Path(store.bases.get(version.base).directory),
            dtype=str(version.recipe.get("dtype", "float32")),
        )


def is_judge(version: Version) -> bool:
    """Whether a version is a reward model."""
    return bool(version.recipe.get("method") == "reward_model")


class RewardModels:
    """Loads reward models when they are first asked, and keeps the last one. For any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._loaded: tuple[Judge, RewardModel] | None = None

    def judge(
        self, judge: Judge, conversations: Sequence[Messages], *, tick: Callable[[], None] = lambda: None
    ) -> list[Judged]:
        """The reward of each conversation, which ends with the answer to be judged.

        Raises:
            InvalidRequest: one does not end with an answer, or is longer than the model's context.
        """
        for messages in conversations:
            if messages[-1]["role"] != "assistant":
                raise InvalidRequest(
                    "A reward model judges answers, and the last message is none.",
                    param="messages",
                    code="nothing_to_judge",
                    remedy='End with the answer: {"role": "assistant", "content": "..."}.',
                )
        with self._lock:
            model = self._model(judge)
            template = model.loaded.template
            ids = [template.render([dict(message) for message in each]).ids for each in conversations]
            rewards = model.rewards(ids, tick=tick)
        return [
            Judged(reward=reward, num_tokens=len(each)) for reward, each in zip(rewards, ids, strict=True)
        ]

    def _model(self, judge: Judge) -> RewardModel:
        from tailor.training import RewardModel

        if self._loaded is None or self._loaded[0] != judge:
            self._loaded = None
            directory = self._store.weights.verify(judge.digest)
            self._loaded = (judge, RewardModel.open(directory, judge.base, dtype=judge.dtype))
        return self._loaded[1]
