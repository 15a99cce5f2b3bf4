"""The engine writes what transformers and PEFT write, whatever else is in the batch."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from tailor.errors import InvalidRequest
from tailor.inference import EngineLimits, LocalEngine, ModelKey
from tailor.models import ATTENTION_NAME, LoadedModel, SavedAdapter, embedded_directory
from tests.inference.shop import BASE, Shop, adapter_key, ask, greedy_ids, prompts


def test_greedy_text_is_that_of_transformers(engine: LocalEngine, loaded: LoadedModel, oracle: Any) -> None:
    questions = prompts(loaded)

    answers = engine.generate([ask(prompt) for prompt in questions])

    for prompt, answer in zip(questions, answers, strict=True):
        ids = greedy_ids(oracle, prompt)
        assert list(answer.choices[0].token_ids) == ids
        assert answer.text == loaded.tokenizer.decode(ids)


def test_neighbours_change_nothing(engine: LocalEngine, loaded: LoadedModel) -> None:
    models = [BASE, adapter_key("small"), adapter_key("large"), adapter_key("partial")]
    requests = [ask(prompt, model) for prompt in prompts(loaded) for model in models]

    together = engine.generate(requests)
    alone = [engine.generate([request])[0] for request in requests[::3]]

    assert [answer.text for answer in together[::3]] == [answer.text for answer in alone]


@pytest.mark.parametrize("name", ["small", "large", "partial"])
def test_adapters_mixed_in_a_batch_answer_as_alone_under_peft(
    engine: LocalEngine, shop: Shop, loaded: LoadedModel, oracle: Any, name: str
) -> None:
    models = [adapter_key("small"), BASE, adapter_key("large"), adapter_key("partial")]
    questions = prompts(loaded)[:3]

    mixed = engine.generate([ask(prompt, model) for prompt in questions for model in models])

    tuned = under_peft(shop.adapters[name])
    expected = [greedy_ids(tuned, prompt) for prompt in questions]
    at = models.index(adapter_key(name))
    assert [list(answer.choices[0].token_ids) for answer in mixed[at::4]] == expected
    assert expected != [greedy_ids(oracle, prompt) for prompt in questions]


def test_a_full_version_is_its_own_model(loaded: LoadedModel) -> None:
    changed = AutoModelForCausalLM.from_pretrained(embedded_directory(), dtype=torch.float32)
    with torch.no_grad():
        changed.model.layers[0].mlp.down_proj.weight.mul_(-1)
    shop = Shop(models={"full": served(changed, loaded)})
    key = ModelKey(base="embedded", version="full", kind="full")
    prompt = prompts(loaded)[1]

    with LocalEngine(shop) as engine:
        full, base = engine.generate([ask(prompt, key), ask(prompt)])

    assert list(full.choices[0].token_ids) == greedy_ids(changed, prompt)
    assert full.text != base.text


SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.5,
    "eos_token_id": 2,
    "bos_token_id": 0,
    "pad_token_id": 0,
    "sliding_window": 16,
}
CONFIGS = [
    Qwen2Config(**SHAPE, use_sliding_window=True, max_window_layers=2),
    Qwen3Config(**SHAPE | {"sliding_window": None}),
    MistralConfig(**SHAPE),
    Gemma2Config(**SHAPE, query_pre_attn_scalar=16, attn_logit_softcapping=2.0, final_logit_softcapping=30.0),
    Gemma3TextConfig(**SHAPE, query_pre_attn_scalar=16),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_other_families_write_the_same(config: Any, loaded: LoadedModel) -> None:
    torch.manual_seed(0)
    reference = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    shop = Shop(models={"embedded": served(reference, loaded)}, context_length=512)
    questions = prompts(loaded)[:4]

    # Prompts in pieces of 7 tokens, among running answers: the hardest way to read them.
    with LocalEngine(shop, EngineLimits(max_tokens_per_step=7)) as engine:
        answers = engine.generate([ask(prompt, max_tokens=12) for prompt in questions])

    for prompt, answer in zip(questions, answers, strict=True):
        assert list(answer.choices[0].token_ids) == greedy_ids(reference, prompt, 12)


def test_little_cache_memory_delays_answers_but_changes_none(loaded: LoadedModel, oracle: Any) -> None:
    per_token = loaded.model.config.num_hidden_layers * 2 * 64 * 4
    # 3 x 256 tokens: answers that pass 256 push each other out and are read again.
    limits = EngineLimits(cache_bytes=3 * 256 * per_token)
    questions = [prompt + prompts(loaded)[3] * 2 for prompt in prompts(loaded)[:3]]
    asked = [ask(prompt[:240], logit_bias={2: -100.0}) for prompt in questions]

    with LocalEngine(Shop(context_length=768), limits) as engine:
        answers = engine.generate(asked)
        assert engine.health().cache_bytes == 0

    with LocalEngine(Shop(context_length=768)) as engine:
        assert [answer.text for answer in engine.generate(asked)] == [answer.text for answer in answers]


def test_an_adapter_for_another_base_is_refused(loaded: LoadedModel, shop: Shop) -> None:
    small = shop.adapters["small"]
    name, down = next(iter(small.weights.items()))
    elsewhere = {"model.norm.lora_A.weight": down, "model.norm.lora_B.weight": down}
    wide = {**small.weights, name: down[:, 1:]}
    wrong = Shop(
        adapters={
            name: SavedAdapter(method=small.method, weights=weights)
            for name, weights in (("elsewhere", elsewhere), ("wide", wide))
        }
    )

    with LocalEngine(wrong) as engine:
        for name in wrong.adapters:
            with pytest.raises(InvalidRequest, match="This adapter is refused"):
                engine.generate([ask([5, 6], adapter_key(name))])
        assert engine.generate([ask([5, 6])])[0].choices[0].num_tokens


def under_peft(adapter: SavedAdapter) -> Any:
    model = AutoModelForCausalLM.from_pretrained(embedded_directory(), dtype=torch.float32).eval()
    paths = [name.removesuffix(".lora_A.weight") for name in adapter.weights if "lora_A" in name]
    method: Any = adapter.method
    config = LoraConfig(r=method.rank, lora_alpha=method.alpha, target_modules=paths, task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config).eval()
    with torch.no_grad():
        for path in paths:
            layer = model.get_submodule(path)
            layer.lora_A["default"].weight.copy_(adapter.weights[f"{path}.lora_A.weight"])
            layer.lora_B["default"].weight.copy_(adapter.weights[f"{path}.lora_B.weight"])
    return tuned


def served(model: Any, loaded: LoadedModel) -> Any:
    """The same weights on our attention, with the embedded tokenizer."""
    ours = AutoModelForCausalLM.from_config(
        copy.deepcopy(model.config), attn_implementation=ATTENTION_NAME, dtype=torch.float32
    )
    ours.load_state_dict(model.state_dict())
    return SimpleNamespace(model=ours.eval(), tokenizer=loaded.tokenizer, stop_ids={2})
