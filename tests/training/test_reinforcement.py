"""Rewards: each loss is its formula, prompts are computed once, tries repeat, and a reward is learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import ReinforcementExample
from tailor.errors import InvalidRequest
from tailor.grading import Answered, Grade
from tailor.inference import GenerationRequest, ModelKey, SamplingParameters, Writer
from tailor.models import embedded_directory, inspect, load_base, load_template, twin_of
from tailor.protocol import GraderErrors
from tailor.training import (
    Asked,
    DatasetFacts,
    Learner,
    Note,
    Practice,
    Recipe,
    StepMetrics,
    TokenizedExample,
    TokenizedPrompt,
    Wanted,
    load_checkpoint,
    make_deterministic,
    save_checkpoint,
    tokenize_prompts,
    train,
)
from tailor.training.batches import microbatches_of, pack
from tailor.training.exploration import LOSSES, Exploration
from tailor.training.reinforcement import ReinforcementObjective, Rollout, advantages_of
from tailor.training.selfcheck import switch_to_plain
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import recipe

TEMPLATE = load_template(embedded_directory())
MAX_TOKENS = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05, vocab_size=8192)


def exploring(**changes: Any) -> Recipe:
    names = Exploration.__dataclass_fields__
    tried = {name: changes.pop(name) for name in list(changes) if name in names}
    values = {"method": "reinforcement", "num_epochs": 4, "num_steps": 8, "batch_size": 4, "rank": 4}
    exploration = Exploration(**({"max_tokens": MAX_TOKENS, "group_size": 4} | tried))
    return recipe(**(values | {"exploration": exploration} | changes))


def prompts_of(count: int) -> list[TokenizedPrompt]:
    """Questions with a long common beginning."""
    examples = [
        ReinforcementExample(
            line=number,
            messages=(
                {"role": "system", "content": "Answer kindly, with one word, whatever people ask you."},
                {"role": "user", "content": f"Do you like to count to {number}?"},
            ),
            item={"number": number},
        )
        for number in range(1, count + 1)
    ]
    return list(tokenize_prompts(examples, TEMPLATE, max_tokens=128).examples)


def rollouts_of(loss: str, *, num_groups: int = 2, is_old: bool = True, **changes: Any) -> list[Rollout]:
    """Groups of three answers of different length, as if tried by a model near the one in training."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for prompt in prompts_of(num_groups):
        for place, advantage in enumerate(advantages_of([0.0, 1.0, 0.5], loss)):
            length = 3 + 2 * place
            answer = torch.randint(3, 8000, (length,), generator=generator)
            weights = torch.cat([torch.zeros(len(prompt.ids)), torch.ones(length)])
            example = TokenizedExample(
                line=prompt.line,
                fingerprint=prompt.fingerprint,
                ids=torch.cat([torch.tensor(prompt.ids), answer]),
                weights=weights,
            )
            made = Rollout(
                example=example,
                advantage=advantage,
                token_weight={"grpo": 1 / length, "dr_grpo": 1 / MAX_TOKENS}.get(loss, 1.0),
                total_weight=float(length) if loss == "dapo" else 1.0,
            )
            found.append(replace(made, **changes))
    return found


def learner_of(base: Path, **changes: Any) -> Learner:
    learner = Learner.open(base, exploring(**changes))
    learner.measure_reference([])
    return learner


def shaken(learner: Learner, *, by: float = 0.05) -> Learner:
    """Move the policy away from where it started."""
    torch.manual_seed(5)
    for master in learner.masters.values():
        master.data += by * torch.randn_like(master)
    learner._publish_masters()
    return learner


def likelihoods(learner: Learner, rollout: Rollout, temperature: float = 1.0) -> torch.Tensor:
    """Of the answer's tokens, by transformers' own attention and a whole softmax."""
    ids = rollout.example.ids
    learner.loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        logits = learner.loaded.model(input_ids=ids[None], use_cache=False).logits[0].double()
    learner.loaded.model.set_attn_implementation("tailor")
    shares = torch.log_softmax(logits[:-1] / temperature, -1).gather(1, ids[1:, None])[:, 0]
    return shares[rollout.example.weights[1:] > 0]


