"""A trained version as a complete model of its own, checked before it is handed out."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.models.adapters import is_adapter, merged
from tailor.models.attention import PackedLayout
from tailor.models.loading import LoadedModel, load_base, load_version, save_full
from tailor.models.tensors import read_header

_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05}
"""Largest mean difference of token log-probabilities, in nats, that storing in a type explains."""

_PROBES = 4
_PROBE_TOKENS = 64


def merge_version(version: Path, base: Path, target: Path) -> float:
    """Write `version`, an adapter on `base`, as a complete model to `target`, in the base's own type.

    The mean difference of log-probabilities between the two, over all tokens of random texts.

    Raises:
        InvalidRequest: there is nothing to merge, the method cannot be merged, `target` holds something
            already, or the written model computes something else.
    """
    if not is_adapter(version):
        raise InvalidRequest(
            "This version is a complete model already: all its weights were trained.",
            code="not_mergeable",
            remedy=f"Copy its files from {version}.",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidRequest(f"{target} is not empty.", param="directory", remedy="Name a new directory.")
    dtype = _stored_type(base)
    # On the processor: two models in float32 are more than many cards hold.
    loaded = load_version(version, base, device="cpu")
    wanted = _log_probabilities(loaded)
    try:
        with merged(loaded.model):
            save_full(target, loaded, {}, base=base, dtype=dtype)
        del loaded
        found = _log_probabilities(load_base(target, device="cpu"))
        difference = float((found - wanted).abs().mean())
        if not difference <= _TOLERANCES[dtype]:
            raise InvalidRequest(
                f"The merged model differs from the version by {difference:.3g} nats a token, more than "
                f"rounding to {dtype} explains.",
                code="merge_failed",
                remedy="Serve the version with its base, and report this.",
            )
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return difference


def _stored_type(base: Path) -> str:
    kinds = {entry.dtype for path in base.glob("*.safetensors") for entry in read_header(path).values()}
    return "float32" if kinds & {"F32", "F64"} else "bfloat16"


def _log_probabilities(loaded: LoadedModel) -> Tensor:
    vocabulary: int = loaded.model.config.vocab_size
    ids = torch.randint(vocabulary, (_PROBES * _PROBE_TOKENS,), generator=torch.Generator().manual_seed(0))
    layout = PackedLayout([_PROBE_TOKENS] * _PROBES)
    with torch.inference_mode():
        logits: Tensor = loaded.model(
            input_ids=ids[None].to(loaded.model.device),
            position_ids=layout.positions[None].to(loaded.model.device),
            layout=layout,
            use_cache=False,
        ).logits
    return torch.log_softmax(logits.float(), -1)
