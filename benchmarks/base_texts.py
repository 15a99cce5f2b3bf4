"""What a base writes before any tuning: ten beginnings, greedily and drawn, as its model card shows them.

    python benchmarks/base_texts.py MODEL_DIRECTORY [--tokens 40] [--temperature 0.8] [--seed 1]

Eight beginnings of plain text and two questions in the chat template; Markdown to standard output.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tailor.inference import GenerationRequest, ModelKey, SamplingParameters, Writer
from tailor.models import LoadedModel, load_base
from tailor.training import make_deterministic
from tailor.training.texts import boundary_id

BEGINNINGS = (
    "The old woman went to the market",
    "Once upon a time there was a",
    "The sun is",
    "In 1912 the town",
    '"Where are you going?" asked',
    "Water boils when",
    "The children were playing in the garden when",
    "She opened the letter and",
)
QUESTIONS = ("What should I do about a headache?", "Please find me a restaurant in San Jose.")


def written(loaded: LoadedModel, tokens: int, temperature: float, seed: int) -> list[str]:
    """The continuation of each beginning and the answer to each question."""
    mark, encode = boundary_id(loaded.template), loaded.template.tokenizer.encode
    prompts = [(mark, *encode(text, add_special_tokens=False)) for text in BEGINNINGS]
    for question in QUESTIONS:
        asked = [{"role": "user", "content": question}]
        prompts.append(tuple(loaded.template.render(asked, add_generation_prompt=True).ids))
    parameters = SamplingParameters(max_tokens=tokens, temperature=temperature, seed=seed)
    requests = [
        GenerationRequest(model=ModelKey(base=loaded.digest), prompt_ids=ids, parameters=parameters)
        for ids in prompts
    ]
    answers = Writer(loaded, context_length=loaded.context_length).write(requests)
    return [" ".join(answer.text.split()) for (answer,) in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    make_deterministic(1)
    greedy, drawn = (
        written(load_base(given.model), given.tokens, temperature, given.seed)
        for temperature in (0.0, given.temperature)
    )
    print(f"| beginning | greedy | drawn at {given.temperature:g} |\n|---|---|---|")
    for begun, *both in zip((*BEGINNINGS, *QUESTIONS), greedy, drawn, strict=True):
        print(f"| {begun} | {' | '.join(text.replace('|', ' ') for text in both)} |")


if __name__ == "__main__":
    main()