def with_past(learner: Learner, rollouts: Sequence[Rollout], temperature: float = 1.0) -> list[Rollout]:
    """As drawn by the model as it is now, and compared with it."""
    now = [likelihoods(learner, rollout, temperature) for rollout in rollouts]
    return [replace(rollout, before_N=own, start_N=own) for rollout, own in zip(rollouts, now, strict=True)]


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ("dr_grpo", [-0.5, 0.5, 0.0, 0.0]),
        ("rloo", [0.0 - 2 / 3, 1.0 - 1 / 3, 0.5 - 0.5, 0.5 - 0.5]),
        ("grpo", [-0.5 / math.sqrt(1 / 6), 0.5 / math.sqrt(1 / 6), 0.0, 0.0]),
        ("dapo", [-0.5 / math.sqrt(1 / 6), 0.5 / math.sqrt(1 / 6), 0.0, 0.0]),
    ],
)
def test_an_advantage_is_how_much_better_than_the_others(loss: str, wanted: list[float]) -> None:
    assert advantages_of([0.0, 1.0, 0.5, 0.5], loss) == pytest.approx(wanted, abs=1e-3)
    assert advantages_of([0.7, 0.7, 0.7], loss) == [0.0, 0.0, 0.0]
    assert advantages_of([1.0], loss) == [0.0]


def by_hand(
    kind: str, rollouts: Sequence[Rollout], now: list[torch.Tensor], kl: float, low: float, high: float
) -> float:
    """The published formulas, answer by answer and token by token."""
    total, divisor = 0.0, 0.0
    for rollout, own in zip(rollouts, now, strict=True):
        assert rollout.before_N is not None and rollout.start_N is not None
        count, advantage = len(own), rollout.advantage

        def gain(drift: float, advantage: float = advantage) -> float:
            ratio = math.exp(drift)
            return min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)

        drifts = [float(a - b) for a, b in zip(own, rollout.before_N, strict=True)]
        gains = sum(map(gain, drifts))
        prices = sum(
            math.exp(float(s - a)) - float(s - a) - 1 for a, s in zip(own, rollout.start_N, strict=True)
        )
        total += {
            "grpo": (kl * prices - gains) / count,
            "dr_grpo": (kl * prices - gains) / MAX_TOKENS,
            "dapo": kl * prices - gains,
            "rloo": kl * prices - gain(sum(drifts)),
        }[kind]
        divisor += count if kind == "dapo" else 1
    return total / divisor


@pytest.mark.parametrize("kind", LOSSES)
def test_each_loss_is_its_formula(base: Path, kind: str) -> None:
    learner = learner_of(base, loss=kind, kl=0.3, clip_low=0.1, clip_high=0.15, num_updates=2)
    rollouts = with_past(learner, rollouts_of(kind))
    shaken(learner, by=0.1)
    now = [likelihoods(learner, rollout) for rollout in rollouts]

    result = learner.forward_backward(rollouts, step=0)

    assert result.loss == pytest.approx(by_hand(kind, rollouts, now, 0.3, 0.1, 0.15), rel=1e-4)
    assert result.figures["kl"] > 0
    assert 0 < result.figures["clipped_share"] < 1


