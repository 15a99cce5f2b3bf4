from __future__ import annotations

import json
from typing import Any

import pytest

from tailor.errors import InvalidRequest
from tailor.models import embedded_directory, inspect
from tailor.training import DatasetFacts, Recipe, Wanted
from tailor.training.rules import auto_batch_size, auto_epochs, auto_learning_rate

BIG = 1_000_000_000


def _auto(num_examples: int = 600, wanted: Wanted | None = None, **options: Any) -> Recipe:
    facts = DatasetFacts(num_examples=num_examples, num_tokens=80 * num_examples)
    return Recipe.auto(facts, inspect(embedded_directory()), wanted, seed=1, **options)


@pytest.mark.parametrize(
    ("num_examples", "epochs"), [(10, 10), (33, 3), (34, 3), (600, 3), (8_334, 2), (30_000, 1)]
)
def test_epochs_of_real_models_follow_the_notebook_rule(num_examples: int, epochs: int) -> None:
    assert auto_epochs(num_examples, 4, BIG) == epochs


def test_a_tiny_base_gets_more_steps_but_never_over_25_epochs() -> None:
    assert auto_epochs(600, 8, 4_000_000) * 75 >= 225
    assert auto_epochs(10, 4, 4_000_000) == 25
    assert auto_epochs(8_000, 32, 4_000_000) == 3


def test_batches_grow_with_the_data() -> None:
    assert [auto_batch_size(n) for n in (10, 100, 600, 1_000, 5_000, 10**6)] == [4, 4, 8, 16, 32, 32]


def test_narrow_models_and_adapters_learn_at_higher_rates() -> None:
    assert auto_learning_rate("lora", 2000, 16) == pytest.approx(5e-4)
    assert auto_learning_rate("lora", 2000, 64) == pytest.approx(2.5e-4)
    assert auto_learning_rate("full", 2000, 16) == pytest.approx(1e-4)
    assert auto_learning_rate("lora", 192, 16) > auto_learning_rate("lora", 576, 16)


def test_auto_leaves_nothing_open_and_survives_json() -> None:
    recipe = _auto()
    # A base is not rounded unless somebody asks, and nothing is tried out unless that is the method.
    open_ones = {name for name, value in recipe.to_dict().items() if value is None}
    assert open_ones <= {"exploration", "imitation", "quantization"}
    assert "auto" not in recipe.to_dict().values()
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.num_steps == recipe.num_epochs * 75


def test_the_digest_changes_with_every_value() -> None:
    digests = {_auto().digest, _auto(601).digest, _auto(wanted=Wanted(num_epochs=7)).digest}
    assert len(digests) == 3
    assert _auto().digest == _auto().digest


def test_the_rate_warms_up_and_decays() -> None:
    recipe = _auto(wanted=Wanted(num_epochs=4, warmup_share=0.1))
    rates = [recipe.learning_rate_at(update) for update in range(recipe.num_steps)]
    assert rates[:30] == sorted(rates[:30])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert max(rates) == recipe.learning_rate
    assert 0 < rates[-1] < 0.02 * recipe.learning_rate


def test_what_was_asked_for_is_taken() -> None:
    wanted = Wanted.parse(
        {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 0.5},
        {
            "adapter": {"type": "lora", "rank": 4, "alpha": 4, "dropout": 0, "targets": ["v_proj", "q_proj"]},
            "dtype": "float32",
            "schedule": "cosine",
            "learning_rate": 1e-3,
            "checkpoint_every_steps": 5,
            "max_context_tokens": 64,
        },
    )
    recipe = _auto(10, wanted)
    assert (recipe.num_epochs, recipe.batch_size, recipe.num_steps) == (2, 3, 8)
    assert recipe.learning_rate == pytest.approx(5e-4)
    assert (recipe.rank, recipe.alpha, recipe.targets) == (4, 4.0, ("q_proj", "v_proj"))
    assert (recipe.schedule, recipe.checkpoint_every_steps, recipe.max_context_tokens) == ("cosine", 5, 64)


def test_auto_and_null_mean_not_given() -> None:
    assert Wanted.parse({"n_epochs": "auto", "batch_size": None}, {"dtype": "auto"}) == Wanted()


@pytest.mark.parametrize(
    ("hyperparameters", "options", "param"),
    [
        ({"n_epochs": 0}, {}, "hyperparameters.n_epochs"),
        ({"n_epochs": 51}, {}, "hyperparameters.n_epochs"),
        ({"n_epochs": True}, {}, "hyperparameters.n_epochs"),
        ({"n_epochs": 1.5}, {}, "hyperparameters.n_epochs"),
        ({"batch_size": 257}, {}, "hyperparameters.batch_size"),
        ({"learning_rate_multiplier": 0}, {}, "hyperparameters.learning_rate_multiplier"),
        ({"learning_rate_multiplier": float("nan")}, {}, "hyperparameters.learning_rate_multiplier"),
        ({"learning_rate_multiplier": "2"}, {}, "hyperparameters.learning_rate_multiplier"),
        ({"epochs": 1}, {}, "hyperparameters.epochs"),
        ({}, {"lora_rank": 8}, "tailor.lora_rank"),
        ({}, {"adapter": {"r": 8}}, "tailor.adapter.r"),
        ({}, {"adapter": {"rank": 129}}, "tailor.adapter.rank"),
        ({}, {"adapter": {"type": "mora"}}, "tailor.adapter.type"),
        ({}, {"adapter": {"type": "ia3", "rank": 8}}, "tailor.adapter.rank"),
        ({}, {"adapter": {"type": "prefix", "dropout": 0.1}}, "tailor.adapter.dropout"),
        ({}, {"adapter": {"type": "lora", "size": 8}}, "tailor.adapter.size"),
        ({}, {"adapter": {"num_virtual_tokens": 0}}, "tailor.adapter.num_virtual_tokens"),
        ({}, {"adapter": {"rslora": 1}}, "tailor.adapter.rslora"),
        ({}, {"quantization": "int4"}, "tailor.quantization"),
        ({}, {"adapter": {"type": "full"}, "quantization": "nf4"}, "tailor.quantization"),
        ({}, {"adapter": {"type": "full", "rank": 8}}, "tailor.adapter.rank"),
        ({}, {"adapter": {"targets": []}}, "tailor.adapter.targets"),
        ({}, {"adapter": "lora"}, "tailor.adapter"),
        ({}, {"dtype": "float16"}, "tailor.dtype"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(
    hyperparameters: dict[str, Any], options: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Wanted.parse(hyperparameters, options)
    assert caught.value.param == param


def test_an_unknown_option_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="Unknown option 'packing'") as caught:
        Wanted.parse({}, {"packing": True})
    assert "learning_rate" in str(caught.value.remedy)
