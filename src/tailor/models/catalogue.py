"""Bases an operator may add: what a model directory holds, or why it is refused (reliability R1, R2).

Only data is accepted: safetensors weights, a config without code in it, a fast tokenizer and a chat
template. Nothing here loads the model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailor.errors import InvalidRequest
from tailor.models._digests import file_digest
from tailor.models.tensors import read_header

EMBEDDED_BASE = "tailor-mini-2"
"""Catalogue name of the base that ships inside the package."""

EMBEDDED_FAMILY = "tailor-mini-"
"""What the names of all bases begin with that ship now, did or will: a home renews them by itself."""

MODEL_TYPES = frozenset(
    {
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "llama",
        "mistral",
        "olmo2",
        "qwen2",
        "qwen3",
        "smollm3",
    }
)
"""Architectures whose packed attention is tested against transformers' own."""

_FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model")
_CODE_KEYS = re.compile(
    r"auto_map|trust_remote_code|target|.*_target.*|custom_pipelines|_attn_implementation.*"
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.gguf", "*.nemo", "*.h5", "*.msgpack")


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseFacts:
    """What is known of a model directory without loading it."""

    digest: str
    """SHA-256 (hex) over the names and digests of all files that are used."""

    template_digest: str
    """SHA-256 (hex) of the chat template's text."""

    model_type: str
    """Architecture, one of `MODEL_TYPES`."""

    context_length: int
    """Most tokens the model was built for."""

    hidden_size: int
    """Width of the residual stream."""

    num_layers: int
    """Number of transformer blocks."""

    vocab_size: int
    """Rows of the output layer."""

    num_parameters: int
    """Numbers in the safetensors files."""

    size_bytes: int
    """Bytes of the safetensors files."""

    intermediate_size: int
    """Width inside the feed-forward part."""

    num_heads: int
    """Query heads."""

    num_kv_heads: int
    """Key and value heads."""

    head_dim: int
    """Width of a head."""

    num_linear: int
    """Numbers in the matrices of the blocks: what nearly all arithmetic is done with."""

    linear_features: int
    """Inputs and outputs of those matrices together: an adapter of rank r adds r numbers for each."""

    @property
    def parameters(self) -> int:
        """The same as `num_parameters`."""
        return self.num_parameters


def embedded_directory() -> Path:
    """Where the embedded base lies."""
    return Path(__file__).parent / "embedded"


def require_own_name(name: str) -> None:
    """Raise InvalidRequest if a base of the user's would be taken for one that ships with tailor."""
    if name.startswith(EMBEDDED_FAMILY):
        raise InvalidRequest(
            f"'{name[:100]}' is kept for a base that ships with tailor.",
            param="name",
            remedy=f"Choose a name that does not begin with '{EMBEDDED_FAMILY}'.",
        )


def inspect(directory: Path) -> BaseFacts:
    """Facts of a model directory.

    Raises:
        InvalidRequest: something in it could carry code, or a needed file is missing; says which.
    """
    directory = Path(directory)
    config = read_json(directory / "config.json")
    _check_config(config)
    for name in ("tokenizer_config.json", "generation_config.json"):
        if (directory / name).exists():
            _refuse_code(read_json(directory / name), name)
    if not (directory / "tokenizer.json").is_file():
        raise _refused("tokenizer.json is missing", "Save the tokenizer in the fast format.")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        found = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
        reason = f"weights as {found[0]} could run code" if found else "there are no safetensors weights"
        raise _refused(reason, "Save the model with save_pretrained(), which writes safetensors.")
    entries = {name: entry for path in weights for name, entry in read_header(path).items()}
    matrices = [entry for name, entry in entries.items() if ".layers." in name and len(entry.shape) == 2]
    hidden_size = _whole(config, "hidden_size")
    return BaseFacts(
        digest=directory_digest(directory),
        template_digest=hashlib.sha256(read_template(directory).encode()).hexdigest(),
        model_type=config["model_type"],
        context_length=_whole(config, "max_position_embeddings"),
        hidden_size=hidden_size,
        num_layers=_whole(config, "num_hidden_layers"),
        vocab_size=_whole(config, "vocab_size"),
        num_parameters=sum(entry.num_elements for entry in entries.values()),
        size_bytes=sum(path.stat().st_size for path in weights),
        intermediate_size=config.get("intermediate_size") or 4 * hidden_size,
        num_heads=(num_heads := config.get("num_attention_heads") or 1),
        num_kv_heads=config.get("num_key_value_heads") or num_heads,
        head_dim=config.get("head_dim") or hidden_size // num_heads,
        num_linear=sum(entry.num_elements for entry in matrices),
        linear_features=sum(sum(entry.shape) for entry in matrices),
    )


def fetch(path_or_hub_id: str) -> Path:
    """A local model directory, as given or downloaded from the Hugging Face hub (data files only).

    Raises:
        InvalidRequest: it is neither a directory nor a model that the hub will give us.
    """
    directory = Path(path_or_hub_id).expanduser()
    if directory.is_dir():
        return directory.resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path_or_hub_id, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise InvalidRequest(
            f"{path_or_hub_id!r} is neither a directory here nor a model the hub gave us: {error}",
            param="model",
            remedy="Check the spelling and the connection, or download the model and give its directory.",
        ) from error


def read_template(directory: Path) -> str:
    """Source of the directory's chat template: chat_template.jinja, else the tokenizer config's entry."""
    file = directory / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = read_json(directory / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        raise _refused(
            "it has no chat template",
            "Add chat_template.jinja, or take the instruction-tuned release of the model.",
        )
    return template


def directory_digest(directory: Path) -> str:
    """SHA-256 (hex) over name and content of every file that loading may read."""
    total = hashlib.sha256()
    for path in used_files(directory):
        total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def used_files(directory: Path) -> list[Path]:
    """The files of a model directory that loading may read, by name."""
    return sorted(path for pattern in _FILES for path in directory.glob(pattern) if path.is_file())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model directory."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _refused(f"{path.name} is missing", "Give the directory of a complete model.") from error
    except (ValueError, RecursionError) as error:
        raise _refused(f"{path.name} is not JSON", "Download the model again.") from error
    if not isinstance(value, dict):
        raise _refused(f"{path.name} is not a JSON object", "Download the model again.")
    return value


def _check_config(config: dict[str, Any]) -> None:
    _refuse_code(config, "config.json")
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        raise _refused(
            f"architecture {str(model_type)[:40]!r} is not supported",
            f"Take a model of one of these: {', '.join(sorted(MODEL_TYPES))}.",
        )
    if "quantization_config" in config:
        raise _refused("its weights are quantised", "Take the release in bf16, fp16 or fp32.")


def _refuse_code(value: Any, name: str) -> None:
    for key in _keys(value):
        if _CODE_KEYS.fullmatch(key):
            raise _refused(f"{name} names code ({key!r})", "Remove the key if transformers knows the model.")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _whole(config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise _refused(f"config.json has no usable {key!r}", "Download the model again.")
    return value


def _refused(reason: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(
        f"This model cannot be added: {reason}.", param="model", code="model_refused", remedy=remedy
    )
