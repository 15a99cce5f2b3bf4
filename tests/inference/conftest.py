"""A real small model, served; and the same model under transformers to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tailor.inference import EngineLimits, LocalEngine
from tailor.models import LoadedModel, embedded_directory, load_base
from tests.inference.shop import Shop, random_adapter


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    """The embedded base; tests do not change it."""
    return load_base(embedded_directory())


@pytest.fixture(scope="session")
def oracle() -> Any:
    """The embedded base as transformers runs it."""
    return AutoModelForCausalLM.from_pretrained(embedded_directory(), dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def shop(loaded: LoadedModel) -> Shop:
    """A source with the embedded base and three adapters of different ranks and layers."""
    return Shop(
        adapters={
            "small": random_adapter(loaded, rank=4, seed=1),
            "large": random_adapter(loaded, rank=16, seed=2),
            "partial": random_adapter(loaded, rank=8, seed=3, only="q_proj", scale=0.5),
        }
    )


@pytest.fixture(scope="session")
def engine(shop: Shop) -> Iterator[LocalEngine]:
    """One engine for all tests that leave it as they found it."""
    with LocalEngine(shop, EngineLimits(max_running=16)) as engine:
        yield engine