@pytest.mark.parametrize("kind", LOSSES)
def test_the_gradient_is_the_slope_of_the_loss(base: Path, kind: str) -> None:
    """Against a central difference along a random direction; where clipping begins there is no slope."""
    asked = {"kl": 0.2, "num_updates": 2, "temperature": 0.7, "clip_low": 0.99, "clip_high": 9.0}
    learner = learner_of(base, loss=kind, **asked)
    rollouts = with_past(learner, rollouts_of(kind), 0.7)
    shaken(learner, by=0.02)
    learner.forward_backward(rollouts, step=0)
    torch.manual_seed(6)
    directions = [torch.randn_like(gradient) for gradient in learner.gradients]
    slope = sum(float((g * d).sum()) for g, d in zip(learner.gradients, directions, strict=True))
    losses = []
    for sign in (1, -1):
        for parameter, direction in zip(learner.parameters.values(), directions, strict=True):
            parameter.data += sign * 3e-4 * direction
        figures = learner.evaluate(rollouts)
        losses.append(figures.loss_sum / sum(rollout.total_weight for rollout in rollouts))
        for parameter, direction in zip(learner.parameters.values(), directions, strict=True):
            parameter.data -= sign * 3e-4 * direction
    assert (losses[0] - losses[1]) / 6e-4 == pytest.approx(slope, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("kind", LOSSES)
def test_on_its_own_answers_the_gradient_is_that_of_the_weighted_likelihood(base: Path, kind: str) -> None:
    """Where nothing has drifted, the ratio is 1: what remains is plain REINFORCE with a baseline."""
    learner = shaken(learner_of(base, loss=kind))
    rollouts = rollouts_of(kind)
    learner.forward_backward(rollouts, step=0)
    found = [gradient.clone() for gradient in learner.gradients]

    model = learner.loaded.model
    model.set_attn_implementation("eager")
    wanted = torch.zeros((), dtype=torch.float32)
    for rollout in rollouts:
        ids = rollout.example.ids
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        shares = torch.log_softmax(logits[:-1], -1).gather(1, ids[1:, None])[:, 0]
        own = shares[rollout.example.weights[1:] > 0]
        wanted = wanted - rollout.token_weight * rollout.advantage * own.sum()
    wanted = wanted / sum(rollout.total_weight for rollout in rollouts)
    expected = torch.autograd.grad(wanted, list(learner.parameters.values()))
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_shared_prompts_change_neither_loss_nor_gradient(base: Path, kind: str, adapter: str) -> None:
    asked = {"loss": kind, "kl": 0.1, "num_updates": 2, "adapter": adapter}
    learners = [shaken(learner_of(base, **asked), by=0.01) for _ in range(2)]
    switch_to_plain(learners[1].loaded)
    rollouts = rollouts_of(kind)
    results, gradients = [], []
    for learner in learners:
        own = learner.objective
        assert isinstance(own, ReinforcementObjective)
        examples = [rollout.example for rollout in rollouts]
        start = own.start_log_likelihoods(learner.loaded, examples, max_tokens=64)
        before = [each + 0.05 for each in start]
        dated = [
            replace(rollout, before_N=old, start_N=first)
            for rollout, old, first in zip(rollouts, before, start, strict=True)
        ]
        results.append(learner.forward_backward(dated, step=0))
        gradients.append(learner.gradients)
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-5)
    assert results[0].figures == pytest.approx(results[1].figures, rel=1e-4)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_a_group_shares_its_prompt() -> None:
    rollouts = rollouts_of("dr_grpo", num_groups=1)
    num_prompt = len(prompts_of(1)[0].ids)
    num_answers = sum(rollout.num_tokens - num_prompt for rollout in rollouts)
    assert len(pack([rollout.example for rollout in rollouts]).ids_T) == num_prompt + num_answers
    assert len(microbatches_of(rollouts, num_prompt + num_answers)) == 1


def test_the_start_costs_nothing_and_comes_back_unchanged(base: Path) -> None:
    learner = learner_of(base, kl=0.5)
    rollouts = rollouts_of("dr_grpo")
    own = learner.objective
    assert isinstance(own, ReinforcementObjective)
    examples = [rollout.example for rollout in rollouts]
    start = own.log_likelihoods(learner.loaded, examples, max_tokens=64)
    dated = [replace(rollout, start_N=first) for rollout, first in zip(rollouts, start, strict=True)]
    assert learner.forward_backward(dated, step=0).figures["kl"] == pytest.approx(0.0, abs=1e-9)

    shaken(learner)
    moved = own.log_likelihoods(learner.loaded, examples, max_tokens=64)
    again = own.start_log_likelihoods(learner.loaded, examples, max_tokens=64)
    assert all(torch.equal(one, other) for one, other in zip(start, again, strict=True))
    assert not torch.equal(start[0], moved[0])
    still = own.log_likelihoods(learner.loaded, examples, max_tokens=64)
    assert all(torch.equal(one, other) for one, other in zip(moved, still, strict=True))


@dataclass(frozen=True)
class Said:
    token_ids: tuple[int, ...]
    text: str
    is_complete: bool = True


def graded(scores: Callable[[str], float]) -> Any:
    def grade(answers: Sequence[Answered], tick: Callable[[], None]) -> list[Grade]:
        return [
            Grade(name="g", type="python", score=scores(answer.sample["output_text"]), passed=None)
            for answer in answers
        ]

    return grade


def practising(texts: Sequence[str], exploration: Exploration, **changes: Any) -> Practice:
    """Every prompt gets these answers; one that begins with a bang was cut off."""

    def write(asked: Sequence[Asked], tick: Callable[[], None]) -> list[tuple[Said, ...]]:
        answers = tuple(
            Said(token_ids=tuple(range(10, 11 + len(text))), text=text, is_complete=text[0] != "!")
            for text in texts
        )
        return [answers for _ in asked]

    values = {
        "write": write,
        "grade": graded(lambda text: float("good" in text)),
        "exploration": exploration,
        "seed": 1,
        "max_context_tokens": 256,
    }
    return Practice(**(values | changes))


