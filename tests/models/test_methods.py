from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import (
    ATTENTION_NAME,
    METHODS,
    Lora,
    PackedLayout,
    adapter_method,
    adapter_parameters,
    attach,
    kind_of,
    load_adapter,
    load_base,
    load_version,
    merge_version,
    merged,
    read_adapter,
    save_adapter,
)
from tests.models.methods import TINY_METHODS, shaken
from tests.models.tiny import tiny_directory

FAMILIES = ("llama", "qwen3", "gemma2")
IN_PEFT = ("lora", "rslora", "dora", "ia3", "prefix")
LENGTHS = (17, 5, 11)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        family: tiny_directory(folder / family, family, initializer_range=0.05)
        for family in (*FAMILIES, "qwen2")
    }


def trained(base: Path, name: str, directory: Path) -> Path:
    """A saved adapter that does something."""
    loaded = load_base(base)
    attach(loaded, TINY_METHODS[name])
    save_adapter(directory, shaken(adapter_parameters(loaded.model)), TINY_METHODS[name])
    return directory


def logits(loaded: Any, ids: torch.Tensor) -> torch.Tensor:
    """Packed."""
    layout = PackedLayout([len(ids)])
    model = loaded.model
    if model.config._attn_implementation != ATTENTION_NAME:
        return model(input_ids=ids[None], use_cache=False).logits[0]  # type: ignore[no-any-return]
    return model(  # type: ignore[no-any-return]
        input_ids=ids[None], position_ids=layout.positions[None], layout=layout, use_cache=False
    ).logits[0]


IDS = torch.arange(3, 30)


@pytest.mark.parametrize("name", sorted(set(TINY_METHODS) - {"prefix"}))
def test_a_fresh_adapter_changes_nothing(bases: dict[str, Path], name: str) -> None:
    loaded = load_base(bases["qwen2"])
    before = logits(loaded, IDS)
    attach(loaded, TINY_METHODS[name])
    torch.testing.assert_close(logits(loaded, IDS), before, rtol=1e-5, atol=1e-6)
    assert adapter_parameters(loaded.model)


def test_a_fresh_prefix_is_what_the_base_makes_of_tokens(bases: dict[str, Path]) -> None:
    loaded = load_base(bases["llama"])
    ids = torch.randint(512, (1, 5), generator=torch.Generator().manual_seed(3))[0]
    wanted = logits(loaded, torch.cat([ids, IDS]))[5:]
    attach(loaded, TINY_METHODS["prefix"], seed=3)
    torch.testing.assert_close(logits(loaded, IDS), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "qwen2"])
@pytest.mark.parametrize("name", IN_PEFT)
def test_outputs_and_gradients_are_those_of_peft(
    bases: dict[str, Path], tmp_path: Path, name: str, family: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    directory = trained(bases[family], name, tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(bases[family], attn_implementation="eager")
    # PEFT will not train a prefix that was loaded; its weights take part all the same.
    theirs = PeftModel.from_pretrained(plain, directory, is_trainable=name != "prefix").eval()
    for path, parameter in theirs.named_parameters():
        if "prompt_encoder" in path:
            parameter.requires_grad_(True)
    ours = load_base(bases[family])
    load_adapter(ours, directory)

    wanted, found = theirs(input_ids=IDS[None]).logits[0], logits(ours, IDS)

    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 1, wanted.numel()).view_as(wanted)
    own = adapter_parameters(ours.model)
    gradients = dict(zip(own, torch.autograd.grad((found * weights).sum(), list(own.values())), strict=True))
    (wanted * weights).sum().backward()
    compared = 0
    for theirs_name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            name_here = theirs_name.removeprefix("base_model.model.").replace(".default", "")
            if "magnitude" in name_here:
                name_here = name_here.removesuffix(".weight")
            if "prompt_encoder" in name_here:
                name_here = "prefix.prompt_embeddings"
            scale = float(parameter.grad.abs().max())
            torch.testing.assert_close(gradients[name_here], parameter.grad, rtol=1e-5, atol=1e-5 * scale)
            compared += 1
    assert compared == len(gradients)


@pytest.mark.parametrize("name", IN_PEFT)
def test_we_read_what_peft_saved(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    lora = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
    task = {"task_type": "CAUSAL_LM"}
    config = {
        "lora": lambda: LoraConfig(**lora, **task),
        "rslora": lambda: LoraConfig(**lora, **task, use_rslora=True),
        "dora": lambda: LoraConfig(**lora, **task, use_dora=True),
        "ia3": lambda: IA3Config(init_ia3_weights=False, **task),
        "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=5, **task),
    }[name]()
    plain = AutoModelForCausalLM.from_pretrained(bases["llama"], attn_implementation="eager")
    theirs = get_peft_model(plain, config).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = theirs(input_ids=IDS[None]).logits[0]
        assert not torch.allclose(logits(load_base(bases["llama"]), IDS), wanted, atol=1e-3)
        found = logits(load_version(tmp_path, bases["llama"]), IDS)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TINY_METHODS)
def test_files_say_what_was_trained(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    directory = trained(bases["llama"], name, tmp_path)
    saved, method = read_adapter(directory), adapter_method(directory)
    assert type(method) is type(TINY_METHODS[name])
    assert METHODS[kind_of(method)] is type(method)
    loaded = load_base(bases["llama"])
    load_adapter(loaded, directory)
    found = adapter_parameters(loaded.model)
    assert found.keys() == saved.weights.keys()
    assert all(torch.equal(found[key], saved.weights[key]) for key in found)


@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "ia3"])
@pytest.mark.parametrize(
    ("family", "quantization"),
    [*((family, None) for family in (*FAMILIES, "qwen2")), ("qwen2", "int8"), ("qwen2", "nf4")],
)
def test_merging_changes_nothing_and_can_be_undone_to_the_bit(
    bases: dict[str, Path], tmp_path: Path, name: str, family: str, quantization: Any
) -> None:
    directory = trained(bases[family], name, tmp_path)
    loaded = load_base(bases[family], quantization=quantization)
    load_adapter(loaded, directory)
    with torch.no_grad():
        wanted = torch.log_softmax(logits(loaded, IDS), -1)
        with merged(loaded.model):
            assert all(
                type(m).__module__.startswith(("torch", "transformers")) for m in loaded.model.modules()
            )
            found = torch.log_softmax(logits(loaded, IDS), -1)
        again = torch.log_softmax(logits(loaded, IDS), -1)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(again, wanted)


