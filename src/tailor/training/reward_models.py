"""Learning to judge: a model that gives a conversation one number, from pairs of better and worse answers.

The number is a linear function of the last token's hidden state; the loss of a pair is
-log sigmoid(reward of the preferred - reward of the rejected), after Bradley and Terry (Ouyang et al. 2022,
arXiv:2203.02155). With `center` its square mean is added, which keeps rewards around 0 (Eisenstein et al.
2023, arXiv:2312.09244).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid

from tailor.errors import InvalidRequest
from tailor.models import LoadedModel, load_version
from tailor.training.batches import TokenizedExample, microbatches_of, pack
from tailor.training.objective import Figures, Part
from tailor.training.output import hidden_of_ends, is_packed
from tailor.training.preferences import TokenizedPair

HEAD_NAME = "score.weight"
"""As transformers calls the head of a sequence classifier."""

HEAD_FILE = "reward_head.safetensors"
"""Beside the adapter or the model that it belongs to."""


def new_head(loaded: LoadedModel, parent: Path | None) -> Tensor:
    """`[1, hidden]` float32: the head of the version to go on from, else zeros, so that all begin alike."""
    if parent is not None and is_reward_model(parent):
        return torch.nn.Parameter(_read_head(parent).to(loaded.model.device))
    width = loaded.model.get_input_embeddings().embedding_dim
    return torch.nn.Parameter(torch.zeros(1, width, device=loaded.model.device))


def is_reward_model(directory: Path) -> bool:
    """Whether a version's directory holds a model that judges."""
    return (directory / HEAD_FILE).is_file()


def save_head(directory: Path, head: Tensor) -> None:
    """Write the head into a version's directory."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    save_file({HEAD_NAME: head.detach().cpu().contiguous()}, directory / HEAD_FILE, metadata={"format": "pt"})


def _read_head(directory: Path) -> Tensor:
    from safetensors.torch import load_file

    head: Tensor = load_file(directory / HEAD_FILE)[HEAD_NAME].float()
    return head


class RewardObjective:
    """The loss of pairs under a head that is learned with the rest."""

    def __init__(self, head: Tensor, *, center: float) -> None:
        self._head, self._center = head, center

    def prepare(
        self,
        loaded: LoadedModel,
        items: Sequence[TokenizedPair],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """Nothing is needed."""

    def part(self, loaded: LoadedModel, pairs: Sequence[TokenizedPair]) -> Part:
        """Summed loss of some pairs; gradients flow if autograd is on. Each pair is one right or wrong."""
        rewards_P2 = _rewards(loaded, self._head, [each for pair in pairs for each in pair.sequences])
        better_P, worse_P = rewards_P2.view(-1, 2).unbind(1)
        losses_P = -logsigmoid(better_P - worse_P)
        if self._center:
            losses_P = losses_P + self._center * (better_P + worse_P).square()
        total, margins_P = losses_P.sum(), (better_P - worse_P).detach()
        num_right = int((margins_P > 0).sum())
        return Part(
            total=total,
            figures=Figures(
                loss_sum=float(total.detach()),
                num_right=num_right,
                num_targets=len(pairs),
                more={"reward_accuracy": float(num_right), "reward_margin": float(margins_P.sum())},
            ),
        )


class RewardModel:
    """A trained version at work: conversations in, rewards out."""

    def __init__(self, loaded: LoadedModel, head: Tensor, *, context_length: int) -> None:
        self.loaded, self._head, self._context_length = loaded, head, context_length

    @classmethod
    def open(cls, version: Path, base: Path, *, dtype: str, context_length: int | None = None) -> RewardModel:
        """Load a version's directory, on its base if it is an adapter.

        Raises:
            InvalidRequest: it is no reward model.
        """
        if not is_reward_model(version):
            raise InvalidRequest(
                "This version writes answers; it cannot judge any.", code="not_a_reward_model"
            )
        loaded = load_version(version, base, dtype=dtype)
        head = _read_head(version).to(loaded.model.device)
        return cls(loaded, head, context_length=context_length or loaded.context_length)

    def rewards(
        self,
        conversations: Sequence[Sequence[int]],
        *,
        max_tokens: int = 4096,
        tick: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """Of each conversation, as token ids that end with the answer; what they begin with is shared.

        Raises:
            InvalidRequest: one is longer than the context.
        """
        for ids in conversations:
            if len(ids) > self._context_length:
                raise InvalidRequest(
                    f"The conversation has {len(ids)} tokens; this model reads {self._context_length}.",
                    param="messages",
                    code="context_length_exceeded",
                    remedy="Shorten it.",
                )
        sequences = [_sequence(ids) for ids in conversations]
        found: list[float] = []
        with torch.inference_mode():
            for group in microbatches_of(sequences, max_tokens, share=is_packed(self.loaded)):
                tick()
                found += _rewards(self.loaded, self._head, group).tolist()
        return found


def _rewards(loaded: LoadedModel, head: Tensor, sequences: Sequence[TokenizedExample]) -> Tensor:
    """`[sequence]` float32."""
    batch = pack(sequences, share=is_packed(loaded))
    return linear(hidden_of_ends(loaded, batch).float(), head)[:, 0]


def _sequence(ids: Sequence[int]) -> TokenizedExample:
    weights = torch.ones(len(ids))
    weights[0] = 0.0
    return TokenizedExample(line=0, fingerprint="", ids=torch.tensor(ids), weights=weights)
