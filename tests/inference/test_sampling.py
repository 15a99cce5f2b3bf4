"""Choosing tokens: exact distributions, seeds that hold, penalties and bias."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from tailor.inference import LocalEngine, SamplingParameters
from tailor.inference.sampling import Draw, sample, uniform
from tailor.models import LoadedModel
from tests.inference.shop import ask, prompts


def draws(num: int, **parameters: Any) -> list[Draw]:
    return [Draw(parameters=SamplingParameters(**parameters), seed=1, index=index) for index in range(num)]


def shares(logits: list[float], **parameters: Any) -> list[float]:
    num = 4000
    rows = torch.tensor([logits]).repeat(num, 1)
    counts = Counter(sampled.token_id for sampled in sample(rows, draws(num, **parameters)))
    return [counts[token] / num for token in range(len(logits))]


LOGITS = [1.0, 0.0, -1.0, 2.0, float("-inf")]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_follow_the_tempered_distribution(temperature: float) -> None:
    expected = (torch.tensor(LOGITS) / temperature).softmax(-1).tolist()

    assert shares(LOGITS, temperature=temperature) == pytest.approx(expected, abs=0.03)


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    # Shares are 0.23, 0.09, 0.03, 0.64: the first two by size reach 0.8.
    assert shares(LOGITS, top_p=0.8) == pytest.approx([0.27, 0, 0, 0.73, 0], abs=0.03)
    assert shares(LOGITS, top_p=0.0) == [0, 0, 0, 1, 0]


def test_top_p_sees_the_whole_of_a_flat_distribution() -> None:
    tokens = [sampled.token_id for sampled in sample(torch.zeros(2000, 1000), draws(2000, top_p=0.9))]

    assert len(set(tokens)) > 800


def test_temperature_zero_and_nearly_zero_take_the_likeliest() -> None:
    for temperature in (0.0, 1e-30):
        assert shares(LOGITS, temperature=temperature) == [0, 0, 0, 1, 0]


def test_bias_and_penalties_move_logits() -> None:
    rows = torch.tensor([LOGITS] * 4)
    wanted = [
        Draw(parameters=SamplingParameters(temperature=0, logit_bias={1: 100.0}), seed=0),
        Draw(parameters=SamplingParameters(temperature=0, presence_penalty=1.5), seed=0, counts={3: 9}),
        Draw(parameters=SamplingParameters(temperature=0, frequency_penalty=0.2), seed=0, counts={3: 6}),
        Draw(parameters=SamplingParameters(temperature=0, frequency_penalty=0.2), seed=0, counts={3: 4}),
    ]

    assert [sampled.token_id for sampled in sample(rows, wanted)] == [1, 0, 0, 3]


def test_an_output_that_is_not_a_number_is_noticed() -> None:
    rows = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [float("inf"), 0.0]])

    assert [sampled.is_finite for sampled in sample(rows, draws(3, temperature=0))] == [True, False, False]


def test_random_numbers_depend_on_seed_answer_and_place() -> None:
    numbers = {uniform(seed, choice, index) for seed in range(5) for choice in range(5) for index in range(5)}

    assert len(numbers) == 125
    assert all(0 <= number < 1 for number in numbers)


def test_a_seed_gives_the_same_answer_in_any_company(engine: LocalEngine, loaded: LoadedModel) -> None:
    questions = prompts(loaded)
    request = ask(questions[0], temperature=1.0, seed=7, top_p=0.95)
    others = [ask(prompt, temperature=1.2, max_tokens=10) for prompt in questions]

    alone = engine.generate([request])[0].text
    together = [answer.text for answer in engine.generate([*others, request, *others, request])]

    assert together[6] == together[13] == alone
    assert engine.generate([ask(questions[0], temperature=1.0, seed=8, top_p=0.95)])[0].text != alone


def test_a_strong_penalty_ends_repetition(engine: LocalEngine, loaded: LoadedModel) -> None:
    prompt = loaded.tokenizer.encode("no, no, no, no, no, no, no, no, no,")

    plain, varied = engine.generate([ask(prompt), ask(prompt, presence_penalty=2.0, frequency_penalty=2.0)])

    assert max(Counter(plain.choices[0].token_ids).values()) > 10
    assert max(Counter(varied.choices[0].token_ids).values()) < 6


def test_bias_forces_and_forbids(engine: LocalEngine, loaded: LoadedModel) -> None:
    prompt = prompts(loaded)[1]
    [first, *_] = engine.generate([ask(prompt)])[0].choices[0].token_ids
    [forced] = loaded.tokenizer.encode("?")

    only, never = engine.generate(
        [ask(prompt, logit_bias={forced: 100.0}, max_tokens=4), ask(prompt, logit_bias={first: -100.0})]
    )

    assert only.choices[0].token_ids == (forced,) * 4
    assert first not in never.choices[0].token_ids


def test_several_answers_share_their_prompt(engine: LocalEngine, loaded: LoadedModel) -> None:
    prompt = prompts(loaded)[3]

    several = engine.generate([ask(prompt, n=4, temperature=1.0, seed=5)])[0]

    assert len({choice.text for choice in several.choices}) == 4
    assert [choice.choice for choice in several.choices] == [0, 1, 2, 3]
    assert several.text == engine.generate([ask(prompt, temperature=1.0, seed=5)])[0].text
    assert len({choice.text for choice in engine.generate([ask(prompt, n=3)])[0].choices}) == 1
