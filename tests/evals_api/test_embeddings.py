"""Vectors of texts, by our own models and by an upstream's."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from tailor.server import EmbeddedServer
from tests.evals_api.conftest import finished, plain

MODEL = "tailor-mini-2"
TEXTS = ["Where is my parcel?", "The parcel has not come.", "Explain photosynthesis to a child."]


def vectors_of(answer: Any) -> Any:
    return np.array([each.embedding for each in answer.data])


def test_texts_together_get_the_vectors_they_get_alone(lenient: openai.OpenAI) -> None:
    together = lenient.embeddings.create(model=MODEL, input=TEXTS)
    vectors = vectors_of(together)
    assert vectors.shape == (3, 192)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert [each.index for each in together.data] == [0, 1, 2]
    assert together.usage.total_tokens == together.usage.prompt_tokens > 10
    alone = vectors_of(lenient.embeddings.create(model=MODEL, input=TEXTS[1], encoding_format="float"))
    assert alone[0] == pytest.approx(vectors[1], abs=0.02)
    parcel, other = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert parcel > other


def test_the_wire_is_base64_when_asked_and_shorter_vectors_have_length_one(evals_server: Any) -> None:
    with plain(evals_server) as http:
        body = {"model": MODEL, "input": [[5, 6, 7]], "encoding_format": "base64", "dimensions": 8}
        answer = http.post("/v1/embeddings", json=body).json()
    vector = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    assert vector.shape == (8,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"input": "a " * 3000}, "input", "reads 1,024"),
        ({"input": [[9_999_999]]}, "input", "does not have"),
        ({"input": []}, "input", ""),
        ({"input": "a", "dimensions": 5_000}, "dimensions", "have 192"),
        ({"input": ["a"] * 3_000}, "input", ""),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_its_place(
    body: dict[str, Any], param: str, said: str, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.post("/embeddings", cast_to=object, body={"model": MODEL, **body})
    assert str(error.value.param).startswith(param)
    assert said in str(error.value)


def test_a_model_that_is_not_there_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="a")


def test_an_upstreams_vectors_pass_through_and_are_counted(
    front: Any, front_client: openai.OpenAI, client: openai.OpenAI
) -> None:
    _, secret = front.instance.store.keys.create("embedding", "test")
    here = front_client.with_options(api_key=secret).embeddings.create(
        model=f"peer/{MODEL}", input=TEXTS, encoding_format="float"
    )
    there = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    assert here.model == f"peer/{MODEL}"
    assert vectors_of(here) == pytest.approx(vectors_of(there))
    with plain(front, secret) as http:
        (spent,) = http.get("/v1/tailor/usage").json()["data"]
    assert spent["prompt_tokens"] == there.usage.prompt_tokens
    assert spent["completion_tokens"] == 0


COSINE: Any = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{ item.text }}",
    "reference": "Where is my parcel?",
    "evaluation_metric": "cosine",
    "pass_threshold": 0.8,
}


def test_a_cosine_grader_compares_by_the_model_that_the_operator_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError, match="--embeddings"):
        client.post("/fine_tuning/alpha/graders/validate", cast_to=object, body={"grader": COSINE})
    monkeypatch.setenv("TAILOR_EMBEDDINGS", MODEL)
    with (
        EmbeddedServer(tmp_path) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as grading,
    ):
        rows: Any = [{"item": {"text": text}} for text in [*TEXTS, ""]]
        schema: Any = {"type": "object", "properties": {"text": {"type": "string"}}}
        made = grading.evals.create(
            data_source_config={"type": "custom", "item_schema": schema}, testing_criteria=[COSINE]
        )
        source: Any = {"type": "jsonl", "source": {"type": "file_content", "content": rows}}
        run = finished(grading, grading.evals.runs.create(made.id, data_source=source))
        items = list(grading.evals.runs.output_items.list(run.id, eval_id=made.id))
    scores = {str(each.datasource_item["text"]): each.results[0].score for each in items}
    assert scores[TEXTS[0]] == pytest.approx(1, abs=1e-3)
    assert scores[""] < scores[TEXTS[1]]  # an empty answer is graded like any other
    assert scores[TEXTS[0]] > scores[TEXTS[1]] > scores[TEXTS[2]]
