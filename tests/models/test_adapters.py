from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tailor.errors import InvalidRequest
from tailor.models import (
    Lora,
    adapter_parameters,
    attach,
    linear_layers,
    load_base,
    load_version,
    read_adapter,
    save_adapter,
)
from tests.models.tiny import tiny_directory

SHAPE = Lora(rank=3, alpha=6.0)
IDS = torch.arange(3, 20)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved adapter with random weights."""
    directory = tmp_path_factory.mktemp("adapters") / "adapter"
    loaded = load_base(base)
    attach(loaded, SHAPE)
    torch.manual_seed(1)
    weights = {name: torch.randn_like(t) * 0.2 for name, t in adapter_parameters(loaded.model).items()}
    save_adapter(directory, weights, SHAPE)
    return directory


def _logits(loaded: Any) -> torch.Tensor:
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        return loaded.model(IDS).logits  # type: ignore[no-any-return]


def test_a_fresh_adapter_changes_nothing_and_covers_all_layers_but_the_head(base: Path) -> None:
    loaded = load_base(base)
    before, layers = _logits(loaded), linear_layers(loaded.model)
    attach(loaded, SHAPE)
    assert torch.equal(_logits(loaded), before)
    assert len(adapter_parameters(loaded.model)) == 2 * len(layers) == 2 * 7 * 3
    assert not any("lm_head" in name for name in layers)


def test_equal_seeds_give_equal_adapters_and_leave_the_global_generator_alone(base: Path) -> None:
    drawn = []
    for seed in (1, 1, 2):
        loaded = load_base(base)
        torch.manual_seed(9)
        attach(loaded, SHAPE, seed=seed)
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(9)))
        drawn.append(torch.cat([t.flatten() for t in adapter_parameters(loaded.model).values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_peft_reads_our_files_and_gets_our_outputs(base: Path, adapter: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    with torch.no_grad():
        wanted = theirs(IDS).logits
    torch.testing.assert_close(_logits(load_version(adapter, base)), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(_logits(load_base(base)), wanted, atol=1e-2)


def test_we_read_what_peft_saved(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = theirs(IDS).logits
    saved = read_adapter(tmp_path)
    assert len(saved.weights) == 2 * 6
    assert isinstance(saved.method, Lora)
    assert saved.method.scaling == 4.0
    torch.testing.assert_close(_logits(load_version(tmp_path, base)), wanted, rtol=1e-4, atol=1e-4)


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def _wrong_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[next(iter(tensors))] = torch.zeros(128, 4)


def _missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(iter(tensors))]


def _foreign(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"] = torch.zeros(3, 32)
    tensors["base_model.model.model.layers.9.self_attn.q_proj.lora_B.weight"] = torch.zeros(64, 3)


@pytest.mark.parametrize("damage", [_nan, _wrong_shape, _missing, _foreign])
def test_damaged_adapter_weights_are_refused(
    base: Path, adapter: Path, tmp_path: Path, damage: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    with pytest.raises(InvalidRequest):
        load_version(tmp_path, base)


@pytest.mark.parametrize(
    "changes",
    [
        {"r": 0},
        {"r": 129},
        {"r": 4},
        {"r": True},
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"use_rslora": True, "rank_pattern": {"q_proj": 64}},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 64}},
        {"lora_alpha": "16"},
        {"target_modules": ".*"},
        {"target_modules": ["q_proj"]},
        {"bias": "all"},
    ],
)
def test_unusual_adapter_configs_are_refused(
    base: Path, adapter: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text()) | changes
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(InvalidRequest):
        load_version(tmp_path, base)


def test_a_target_that_does_not_exist_is_named(base: Path) -> None:
    with pytest.raises(InvalidRequest, match="'c_attn'") as caught:
        attach(load_base(base), Lora(targets=("c_attn",)))
    assert "q_proj" in str(caught.value.remedy)