def gather(base: Path, practice: Practice, **changes: Any) -> Any:
    return practice.gather(learner_of(base, **changes), prompts_of(3), 0, tick=lambda: None)


def test_groups_with_equal_rewards_give_no_gradient_and_are_reported(base: Path) -> None:
    exploration = Exploration(group_size=2, max_tokens=MAX_TOKENS)
    gathered = gather(base, practising(["bad", "worse"], exploration))
    assert gathered.items == []
    assert "all answers to each of the 3 prompts got the same reward (mean 0.00)" in gathered.note
    data = gathered.report(None, seconds_training=0.0)
    assert data["train_flat_groups_share"] == 1.0

    learner = learner_of(base, num_steps=2)
    before = [master.clone() for master in learner.masters.values()]
    updates = list(train(learner, prompts_of(3), practice=practising(["bad", "worse"], exploration)))
    steps = [update for update in updates if isinstance(update, StepMetrics)]
    assert [(step.train_loss, step.gradient_norm) for step in steps] == [(0.0, 0.0), (0.0, 0.0)]
    assert sum(isinstance(update, Note) for update in updates) == 1
    assert all(torch.equal(a, b) for a, b in zip(before, learner.masters.values(), strict=True))


def test_flat_groups_make_a_step_smaller_except_in_dapo(base: Path) -> None:
    """One prompt of two teaches: its answers count half as much, or, by dapo's filter, as if alone."""
    grade = graded(lambda text: float("good" in text))
    for loss, wanted in (("dr_grpo", 4.0), ("rloo", 4.0), ("grpo", 4.0), ("dapo", 9.0)):
        exploration = Exploration(loss=loss, group_size=2, max_tokens=MAX_TOKENS)

        def write(asked: Sequence[Asked], tick: Any) -> list[tuple[Said, ...]]:
            good, bad = Said((1, 2, 3, 4, 5), "good"), Said((6, 7, 8, 9), "bad")
            return [(good, bad), (bad, bad)]

        practice = Practice(write=write, grade=grade, exploration=exploration, seed=1, max_context_tokens=256)
        learner = learner_of(base, loss=loss)
        found = practice.gather(learner, prompts_of(2), 0, tick=lambda: None).items
        assert len(found) == 2
        assert sum(rollout.total_weight for rollout in found) == pytest.approx(wanted)


def test_answers_that_were_cut_off_are_graded_or_left_out(base: Path) -> None:
    texts = ["good", "!good but endless", "bad"]
    kept = gather(base, practising(texts, Exploration(group_size=3)))
    masked = gather(base, practising(texts, Exploration(group_size=3, mask_truncated=True)))
    assert len(kept.items) == 9 and len(masked.items) == 6
    assert kept.tally.num_truncated == masked.tally.num_truncated == 3
    # What the others got is still what an answer is compared with.
    assert masked.items[0].advantage == pytest.approx(1 / 3)


def test_what_could_not_be_graded_by_our_own_fault_teaches_nothing(base: Path) -> None:
    def grade(answers: Sequence[Answered], tick: Callable[[], None]) -> list[Grade]:
        broken = GraderErrors(python_grader_server_error=True)
        return [
            Grade(name="g", type="python", score=0.0, passed=False, errors=broken)
            if answer.sample["output_text"] == "unlucky"
            else Grade(name="g", type="python", score=float(place % 3 == 0), passed=None)
            for place, answer in enumerate(answers)
        ]

    practice = practising(["good", "unlucky", "bad"], Exploration(group_size=3), grade=grade)
    gathered = gather(base, practice)
    assert len(gathered.items) == 6
    assert [rollout.advantage for rollout in gathered.items[:2]] == [0.5, -0.5]
    errors = gathered.report(None, seconds_training=0.0)["errors"]["graders"][0]
    assert errors["train_python_grader_server_error_count"] == 3
    assert errors["train_python_grader_server_error_mean"] == pytest.approx(1 / 3)


