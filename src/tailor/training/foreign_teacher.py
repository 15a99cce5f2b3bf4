"""Distillation from a teacher with other tokens: what a step minimises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tailor.models import LoadedModel
from tailor.training.alignment import Counterpart
from tailor.training.batches import Batch, TokenizedExample, pack
from tailor.training.distillation import TokenizedLesson
from tailor.training.divergence import Comparison, Divergences, compared
from tailor.training.imitation import Imitation
from tailor.training.lexicon import Lexicon, Vocabulary, common_vocabulary
from tailor.training.objective import Figures, Part
from tailor.training.output import hidden_of_targets, is_packed, token_losses, weighted_losses
from tailor.training.selfcheck import packing_is_exact, switch_to_plain
from tailor.training.span_divergence import NUM_COPIES, Side, divergence_with_slopes

_CHECK_SIZE = 2


class ForeignTeacherObjective:
    """Divergence from a teacher with another tokenizer, summed over stretches that both read alike."""

    def __init__(self, imitation: Imitation, student: LoadedModel, teacher: LoadedModel) -> None:
        self._asked, self._teacher = imitation, teacher
        self._ours, self._theirs = common_vocabulary(
            Lexicon(student.template),
            Lexicon(teacher.template),
            num_student=len(student.head.weight),
            num_teacher=len(teacher.head.weight),
        )

    def prepare(
        self,
        loaded: LoadedModel,
        items: Sequence[TokenizedLesson],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """See whether the teacher, too, computes packed what it computes plain."""
        read = [item.counterpart.example for item in items[:_CHECK_SIZE] if item.counterpart]
        if read and not packing_is_exact(self._teacher, read):
            switch_to_plain(self._teacher)

    def part(self, loaded: LoadedModel, items: Sequence[TokenizedLesson]) -> Part:
        """Summed divergence of some answers, in nats; gradients flow if autograd is on."""
        read = [_read(item) for item in items]
        wholes = [each.spans for each in read]
        with torch.no_grad():
            theirs = _Rows(
                self._teacher, [each.example for each in read], [each.spans.teacher_M for each in read]
            )
            teacher = theirs.side(self._theirs, [each.teacher_whole_K for each in wholes], self._temperature)
        ours = _Rows(loaded, [item.example for item in items], [each.spans.student_N for each in read])
        student = ours.side(self._ours, [each.student_whole_K for each in wholes], self._temperature)
        found, slopes_K = self._divergence(ours, theirs, student, teacher)
        total = found.total
        if torch.is_grad_enabled():
            total = total + ours.through_further_tokens(slopes_K, self._temperature)
        return Part(
            total=total,
            figures=Figures(
                loss_sum=float(found.total.detach()),
                num_right=int(found.agree_N.sum()),
                num_targets=len(found.agree_N),
                more={"tokens_per_stretch": float(len(ours.batch.targets_N))},
            ),
        )

    @property
    def _temperature(self) -> float:
        return self._asked.temperature

    def _divergence(
        self, ours: _Rows, theirs: _Rows, student: Side, teacher: Side
    ) -> tuple[Divergences, Tensor]:
        """Of all stretches, and the slopes at the log-probabilities of their further tokens."""
        slopes_K = torch.zeros_like(student.rest_K)

        def compare(
            logits: Tensor, wanted: Tensor, rows: slice, with_slopes: bool
        ) -> tuple[Tensor, Tensor | None, Tensor]:
            found, agree, slopes, rest_slopes = divergence_with_slopes(
                student.part(rows),
                teacher.part(rows),
                logits / self._temperature,
                wanted / self._temperature,
                beta=self._asked.beta,
                with_slopes=with_slopes,
            )
            if rest_slopes is not None:
                slopes_K[rows] = rest_slopes
            return found, slopes, agree

        how = Comparison(
            compare=compare,
            num_student=len(self._ours.columns_V),
            num_teacher=len(self._theirs.columns_V),
            temperature=self._temperature,
            num_copies=NUM_COPIES,
        )
        found = compared(
            ours.loaded, theirs.loaded, ours.first_hidden, theirs.first_hidden, ours.weights_K, how
        )
        return found, slopes_K


class _Rows:
    """One model over the targets of some answers, in K stretches."""

    def __init__(
        self, loaded: LoadedModel, examples: Sequence[TokenizedExample], spans: Sequence[Tensor]
    ) -> None:
        self.loaded = loaded
        self.batch: Batch = pack(examples, share=is_packed(loaded))
        self._hidden_NE = hidden_of_targets(loaded, self.batch)
        self._spans_N = _numbered_on(spans)
        self._is_first_N = torch.ones(len(self._spans_N), dtype=torch.bool)
        self._is_first_N[1:] = self._spans_N[1:] != self._spans_N[:-1]
        num_spans = int(self._is_first_N.sum())
        self.weights_K = torch.zeros(num_spans).index_add_(0, self._spans_N, self.batch.weights_N)

    @property
    def first_hidden(self) -> Tensor:
        """What the first token of each stretch is predicted from."""
        return self._hidden_NE[self._is_first_N.to(self._hidden_NE.device)]

    def side(self, vocabulary: Vocabulary, wholes: Sequence[Tensor], temperature: float) -> Side:
        """What the comparison must know beside the logits."""
        rest_K = torch.zeros(len(self.weights_K), device=self._hidden_NE.device)
        further, hidden_NE = self._further()
        if len(further.targets_N):
            losses_N, _ = token_losses(self.loaded, hidden_NE.detach(), further, temperature=temperature)
            rest_K.index_add_(0, self._spans_N[~self._is_first_N].to(rest_K.device), -losses_N)
        device = rest_K.device
        return Side(
            vocabulary=vocabulary.to(device),
            first_K=self.batch.targets_N[self._is_first_N].to(device),
            rest_K=rest_K,
            whole_K=torch.cat(list(wholes)).to(device),
        )

    def through_further_tokens(self, slopes_K: Tensor, temperature: float) -> Tensor:
        """A sum whose gradient is that of the slopes at the log-probabilities of further tokens."""
        further, hidden_NE = self._further()
        if not len(further.targets_N):
            return torch.zeros((), device=slopes_K.device)
        spans = self._spans_N[~self._is_first_N]
        weights_N = -(slopes_K.cpu() * self.weights_K)[spans]
        return weighted_losses(self.loaded, hidden_NE, further, weights_N, temperature=temperature)

    def _further(self) -> tuple[Batch, Tensor]:
        """The targets that do not begin a stretch, and what they are predicted from."""
        chosen = ~self._is_first_N
        batch = replace(
            self.batch,
            sources_N=self.batch.sources_N[chosen],
            targets_N=self.batch.targets_N[chosen],
            weights_N=self.batch.weights_N[chosen],
            examples_N=self.batch.examples_N[chosen],
        )
        return batch, self._hidden_NE[chosen.to(self._hidden_NE.device)]


def _read(item: TokenizedLesson) -> Counterpart:
    if item.counterpart is None:
        raise TypeError("a teacher with other tokens must read the answer first")
    return item.counterpart


def _numbered_on(spans: Sequence[Tensor]) -> Tensor:
    """The stretches of several answers, numbered from the first to the last."""
    found, count = [], 0
    for each in spans:
        found.append(each + count)
        count += int(each[-1]) + 1
    return torch.cat(found)
