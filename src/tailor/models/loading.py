"""Models in memory: a base from its directory, or a trained version on top of it."""

from __future__ import annotations

import copy
import itertools
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tailor.models import adapters, catalogue
from tailor.models.attention import ATTENTION_NAME
from tailor.models.catalogue import BaseFacts
from tailor.models.devices import choose_device
from tailor.models.norms import lean_norms
from tailor.models.quantized import Quantization, load_quantized
from tailor.models.template import Template

_ONE_AT_A_TIME = threading.Lock()
"""transformers changes settings of the whole process while it loads: of two loads at once, one comes out
with weights that were never read."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(kw_only=True, slots=True)
class LoadedModel:
    """A causal language model with everything needed to feed it."""

    model: Any
    """The transformers `...ForCausalLM`; adapters are attached inside it."""

    tokenizer: Any
    """Its fast tokenizer."""

    template: Template
    """Its chat template."""

    facts: BaseFacts
    """What the catalogue knows of its directory."""

    stop_ids: frozenset[int]
    """Tokens that end an answer."""

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.facts.context_length

    @property
    def digest(self) -> str:
        """Digest of the model directory."""
        return self.facts.digest

    @property
    def dtype(self) -> torch.dtype:
        """Type of the base weights."""
        return next(iter(self.model.parameters())).dtype  # type: ignore[no-any-return]

    @property
    def body(self) -> nn.Module:
        """The transformer without its output layer."""
        return self.model.model  # type: ignore[no-any-return]

    @property
    def head(self) -> nn.Linear:
        """The output layer."""
        return self.model.get_output_embeddings()  # type: ignore[no-any-return]


def twin_of(loaded: LoadedModel) -> LoadedModel:
    """The same weights, whatever becomes of them, under modules of their own.

    An engine changes the modules of a model; a model in training keeps its own.
    """
    weights = itertools.chain(loaded.model.parameters(), loaded.model.buffers())
    model = copy.deepcopy(loaded.model, {id(weight): weight for weight in weights})
    return replace(loaded, model=model)


def load_base(
    directory: Path,
    *,
    dtype: str = "float32",
    quantization: Quantization | None = None,
    device: torch.device | str | None = None,
) -> LoadedModel:
    """A base model, ready for packed tokens, in evaluation mode, on the device of `choose_device`.

    With `quantization` its linear layers are rounded while they are read; `dtype` is that of the arithmetic.
    All that is made for the model later (adapters, batches, caches) goes where it is.

    Raises:
        InvalidRequest: the directory is refused by `catalogue.inspect`, or there is no such device.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    directory, place = Path(directory), choose_device(device)
    facts = catalogue.inspect(directory)
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(directory, **safe)
    with _ONE_AT_A_TIME:
        if quantization is None:
            model = AutoModelForCausalLM.from_pretrained(
                directory,
                config=config,
                dtype=DTYPES[dtype],
                attn_implementation=ATTENTION_NAME,
                use_safetensors=True,
                **safe,
            )
            if place.type != "cpu":
                model.to(place).tie_weights()  # some devices want new parameters, each layer its own
        else:
            model = load_quantized(
                directory, config, quantization, dtype=DTYPES[dtype], attention=ATTENTION_NAME, device=place
            )
            if (directory / "generation_config.json").is_file():
                model.generation_config = GenerationConfig.from_pretrained(directory, **safe)
    template = load_template(directory)
    lean_norms(model)
    return LoadedModel(
        model=model.eval(),
        tokenizer=template.tokenizer,
        template=template,
        facts=facts,
        stop_ids=_stop_ids(model, template),
    )


def load_template(directory: Path) -> Template:
    """The tokenizer and chat template of a model directory, without its weights."""
    from transformers import AutoTokenizer
    from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    tokenizer.model_max_length = VERY_LARGE_INTEGER  # who reads too much is told by us, with what to do
    return Template(tokenizer, catalogue.read_template(directory))


def load_version(
    directory: Path, base: Path, *, dtype: str = "float32", device: torch.device | str | None = None
) -> LoadedModel:
    """A trained version: a complete model, or the `base`, rounded as in training, with the adapter on it."""
    if not adapters.is_adapter(directory):
        return load_base(directory, dtype=dtype, device=device)
    quantization = adapters.base_quantization(directory)
    loaded = load_base(base, dtype=dtype, quantization=quantization, device=device)
    adapters.load_adapter(loaded, directory)
    loaded.model.requires_grad_(False)
    return loaded


def save_full(
    directory: Path,
    loaded: LoadedModel,
    weights: dict[str, Tensor],
    *,
    base: Path,
    dtype: str | None = None,
) -> None:
    """A complete model directory: new weights, everything else copied from the base's directory.

    `weights` replace the model's parameters by name; all are stored in `dtype`, or in the loaded model's.
    """
    import shutil

    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    for path in catalogue.used_files(base):
        if path.suffix != ".safetensors" and path.name != "model.safetensors.index.json":
            shutil.copyfile(path, directory / path.name)
    tied = set(loaded.model.all_tied_weights_keys)
    tensors = {
        name: weights.get(name, tensor)
        .detach()
        .to(DTYPES[dtype] if dtype else tensor.dtype)
        .cpu()
        .contiguous()
        for name, tensor in loaded.model.state_dict().items()
        if name not in tied
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _stop_ids(model: Any, template: Template) -> frozenset[int]:
    """End tokens by generation config and tokenizer, and what the template itself ends answers with."""
    declared = model.generation_config.eos_token_id
    ids = set(declared if isinstance(declared, list) else [declared])
    ids.add(template.tokenizer.eos_token_id)
    probe = template.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    last = probe.ids[probe.answers[0].end - 1]
    if last in template.tokenizer.all_special_ids:
        ids.add(last)
    return frozenset(int(id) for id in ids if id is not None)
