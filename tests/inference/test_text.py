"""Text as it grows: characters, stop strings, log-probabilities that spell the text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tailor.inference import LocalEngine, TokenLogprob
from tailor.inference.text import TextStream
from tailor.models import LoadedModel, TokenTable
from tests.inference.shop import ask, greedy_ids, prompts


@pytest.fixture(scope="module")
def table(loaded: LoadedModel) -> TokenTable:
    return TokenTable(loaded.tokenizer)


def written(
    table: TokenTable, ids: list[int], stop: tuple[str, ...] = ()
) -> tuple[list[str], list[int], bytes]:
    """The pieces shown, the tokens handed over and the bytes they spell."""
    stream = TextStream(table, stop)
    released = []
    for token_id in ids:
        spelled = TokenLogprob(token_id=token_id, bytes=table.bytes_of(token_id), logprob=0.0)
        released.append(stream.push(token_id, spelled))
        if stream.is_stopped:
            break
    released.append(stream.finish())
    return (
        [part.text for part in released if part.text],
        [token_id for part in released for token_id in part.token_ids],
        b"".join(spelled.bytes for part in released for spelled in part.logprobs),
    )


TEXTS = ["plain words", "Grüße an 日本 😀!", "a\n\tb  c", "👩‍👩‍👧 family"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_has_half_a_character(table: TokenTable, loaded: LoadedModel, text: str) -> None:
    ids = loaded.tokenizer.encode(text)

    pieces, tokens, spelled = written(table, ids)

    assert "".join(pieces) == text
    assert tokens == ids
    assert spelled.decode() == text


def test_half_a_character_at_the_end_is_not_shown(table: TokenTable, loaded: LoadedModel) -> None:
    ids = loaded.tokenizer.encode("ok 日")

    pieces, _, spelled = written(table, ids[:-1])

    assert "".join(pieces) == spelled.decode() == "ok "


def test_bytes_that_are_no_text_are_replaced(table: TokenTable, loaded: LoadedModel) -> None:
    ids = loaded.tokenizer.encode("日")[:1] + loaded.tokenizer.encode("a")

    assert "".join(written(table, ids)[0]) == "\ufffda"


def test_special_tokens_have_no_text(table: TokenTable, loaded: LoadedModel) -> None:
    ids = [*loaded.tokenizer.encode("a"), 1, *loaded.tokenizer.encode("b")]

    assert written(table, ids)[1:] == ([ids[0], ids[2]], b"ab")


@pytest.mark.parametrize(
    ("text", "stop", "kept"),
    [
        ("one two three four", ("three",), "one two "),
        ("one two three four", ("o three f",), "one tw"),
        ("one two three four", ("four!", "hre"), "one two t"),
        ("one two three", ("three four",), "one two three"),
        ("日本語", ("本",), "日"),
        ("aaab", ("aab",), "a"),
        ("stop", ("stop",), ""),
    ],
)
def test_a_stop_text_ends_the_answer_wherever_tokens_part(
    table: TokenTable, loaded: LoadedModel, text: str, stop: tuple[str, ...], kept: str
) -> None:
    pieces, tokens, spelled = written(table, loaded.tokenizer.encode(text), stop)

    assert "".join(pieces) == kept
    assert spelled.decode() == kept
    assert loaded.tokenizer.decode(tokens).startswith(kept)


def test_text_is_held_back_only_for_a_possible_stop_text(table: TokenTable, loaded: LoadedModel) -> None:
    stream = TextStream(table, ("###",))

    assert stream.push(loaded.tokenizer.encode("a")[0]).text == "a"
    assert stream.push(loaded.tokenizer.encode("#")[0]).text == ""
    assert stream.push(loaded.tokenizer.encode("b")[0]).text == "#b"


def test_sentencepiece_tokens_spell_their_bytes() -> None:
    vocabulary = {
        "<unk>": 0,
        "<s>": 1,
        "\u2581Hi": 2,
        "\u2581there": 3,
        "<0xE6>": 4,
        "<0x97>": 5,
        "<0xA5>": 6,
    }
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    table = TokenTable(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>"))

    pieces, _, spelled = written(table, [2, 3, 4, 5, 6])

    assert pieces == ["Hi", " there", "日"]
    assert spelled.decode() == "Hi there日"


def test_a_stop_text_ends_a_real_answer(engine: LocalEngine, loaded: LoadedModel) -> None:
    prompt = prompts(loaded)[1]
    whole = engine.generate([ask(prompt)])[0].text
    stop = whole[7:11]

    cut = engine.generate([ask(prompt, stop=(stop,), top_logprobs=0)])[0].choices[0]

    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"
    assert b"".join(spelled.bytes for spelled in cut.logprobs).decode() == cut.text


def test_logprobs_are_the_models_own(engine: LocalEngine, loaded: LoadedModel, oracle: Any) -> None:
    prompt = prompts(loaded)[1]

    answer = engine.generate([ask(prompt, top_logprobs=5, temperature=0.7, seed=3, logit_bias={40: 2.0})])[0]

    choice = answer.choices[0]
    ids = torch.tensor([[*prompt, *choice.token_ids]])
    with torch.no_grad():
        expected = oracle(ids).logits[0, len(prompt) - 1 :].log_softmax(-1)
    assert b"".join(spelled.bytes for spelled in choice.logprobs).decode() == choice.text
    for place, spelled in enumerate(choice.logprobs):
        assert spelled.logprob == pytest.approx(expected[place, spelled.token_id].item(), abs=1e-4)
        assert [other.token_id for other in spelled.top] == expected[place].topk(5).indices.tolist()
        assert spelled.top[0].logprob == pytest.approx(expected[place].max().item(), abs=1e-4)


def test_the_end_of_turn_is_counted_but_not_shown(
    engine: LocalEngine, loaded: LoadedModel, oracle: Any
) -> None:
    answers = [(prompt, greedy_ids(oracle, prompt, 64)) for prompt in prompts(loaded)]
    prompt, ids = min(answers, key=lambda pair: len(pair[1]))

    choice = engine.generate([ask(prompt, top_logprobs=1, max_tokens=64)])[0].choices[0]

    assert choice.finish_reason == "stop"
    assert choice.num_tokens == len(ids) + 1
    assert len(choice.logprobs) == len(choice.token_ids) == len(ids)
