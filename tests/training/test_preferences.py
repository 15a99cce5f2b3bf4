"""Pairs: the losses are TRL's, prompts are computed once, and a preference is learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import PreferenceExample
from tailor.errors import InvalidRequest
from tailor.models import embedded_directory, inspect, load_template
from tailor.training import (
    DatasetFacts,
    Learner,
    Recipe,
    StepMetrics,
    TokenizedPair,
    Wanted,
    mean_log_likelihoods,
    tokenize_preferences,
    train,
)
from tailor.training.batches import microbatches_of, pack
from tailor.training.preferences import LOSSES
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import recipe

TEMPLATE = load_template(embedded_directory())


def pairs_of(count: int) -> list[TokenizedPair]:
    """Questions with a long common beginning; the better answer says yes."""
    examples = [
        PreferenceExample(
            line=number,
            messages=(
                {"role": "system", "content": "Answer kindly, with one word, whatever people ask you."},
                {"role": "user", "content": f"Do you like to count to {number}?"},
            ),
            preferred=({"role": "assistant", "content": "Yes, gladly" if number % 2 else "Yes"},),
            rejected=({"role": "assistant", "content": "No"},),
        )
        for number in range(1, count + 1)
    ]
    return list(tokenize_preferences(examples, TEMPLATE, max_tokens=128).examples)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05, vocab_size=8192)


def learner_of(base: Path, pairs: list[TokenizedPair], **changes: Any) -> Learner:
    values = {"method": "dpo", "num_epochs": 4, "num_steps": 8, "batch_size": 4, "rank": 4, "beta": 0.3}
    learner = Learner.open(base, recipe(**(values | changes)))
    learner.measure_reference(pairs)
    return learner


def answer_log_likelihoods(learner: Learner, pair: TokenizedPair) -> list[tuple[float, int]]:
    """(sum, tokens) of both answers, by transformers' own attention and a whole softmax."""
    found = []
    learner.loaded.model.set_attn_implementation("eager")
    for side in pair.sequences:
        with torch.no_grad():
            logits = learner.loaded.model(input_ids=side.ids[None], use_cache=False).logits[0]
        log_shares = torch.log_softmax(logits[:-1].double(), -1).gather(1, side.ids[1:, None])[:, 0]
        found.append((float((log_shares * side.weights[1:]).sum()), int(side.weights.sum())))
    learner.loaded.model.set_attn_implementation("tailor")
    return found


def shaken(learner: Learner) -> None:
    """Move the policy away from its reference."""
    torch.manual_seed(5)
    for master in learner.masters.values():
        master.data += 0.05 * torch.randn_like(master)
    learner._publish_masters()


def by_hand(
    kind: str, policy: list[tuple[float, int]], reference: list[tuple[float, int]], beta: float
) -> float:
    (pc, nc), (pr, nr) = policy
    (rc, _), (rr, _) = reference

    def minus_log_sigmoid(x: float) -> float:
        return math.log1p(math.exp(-x))

    def log_odds(mean: float) -> float:
        return mean - math.log(1 - math.exp(mean))

    return {
        "sigmoid": lambda: minus_log_sigmoid(beta * ((pc - rc) - (pr - rr))),
        "hinge": lambda: max(0.0, 1 - beta * ((pc - rc) - (pr - rr))),
        "ipo": lambda: ((pc - rc) / nc - (pr - rr) / nr - 1 / (2 * beta)) ** 2,
        "simpo": lambda: minus_log_sigmoid(beta * (pc / nc - pr / nr) - 0.5),
        "orpo": lambda: -pc / nc + beta * minus_log_sigmoid(log_odds(pc / nc) - log_odds(pr / nr)),
    }[kind]()