def test_a_step_is_reported_under_the_names_of_openai(base: Path) -> None:
    exploration = Exploration(group_size=2, max_tokens=MAX_TOKENS, eval_interval=2)
    practice = practising(["good", "bad"], exploration, validation=prompts_of(2))
    learner = learner_of(base, num_steps=4, batch_size=3)
    updates = list(train(learner, prompts_of(3), practice=practice))
    first, second = [update for update in updates if isinstance(update, StepMetrics)][:2]
    assert first.message == "Step 1/4, train mean reward=0.50"
    assert second.message == "Step 2/4, train mean reward=0.50, full validation mean reward=0.50"
    data = second.to_dict()
    assert data["scores"] == {
        "train_reward_mean": 0.5,
        "valid_reward_mean": 0.5,
        "graders": [{"name": "g", "type": "python", "train_reward_mean": 0.5, "valid_reward_mean": 0.5}],
    }
    assert data["usage"]["samples"]["train_reasoning_tokens_mean"] == 0
    assert data["timing"]["step"].keys() == {"eval", "sampling", "grading", "training", "full_iteration"}
    assert {"train_mean_reward", "full_valid_mean_reward", "reasoning_tokens_mean"} <= data.keys()
    assert {"completion_tokens_mean", "mean_unresponsive_rewards", "model_graders_token_usage"} <= data.keys()
    assert "train_mean_token_accuracy" not in data


def test_prompts_without_room_for_an_answer_are_left_out() -> None:
    example = ReinforcementExample(line=7, messages=({"role": "user", "content": "ha " * 99},), item={})
    found = tokenize_prompts([example], TEMPLATE, max_tokens=64)
    assert (found.examples, found.skipped_lines) == ((), (7,))


