"""Versions of every method over one base, answered in one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.inference import EngineLimits, LocalEngine, Writer
from tailor.models import (
    LoadedModel,
    PackedLayout,
    adapter_parameters,
    attach,
    embedded_directory,
    load_adapter,
    load_base,
    read_adapter,
    save_adapter,
    twin_of,
)
from tests.inference.shop import Shop, adapter_key, ask, prompts, shown
from tests.models.methods import TINY_METHODS, shaken

NAMES = tuple(TINY_METHODS)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("versions")
    for name, method in TINY_METHODS.items():
        loaded = load_base(embedded_directory())
        attach(loaded, method)
        weights = shaken(adapter_parameters(loaded.model))
        save_adapter(folder / name, {key: weight * 1.0 for key, weight in weights.items()}, method)
    return {name: folder / name for name in TINY_METHODS}


def written_alone(loaded: LoadedModel, prompt: list[int], num_tokens: int) -> list[int]:
    """The likeliest tokens, everything computed anew for each."""
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + num_tokens:
            layout = PackedLayout([len(ids)])
            logits = loaded.model(
                input_ids=torch.tensor([ids]),
                position_ids=layout.positions[None],
                layout=layout,
                use_cache=False,
            ).logits
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] in loaded.stop_ids:
                return shown(ids[len(prompt) : -1])
    return shown(ids[len(prompt) :])


@pytest.fixture(scope="module")
def wanted(versions: dict[str, Path]) -> dict[str, list[list[int]]]:
    found = {}
    for name, directory in versions.items():
        loaded = load_base(embedded_directory())
        load_adapter(loaded, directory)
        found[name] = [written_alone(loaded, prompt, 10) for prompt in prompts(loaded)[:3]]
    return found


@pytest.mark.parametrize("max_tokens_per_step", [512, 7])
def test_all_methods_in_one_batch_answer_as_each_alone(
    versions: dict[str, Path], wanted: dict[str, Any], loaded: LoadedModel, max_tokens_per_step: int
) -> None:
    shop = Shop(adapters={name: read_adapter(directory) for name, directory in versions.items()})
    questions = prompts(loaded)[:3]
    asked = [(name, i) for i in range(3) for name in NAMES]
    with LocalEngine(shop, EngineLimits(max_tokens_per_step=max_tokens_per_step)) as engine:
        answers = engine.generate([ask(questions[i], adapter_key(name), max_tokens=10) for name, i in asked])
        assert shop.loads.count("embedded") == 1
        base = engine.generate([ask(questions[0], max_tokens=10)])[0]
    found = {pair: list(answer.choices[0].token_ids) for pair, answer in zip(asked, answers, strict=True)}
    assert found == {(name, i): wanted[name][i] for name, i in asked}
    assert all(
        answer.num_prompt_tokens == len(questions[i]) for (_, i), answer in zip(asked, answers, strict=True)
    )
    assert len({tuple(found[name, 0]) for name in NAMES} | {base.choices[0].token_ids}) > 3


def test_siblings_and_pushed_out_answers_keep_their_prefix(
    versions: dict[str, Path], wanted: dict[str, Any], loaded: LoadedModel
) -> None:
    shop = Shop(adapters={"prefix": read_adapter(versions["prefix"])}, context_length=768)
    per_token = loaded.model.config.num_hidden_layers * 2 * 64 * 4
    with LocalEngine(shop, EngineLimits(cache_bytes=3 * 256 * per_token)) as engine:
        result = engine.generate([ask(prompts(loaded)[0], adapter_key("prefix"), n=3, max_tokens=10)])[0]
        assert [list(choice.token_ids) for choice in result.choices] == [wanted["prefix"][0]] * 3


def test_a_prompt_that_the_prefix_leaves_no_room_for_is_refused(
    versions: dict[str, Path], loaded: LoadedModel
) -> None:
    shop = Shop(adapters={"prefix": read_adapter(versions["prefix"])}, context_length=64)
    with LocalEngine(shop) as engine:
        full = engine.generate([ask([5] * 40, adapter_key("prefix"), max_tokens=24, logit_bias={2: -100.0})])
        assert full[0].choices[0].num_tokens == 24 - 5
        with pytest.raises(InvalidRequest, match="prefix takes 5 of 64"):
            engine.generate([ask([5] * 60, adapter_key("prefix"), max_tokens=4)])


@pytest.mark.parametrize("name", NAMES)
def test_a_model_in_training_writes_what_its_version_writes(
    versions: dict[str, Path], wanted: dict[str, Any], name: str
) -> None:
    loaded = load_base(embedded_directory())
    load_adapter(loaded, versions[name])
    writer = Writer(twin_of(loaded), context_length=1024)
    for _ in range(2):
        answers = writer.write([ask(prompt, max_tokens=10) for prompt in prompts(loaded)[:3]])
        found = [shown(answer.token_ids) for (answer,) in answers]
        assert found == wanted[name]
