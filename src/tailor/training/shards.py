"""A step's gradient from its shards: each computed by itself, summed in a tree that their number fixes.

The sum does not depend on who computed a shard or when, so one thread, several threads or several
processes give the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tailor.training.objective import Figures

Gradients = list[Tensor]
Shard = TypeVar("Shard")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """Gradient and figures of one shard."""

    gradients: Gradients
    """In the order of the learner's parameters."""

    figures: Figures


def shard_results(
    compute: Callable[[int, Shard], ShardResult], shards: Sequence[Shard], *, num_workers: int
) -> Iterator[ShardResult]:
    """`compute(index, shard)` of each shard, in their order.

    With several workers, each computes a shard of its own on one processor core: narrow models gain far
    more by that than by spreading every small product over the cores. At most one result more than there
    are workers is held at a time.
    """
    if num_workers == 1:
        yield from (compute(index, shard) for index, shard in enumerate(shards))
        return
    num_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: deque[Future[ShardResult]] = deque()
            for index, shard in enumerate(shards):
                waiting.append(pool.submit(compute, index, shard))
                if len(waiting) > num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(num_threads)


def tree_sum(parts: Iterable[Gradients]) -> Gradients:
    """Sum as a binary counter does: memory grows with the logarithm of the parts."""
    sums: list[tuple[int, Gradients]] = []
    for part in parts:
        level, total = 0, part
        while sums and sums[-1][0] == level:
            total = added(sums.pop()[1], total)
            level += 1
        sums.append((level, total))
    while len(sums) > 1:
        (_, right), (level, left) = sums.pop(), sums.pop()
        sums.append((level, added(left, right)))
    return sums[0][1]


def added(total: Gradients, more: Gradients) -> Gradients:
    """Add in place and return; an empty `total` takes over `more`."""
    if not total:
        return more
    torch._foreach_add_(total, more)
    return total