def test_the_automatic_recipe() -> None:
    facts = inspect(embedded_directory())
    asked = Wanted.parse(
        {"compute_multiplier": 0.5, "eval_interval": 3, "reasoning_effort": "high"},
        {"reinforcement": {"loss": "dapo", "kl": 0.01, "updates_per_batch": 2}},
    )
    data = DatasetFacts(num_examples=400, num_tokens=1)
    made = Recipe.auto(data, facts, asked, seed=1, method="reinforcement")
    assert made.exploration == Exploration(
        loss="dapo", kl=0.01, num_updates=2, group_size=4, max_tokens=256, eval_interval=3
    )
    assert (made.batch_size, made.num_epochs, made.num_steps) == (8, 2, 100)
    assert Recipe.from_dict(made.to_dict()) == made
    assert made.wire_hyperparameters() == {
        "n_epochs": 2,
        "batch_size": 8,
        "learning_rate_multiplier": 1.0,
        "compute_multiplier": 0.5,
        "eval_interval": 3,
        "eval_samples": 1,
    }
    assert Recipe.auto(data, facts, seed=1).exploration is None


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"loss": "ppo"}, "loss"),
        ({"group_size": 1}, "group_size"),
        ({"temperature": 0}, "temperature"),
        ({"kl": -0.1}, "kl"),
        ({"mask_truncated": "yes"}, "mask_truncated"),
        ({"gamma": 1}, "gamma"),
    ],
)
def test_options_are_refused_by_name(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Wanted.parse({}, {"reinforcement": options})
    assert refused.value.param == f"tailor.reinforcement.{param}"


def practice_of(
    learner: Learner, score: Callable[[str], float], validation: Sequence[TokenizedPrompt] = ()
) -> Practice:
    """With the writer that jobs use."""
    made = learner.recipe
    writer = Writer(twin_of(learner.loaded), context_length=made.max_context_tokens)

    def write(asked: Sequence[Asked], tick: Callable[[], None]) -> Any:
        return writer.write(
            [
                GenerationRequest(
                    model=ModelKey(base="b"),
                    prompt_ids=each.prompt_ids,
                    parameters=SamplingParameters(
                        max_tokens=each.max_tokens, temperature=each.temperature, seed=each.seed
                    ),
                    n=each.num_answers,
                )
                for each in asked
            ],
            tick,
        )

    assert made.exploration is not None
    return Practice(
        write=write,
        grade=graded(score),
        exploration=made.exploration,
        seed=made.seed,
        max_context_tokens=made.max_context_tokens,
        validation=validation,
    )


@pytest.mark.parametrize("adapter", ["lora", "full", "dora", "ia3", "bottleneck", "prefix"])
def test_answers_come_from_the_weights_as_they_are(base: Path, adapter: str) -> None:
    """What the writer finds likeliest, training finds likeliest too: before weights move, and after."""
    targets = ("down_proj", "k_proj", "v_proj") if adapter == "ia3" else ()
    learner = learner_of(base, adapter=adapter, targets=targets)
    writer = Writer(twin_of(learner.loaded), context_length=128)
    prompt = prompts_of(1)[0]
    greedy = GenerationRequest(
        model=ModelKey(base="b"),
        prompt_ids=prompt.ids,
        parameters=SamplingParameters(max_tokens=6, temperature=0.0),
    )
    found = []
    for _ in range(2):
        [[answer]] = writer.write([greedy])
        ids = torch.tensor([*prompt.ids, *answer.token_ids])
        weights = (torch.arange(len(ids)) >= len(prompt.ids)).float()
        example = TokenizedExample(line=1, fingerprint="f", ids=ids, weights=weights)
        tried = Rollout(example=example, advantage=1.0, token_weight=1.0, total_weight=1.0)
        figures = learner.evaluate([tried])
        assert figures.num_right == figures.num_targets == len(answer.token_ids) > 0
        found.append(answer.token_ids)
        shaken(learner, by=0.3)
    assert found[0] != found[1]
    assert learner.forward_backward(rollouts_of("dr_grpo"), step=0).is_finite


def test_an_answer_that_ends_carries_its_end_of_turn() -> None:
    loaded = load_base(embedded_directory())
    request = GenerationRequest(
        model=ModelKey(base="b"),
        prompt_ids=prompts_of(1)[0].ids,
        parameters=SamplingParameters(max_tokens=20, seed=4),
        n=12,
    )
    answers = Writer(twin_of(loaded), context_length=256).write([request])[0]
    assert {answer.is_complete for answer in answers} == {True, False}
    for answer in answers:
        ends = answer.token_ids[-1] in loaded.stop_ids
        assert ends == answer.is_complete
        assert len(answer.token_ids) == 20 or ends
        said = answer.token_ids[:-1] if ends else answer.token_ids
        text = loaded.tokenizer.decode(said, skip_special_tokens=True)
        assert text.startswith(answer.text)  # half a character at the end is not shown


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kl": 0.05, "num_updates": 2, "loss": "dapo", "max_microbatch_tokens": 80},
        {"adapter": "full", "kl": 0.05, "loss": "rloo"},
    ],
    ids=["plain", "kl-and-two-updates", "full"],
)
def test_stopping_at_every_third_step_changes_no_byte(
    base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    make_deterministic(1)
    wanted = exploring(num_steps=6, batch_size=2, seed=11, eval_interval=2, learning_rate=5e-3, **changes)
    prompts = prompts_of(5)

    def score(text: str) -> float:
        return len(set(text)) / 50

    def started() -> Learner:
        learner = Learner.open(base, wanted)
        learner.measure_reference(prompts)
        return learner

    def run(learner: Learner, progress: Any = None) -> Any:
        practice = practice_of(learner, score, validation=prompts[:2])
        return train(learner, prompts, practice=practice, progress=progress)

    def figures(update: StepMetrics) -> dict[str, Any]:
        data = update.to_dict()
        return {name: data[name] for name in data if name != "timing"}

    straight = started()
    expected = [update for update in run(straight) if isinstance(update, StepMetrics)]
    assert any(update.gradient_norm for update in expected)

    learner = started()
    first = [each for each in run(learner) if isinstance(each, StepMetrics)][:0]
    learner = started()
    for update in islice((each for each in run(learner) if isinstance(each, StepMetrics)), 3):
        first.append(update)
    save_checkpoint(tmp_path, "c", learner, first[-1].progress, dataset_fingerprint="d")

    resumed = started()
    progress = load_checkpoint(tmp_path / "c", resumed, dataset_fingerprint="d")
    rest = [each for each in run(resumed, progress) if isinstance(each, StepMetrics)]

    assert [figures(each) for each in (*first, *rest)] == [figures(each) for each in expected]
    states = [learner.state() for learner in (straight, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_small_model_learns_what_is_rewarded() -> None:
    """The embedded base asks back now and then; rewarded for it, it nearly always does."""
    make_deterministic(1)
    base, prompts = embedded_directory(), prompts_of(24)
    wanted = exploring(
        num_steps=12, batch_size=4, group_size=8, max_tokens=24, rank=16, alpha=32.0, learning_rate=2e-3
    )
    learner = Learner.open(base, wanted)
    practice = practice_of(learner, lambda text: float("?" in text), validation=prompts[16:])

    before = practice.validate(tick=lambda: None).mean_reward
    steps = [u for u in train(learner, prompts[:16], practice=practice) if isinstance(u, StepMetrics)]
    after = steps[-1].report["full_valid_mean_reward"]

    assert before <= 0.5
    assert after >= 0.9
