from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tailor.errors import InvalidRequest
from tailor.models import embedded_directory, fetch, inspect
from tailor.models.tensors import read_header
from tests.models.tiny import tiny_directory


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_directory(tmp_path / "base")


def test_the_embedded_base_passes_its_own_inspection() -> None:
    facts = inspect(embedded_directory())
    assert (facts.model_type, facts.context_length, facts.num_parameters) == ("llama", 1024, 4_721_856)
    assert fetch(str(embedded_directory())) == embedded_directory()


def test_the_digest_covers_every_file_that_is_used(base: Path) -> None:
    before = inspect(base)
    assert inspect(base) == before
    (base / "README.md").write_text("not used")
    assert inspect(base).digest == before.digest
    (base / "chat_template.jinja").write_text("{{ messages }}")
    after = inspect(base)
    assert after.digest != before.digest
    assert after.template_digest != before.template_digest


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
        ("config.json", {"rope_parameters": {"trust_remote_code": True}}),
        ("config.json", {"text": [{"_target_": "os.system"}]}),
        ("config.json", {"target": "os.system"}),
        ("config.json", {"_attn_implementation_internal": "evil/kernel"}),
        ("config.json", {"custom_pipelines": {}}),
        ("config.json", {"model_type": "lightglue\nimport os"}),
        ("config.json", {"quantization_config": {"bits": 4}}),
        ("config.json", {"hidden_size": True}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
        ("generation_config.json", {"trust_remote_code": True}),
    ],
)
def test_code_in_a_config_is_refused(base: Path, file: str, changes: dict[str, Any]) -> None:
    path = base / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InvalidRequest) as caught:
        inspect(base)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"]
)
def test_an_incomplete_directory_is_refused(base: Path, name: str) -> None:
    (base / name).unlink()
    with pytest.raises(InvalidRequest):
        inspect(base)


def test_pickled_weights_are_refused_by_name(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(InvalidRequest, match="could run code"):
        inspect(base)


def _file(path: Path, header: Any, body: bytes = b"", *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + body)
    return path


def _entry(begin: Any = 0, end: Any = 8, dtype: str = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"\x80\x04pickle", b""),
        (b"[]", b""),
        (b"[" * 100_000, b""),
        ({"a": _entry()}, b"\0" * 7),
        ({"a": _entry()}, b"\0" * 9),
        ({"a": _entry(), "b": _entry(4, 12)}, b"\0" * 12),
        ({"a": _entry(), "b": _entry(12, 20)}, b"\0" * 20),
        ({"a": _entry(shape=(3,))}, b"\0" * 8),
        ({"a": _entry(shape=(-2,))}, b"\0" * 8),
        ({"a": _entry(shape=(2**62, 4))}, b"\0" * 8),
        ({"a": _entry(-8, 0)}, b""),
        ({"a": _entry(0.0, 8)}, b"\0" * 8),
        ({"a": _entry(True, 8)}, b"\0" * 8),
        ({"a": _entry(dtype="PICKLE")}, b"\0" * 8),
        ({"a": {"dtype": "F32"}}, b""),
        ({"a": 1}, b""),
    ],
)
def test_a_lying_safetensors_header_is_refused(tmp_path: Path, header: Any, body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_header(_file(tmp_path / "x.safetensors", header, body))
    assert caught.value.code == "unsafe_weights"


@pytest.mark.parametrize("length", [0, 2**24 + 1, 2**63])
def test_a_header_length_beyond_reason_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(InvalidRequest):
        read_header(_file(tmp_path / "x.safetensors", {"a": _entry()}, b"\0" * 8, length=length))


def test_an_honest_header_is_read(tmp_path: Path) -> None:
    header = {"b": _entry(8, 12, "BF16", (1, 2)), "a": _entry(), "__metadata__": {"format": "pt"}}
    entries = read_header(_file(tmp_path / "x.safetensors", header, b"\0" * 12))
    assert {name: (entry.dtype, entry.shape) for name, entry in entries.items()} == {
        "a": ("F32", (2,)),
        "b": ("BF16", (1, 2)),
    }


def test_a_path_that_is_no_model_is_answered_with_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match="neither a directory") as caught:
        fetch("/no/such/directory")
    assert caught.value.param == "model"
