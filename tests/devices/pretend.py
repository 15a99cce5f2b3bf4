# mypy: disable-error-code="assignment,override,no-untyped-call,misc"
"""A device that is none: its tensors say that they are elsewhere, compute on the processor, and do not mix.

Real numbers, and the rule of every card: an operation takes tensors of one device (but for single numbers
and indices from the processor). So whatever trains or serves here has no tensor in the wrong place. What only
a card has (its kernels, its compiler, memory that runs out) is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "pretend"
_ATEN = torch.ops.aten
_MOVES = {_ATEN._to_copy.default, _ATEN.copy_.default, _ATEN._foreach_copy_.default}
_WITH_INDICES = {_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default}


class WrongDevice(RuntimeError):
    """What a card would say."""


class Elsewhere(Tensor):
    """A tensor of the device; `held` is where its numbers are."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held!r})"

    @property
    def data(self) -> Elsewhere:
        return Elsewhere(self.held)

    @data.setter
    def data(self, other: Elsewhere) -> None:
        self.held = other.held

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


class _Pretending(TorchDispatchMode):
    """Sees what is made on the device out of nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def pretending() -> Iterator[torch.device]:
    """Within this, the device is there, on threads that begin here too."""
    made, run, inference = torch.tensor, Thread.run, torch.inference_mode

    def tensor(data: Any, *, device: Any = None, **more: Any) -> Tensor:
        """`torch.tensor` copies below where we can see it."""
        found: Tensor = made(data, device=None if _is_there(device) else device, **more)
        return found.to(device) if _is_there(device) else found

    def run_pretending(thread: Thread) -> None:
        with _Pretending():
            run(thread)

    torch.tensor, Thread.run = tensor, run_pretending
    torch.inference_mode = torch.no_grad  # tensors made of others cannot be so
    try:
        with _Pretending():
            yield torch.device(NAME, 0)
    finally:
        torch.tensor, Thread.run = made, run
        torch.inference_mode = inference


def register() -> None:
    """Make the device known to torch: once in a process, before anything was differentiated."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the processor what belongs to one device, and say where the result is."""
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    wanted = kwargs.get("device")
    is_there = any(isinstance(each, Elsewhere) for each in tensors) if wanted is None else _is_there(wanted)
    if func is _ATEN.copy_.default:
        is_there = isinstance(args[0], Elsewhere)
    _check(func, tensors)
    held_args, held_kwargs = tree_map(_held, (args, kwargs))
    if _is_there(wanted):
        held_kwargs["device"] = torch.device("cpu")
    result = func(*held_args, **held_kwargs)
    if not is_there or func is _ATEN._local_scalar_dense.default:
        return result
    # What is done in place comes back as the tensor it was done to.
    known = {id(each.held): each for each in tensors if isinstance(each, Elsewhere)}

    def outer(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        found = known.get(id(value))
        return Elsewhere(value) if found is None else found

    return tree_map(outer, result)


def _check(func: Any, tensors: list[Tensor]) -> None:
    if func in _MOVES or not any(isinstance(each, Elsewhere) for each in tensors):
        return
    strangers = [each for each in tensors if not isinstance(each, Elsewhere) and each.ndim]
    if func in _WITH_INDICES:
        strangers = [each for each in strangers if each.is_floating_point()]
    if strangers:
        raise WrongDevice(f"{func}: {[tuple(each.shape) for each in strangers]} on the processor")


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value
