"""Which device is used, and what is said where it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import choose_device, free_device_bytes, native_dtype, peak_device_bytes
from tailor.models.devices import VARIABLE


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def with_cards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_automatic_is_a_card_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, 0)
    assert choose_device() == torch.device("cpu") == choose_device("auto")
    with_cards(monkeypatch, 2)
    assert choose_device() == torch.device("cuda", 0) == choose_device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cpu") == torch.device("cpu")


def test_the_setting_decides_where_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, 2)
    monkeypatch.setenv(VARIABLE, "cuda:1")
    assert choose_device() == torch.device("cuda", 1)
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv(VARIABLE, "cpu")
    assert choose_device() == torch.device("cpu")
    assert free_device_bytes() is None is peak_device_bytes()
    assert native_dtype() in ("float32", "bfloat16")


@pytest.mark.parametrize(
    ("count", "name"), [(0, "cuda"), (0, "cuda:1"), (1, "cuda:1"), (1, "tpu"), (1, "cuda:x")]
)
def test_a_device_that_is_not_there_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, count: int, name: str
) -> None:
    with_cards(monkeypatch, count)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(InvalidRequest) as caught:
        choose_device()
    assert caught.value.code == "device_not_available"
    assert name in caught.value.message and caught.value.remedy


def test_doctor_says_which_device_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tailor.cli import machine

    driver = tmp_path / "version"
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(machine, "_cuda_of_torch", lambda: "12.8")
    assert machine._device(driver).detail == "the processor: no NVIDIA driver"
    monkeypatch.setenv(VARIABLE, "cuda:1")
    assert machine._device(driver).state == "missing"
    driver.touch()
    assert machine._device(driver).detail == "cuda:1, with CUDA 12.8; TAILOR_DEVICE=cuda:1"
    monkeypatch.setenv(VARIABLE, "auto")
    monkeypatch.setattr(machine, "_cuda_of_torch", lambda: None)
    assert machine._device(driver).state == "advice"
    monkeypatch.setenv(VARIABLE, "cpu")
    assert machine._device(driver).state == "ok"


def test_doctor_tells_a_misspelt_device_from_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tailor.cli.machine import _device

    monkeypatch.setenv(VARIABLE, "gpu")
    finding = _device(tmp_path / "version")
    assert (finding.state, finding.detail) == ("missing", "TAILOR_DEVICE=gpu is no device")


@pytest.mark.parametrize("name", ["cuda", "gpu"])
def test_a_server_for_a_device_that_is_not_there_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    from tailor.server import EmbeddedServer

    with_cards(monkeypatch, 0)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(InvalidRequest, match=name), EmbeddedServer(home=tmp_path / "home"):
        pass
    assert not (tmp_path / "home").exists()