@pytest.mark.parametrize("kind", LOSSES)
def test_each_loss_is_its_formula(base: Path, kind: str) -> None:
    pairs = pairs_of(5)
    learner = learner_of(base, pairs, preference_loss=kind, preference_margin=0.5)
    references = [answer_log_likelihoods(learner, pair) for pair in pairs]
    shaken(learner)
    wanted = [
        by_hand(kind, answer_log_likelihoods(learner, pair), reference, 0.3)
        for pair, reference in zip(pairs, references, strict=True)
    ]
    result = learner.forward_backward(pairs, step=0)
    assert result.loss == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_gradient_is_the_slope_of_the_loss(base: Path, kind: str) -> None:
    """Against a central difference along a random direction, in float64."""
    pairs = pairs_of(4)
    learner = learner_of(base, pairs, preference_loss=kind, preference_margin=0.5)
    shaken(learner)
    result = learner.forward_backward(pairs, step=0)
    torch.manual_seed(6)
    directions = [torch.randn_like(gradient) for gradient in learner.gradients]
    slope = sum(float((g * d).sum()) for g, d in zip(learner.gradients, directions, strict=True))
    losses = []
    for sign in (1, -1):
        for parameter, direction in zip(learner.parameters.values(), directions, strict=True):
            parameter.data += sign * 1e-3 * direction
        figures = learner.evaluate(pairs)
        losses.append(figures.loss_sum / len(pairs))
        for parameter, direction in zip(learner.parameters.values(), directions, strict=True):
            parameter.data -= sign * 1e-3 * direction
    assert result.figures.keys() == {"reward_accuracy", "reward_margin"}
    assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(slope, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge"])
def test_loss_and_gradients_equal_trl(base: Path, kind: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pairs = pairs_of(4)
    learner = learner_of(base, pairs, preference_loss=kind)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = []
    for pair in pairs:
        begin = int(pair.preferred.weights.nonzero()[0])
        # TRL ends an answer with the end of turn itself, and takes all that follows the prompt for it.
        ends = [int(side.weights.nonzero()[-1]) + 1 for side in pair.sequences]
        rows.append(
            {
                "prompt": tokenizer.decode(pair.preferred.ids[:begin]),
                "chosen": tokenizer.decode(pair.preferred.ids[begin : ends[0]]),
                "rejected": tokenizer.decode(pair.rejected.ids[begin : ends[1]]),
            }
        )
    settings = trl.DPOConfig(
        output_dir=str(tmp_path),
        beta=0.3,
        loss_type=kind,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        remove_unused_columns=False,
    )
    lora = LoraConfig(r=4, lora_alpha=learner.recipe.alpha, target_modules="all-linear", lora_dropout=0.0)
    trainer = trl.DPOTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
    )
    # Both start from the same adapter, moved away from zero so that policy and reference differ.
    shaken(learner)
    theirs = {
        name.replace(".default", "").removeprefix("base_model.model."): parameter
        for name, parameter in trainer.model.named_parameters()
        if "lora_" in name
    }
    ours = {name.replace(".default", ""): value for name, value in learner.parameters.items()}
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        theirs[name].data.copy_(value)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    result = learner.forward_backward(pairs, step=0)
    assert result.loss == pytest.approx(float(loss), rel=1e-5)
    for name, gradient in zip(ours, learner.gradients, strict=True):
        wanted = theirs[name].grad
        scale = float(wanted.abs().max())
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_a_pair_without_a_measured_reference_is_an_error_not_a_zero(base: Path) -> None:
    pairs = pairs_of(4)
    learner = learner_of(base, pairs[:2])
    with pytest.raises(KeyError):
        learner.forward_backward(pairs, step=0)


def test_measuring_the_reference_can_be_stopped(base: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Learner.open(base, recipe(method="dpo")).measure_reference(pairs_of(4), tick=stop)


def test_a_question_is_computed_once_for_both_answers() -> None:
    pairs = pairs_of(6)
    sequences = [each for pair in pairs for each in pair.sequences]
    together, apart = pack(sequences), pack(sequences, share=False)
    assert len(together.ids_T) < 0.5 * len(apart.ids_T)
    assert [len(group) for group in microbatches_of(pairs, len(together.ids_T) + 40)] == [6]


def test_a_preference_is_learned_and_figures_say_so(base: Path) -> None:
    pairs = pairs_of(12)
    learner = learner_of(base, pairs, num_steps=24, num_epochs=8, learning_rate=5e-3)
    before = mean_log_likelihoods(learner.loaded, pairs)
    updates = [
        update for update in train(learner, pairs, validation=pairs[:3]) if isinstance(update, StepMetrics)
    ]
    after = mean_log_likelihoods(learner.loaded, pairs)
    first, last = updates[0].to_dict(), updates[-1].to_dict()
    assert first["train_loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert first["train_reward_margin"] == pytest.approx(0, abs=1e-6)
    assert last["train_reward_accuracy"] == 1.0
    assert last["full_valid_loss"] < 0.5
    gains = [(a[0] - a[1]) - (b[0] - b[1]) for a, b in zip(after, before, strict=True)]
    assert min(gains) > 0


def test_rules_for_pairs(base: Path) -> None:
    facts, about = DatasetFacts(num_examples=200, num_tokens=9_000), inspect(base)
    wanted = Wanted.parse({"beta": 0.5}, {"preference": {"loss": "simpo"}})
    made = Recipe.auto(facts, about, wanted, seed=1, method="dpo")
    assert (made.beta, made.preference_loss, made.preference_margin) == (0.5, "simpo", 0.5)
    assert made.learning_rate == pytest.approx(0.1 * Recipe.auto(facts, about, seed=1).learning_rate)
    assert made.wire_hyperparameters()["beta"] == 0.5
    with pytest.raises(InvalidRequest, match="one of hinge, ipo, orpo, sigmoid, simpo"):
        Wanted.parse({}, {"preference": {"loss": "best"}})