@pytest.mark.parametrize("name", ["bottleneck", "prefix"])
def test_what_plain_layers_cannot_hold_is_not_merged(
    bases: dict[str, Path], tmp_path: Path, name: str
) -> None:
    loaded = load_version(trained(bases["llama"], name, tmp_path), bases["llama"])
    before = logits(loaded, IDS)
    with pytest.raises(InvalidRequest, match="cannot be merged"), merged(loaded.model):
        pass
    assert torch.equal(logits(loaded, IDS), before)


@pytest.mark.parametrize("name", TINY_METHODS)
def test_weights_for_another_base_are_refused(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    directory = trained(bases["llama"], name, tmp_path / "adapter")
    wider = tiny_directory(tmp_path / "wider", "llama", hidden_size=48, intermediate_size=64, head_dim=8)
    with pytest.raises(InvalidRequest, match="This adapter is refused"):
        load_version(directory, wider)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ia3", {"modules_to_save": ["lm_head"]}),
        ("ia3", {"feedforward_modules": ".*mlp.*"}),
        ("prefix", {"prefix_projection": True}),
        ("prefix", {"num_virtual_tokens": 0}),
        ("prefix", {"num_virtual_tokens": "5"}),
        ("bottleneck", {"bottleneck_size": 10**6}),
        ("dora", {"use_dora": False}),
        ("rslora", {"use_dora": True}),
        ("lora", {"peft_type": "LOHA"}),
        ("lora", {"peft_type": None}),
    ],
)
def test_configs_that_mean_something_else_are_refused(
    bases: dict[str, Path], tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    directory = trained(bases["llama"], name, tmp_path)
    file = directory / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InvalidRequest):
        load_version(directory, bases["llama"])


def test_rslora_divides_by_the_root_of_the_rank() -> None:
    assert Lora(rank=16, alpha=8.0, rslora=True).scaling == Lora(rank=16, alpha=32.0).scaling == 2.0


@pytest.mark.parametrize("name", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_version_becomes_a_complete_model(tmp_path: Path, name: str, dtype: str) -> None:
    from transformers import AutoModelForCausalLM

    base = tiny_directory(tmp_path / "base", initializer_range=0.05)
    if dtype == "bfloat16":
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        model.save_pretrained(base)
    version = trained(base, name, tmp_path / "version")
    difference = merge_version(version, base, tmp_path / "merged")
    assert difference < (1e-5 if dtype == "float32" else 0.05)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        found, wanted = theirs(IDS[None]).logits[0], logits(load_version(version, base), IDS)
    tolerance = 1e-5 if dtype == "float32" else 0.05
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    with pytest.raises(InvalidRequest, match="is not empty"):
        merge_version(version, base, tmp_path / "merged")
    with pytest.raises(InvalidRequest, match="complete model already"):
        merge_version(tmp_path / "merged", base, tmp_path / "again")


def test_nothing_is_left_of_a_merge_that_cannot_be(bases: dict[str, Path], tmp_path: Path) -> None:
    version = trained(bases["llama"], "prefix", tmp_path / "version")
    with pytest.raises(InvalidRequest, match="cannot be merged"):
        merge_version(version, bases["llama"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
