"""What a caller asks of a training run, read from a request: absent and "auto" values are None."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tailor.errors import InvalidRequest
from tailor.models import QUANTIZATIONS, Quantization
from tailor.training.exploration import LOSSES, MAX_GROUP_SIZE

AdapterKind = Literal["lora", "full", "dora", "ia3", "bottleneck", "prefix"]

ADAPTER_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "full": (),
    "lora": ("alpha", "dropout", "rank", "rslora", "targets"),
    "dora": ("alpha", "dropout", "rank", "rslora", "targets"),
    "ia3": ("targets",),
    "bottleneck": ("dropout", "size"),
    "prefix": ("num_virtual_tokens",),
}
"""What may be asked of each kind of adapter."""

_HYPERPARAMETERS = (
    "n_epochs",
    "batch_size",
    "learning_rate_multiplier",
    "beta",
    "compute_multiplier",
    "eval_interval",
    "eval_samples",
    "reasoning_effort",
)
_OPTIONS = (
    "adapter",
    "adapter_scale",
    "average_share",
    "checkpoint_every_steps",
    "decay_share",
    "distillation",
    "dtype",
    "early_stopping",
    "kto",
    "learning_rate",
    "max_context_tokens",
    "max_grad_norm",
    "max_steps",
    "optimizer",
    "preference",
    "quantization",
    "recompute_activations",
    "reinforcement",
    "replay",
    "reward_model",
    "schedule",
    "warmup_share",
    "weight_decay",
)
_PREFERENCE_OPTIONS = ("loss", "margin")
_PREFERENCE_LOSSES = ("hinge", "ipo", "orpo", "sigmoid", "simpo")
_OPINION_OPTIONS = ("desirable_weight", "loss", "undesirable_weight")
_OPINION_LOSSES = ("apo_zero_unpaired", "kto")
_REWARD_OPTIONS = ("center",)
_REPLAY_OPTIONS = ("file", "share")
_STOPPING_OPTIONS = ("every_steps", "patience")
_REPLAY_SHARE = 0.1
_PATIENCE = 3
SIGNALS = ("answers", "logits")
_DISTILLATION_OPTIONS = (
    "beta",
    "max_tokens",
    "own_share",
    "sampling_temperature",
    "signal",
    "temperature",
)
_REINFORCEMENT_OPTIONS = (
    "clip_high",
    "clip_low",
    "group_size",
    "kl",
    "loss",
    "mask_truncated",
    "max_tokens",
    "temperature",
    "updates_per_batch",
)
_ADAPTER_OPTIONS = tuple(sorted({"type"}.union(*ADAPTER_NUMBERS.values())))
_SCHEDULES = ("constant", "cosine", "linear", "wsd")
_OPTIMIZERS = ("adamw", "muon")
_DTYPES = ("bfloat16", "float32")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the caller asked for; None where it is left to us."""

    num_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    learning_rate: float | None = None
    adapter: AdapterKind | None = None
    rank: int | None = None
    alpha: float | None = None
    dropout: float | None = None
    targets: tuple[str, ...] | None = None
    rslora: bool | None = None
    size: int | None = None
    num_virtual_tokens: int | None = None
    quantization: Quantization | None = None
    recompute_activations: bool | None = None
    dtype: str | None = None
    schedule: str | None = None
    warmup_share: float | None = None
    decay_share: float | None = None
    beta: float | None = None
    preference_loss: str | None = None
    preference_margin: float | None = None
    opinion_loss: str | None = None
    desirable_weight: float | None = None
    undesirable_weight: float | None = None
    reward_center: float | None = None
    optimizer: str | None = None
    max_steps: int | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    max_context_tokens: int | None = None
    checkpoint_every_steps: int | None = None
    replay_file: str | None = None
    """Id of a file of general data."""
    replay_share: float | None = None
    """Its part of each epoch; None: nothing is mixed in."""
    patience: int | None = None
    """Of early stopping; None: training goes to its end."""
    look_every_steps: int | None = None
    average_share: float | None = None
    adapter_scale: float | None = None
    """How much of what a LoRA adapter learned is kept."""
    exploration: Mapping[str, Any] = field(default_factory=dict)
    """What is asked of reinforcement, by `Exploration`'s names, and `compute_multiplier`."""

    imitation: Mapping[str, Any] = field(default_factory=dict)
    """What is asked of distillation, by `Imitation`'s names."""
    signal: str | None = None
    """What is learned from a teacher: its answers, or its logits."""

    @classmethod
    def parse(
        cls, hyperparameters: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> Wanted:
        """Read `method.<type>.hyperparameters` and the `tailor` object of a request.

        Raises:
            InvalidRequest: a value outside its bounds (`param` names it), or an unknown option.
        """
        asked = _Fields(hyperparameters or {}, "hyperparameters", _HYPERPARAMETERS)
        ours = _Fields(options or {}, "tailor", _OPTIONS)
        adapter = _Fields(ours.object("adapter"), "tailor.adapter", _ADAPTER_OPTIONS)
        preference = _Fields(ours.object("preference"), "tailor.preference", _PREFERENCE_OPTIONS)
        opinion = _Fields(ours.object("kto"), "tailor.kto", _OPINION_OPTIONS)
        judging = _Fields(ours.object("reward_model"), "tailor.reward_model", _REWARD_OPTIONS)
        replay = _Fields(ours.object("replay"), "tailor.replay", _REPLAY_OPTIONS)
        stopping = _Fields(ours.object("early_stopping"), "tailor.early_stopping", _STOPPING_OPTIONS)
        replay_file, replay_share = replay.text("file"), replay.number("share", 0.0, 0.9)
        if replay_share is not None and replay_file is None:
            raise InvalidRequest(
                "There is a share of general data, but no file of it.",
                param="tailor.replay.file",
                remedy='Give "replay": {"file": "file-...", "share": 0.1}.',
            )
        patience = stopping.whole("patience", 1, 1000)
        taught = _Fields(ours.object("distillation"), "tailor.distillation", _DISTILLATION_OPTIONS)
        kind = adapter.choice("type", tuple(sorted(ADAPTER_NUMBERS)))
        quantization = ours.choice("quantization", QUANTIZATIONS)
        if kind is not None:
            check_adapter(kind, adapter.given() - {"type"}, quantization)
        return cls(
            num_epochs=asked.whole("n_epochs", 1, 50),
            batch_size=asked.whole("batch_size", 1, 256),
            learning_rate_multiplier=asked.number("learning_rate_multiplier", 0.0, 1e4),
            learning_rate=ours.number("learning_rate", 0.0, 1.0),
            adapter=kind,  # type: ignore[arg-type]
            rank=adapter.whole("rank", 1, 128),
            alpha=adapter.number("alpha", 0.0, 1e4),
            dropout=adapter.number("dropout", 0.0, 0.9, or_zero=True),
            targets=adapter.names("targets"),
            rslora=adapter.flag("rslora"),
            size=adapter.whole("size", 1, 1024),
            num_virtual_tokens=adapter.whole("num_virtual_tokens", 1, 256),
            quantization=quantization,  # type: ignore[arg-type]
            recompute_activations=ours.flag("recompute_activations"),
            dtype=ours.choice("dtype", _DTYPES),
            schedule=ours.choice("schedule", _SCHEDULES),
            warmup_share=ours.number("warmup_share", 0.0, 1.0, or_zero=True),
            decay_share=ours.number("decay_share", 0.0, 1.0),
            beta=asked.number("beta", 0.0, 2.0),
            preference_loss=preference.choice("loss", _PREFERENCE_LOSSES),
            preference_margin=preference.number("margin", 0.0, 100.0, or_zero=True),
            opinion_loss=opinion.choice("loss", _OPINION_LOSSES),
            desirable_weight=opinion.number("desirable_weight", 0.0, 100.0, or_zero=True),
            undesirable_weight=opinion.number("undesirable_weight", 0.0, 100.0, or_zero=True),
            reward_center=judging.number("center", 0.0, 10.0, or_zero=True),
            optimizer=ours.choice("optimizer", _OPTIMIZERS),
            max_steps=ours.whole("max_steps", 1, 10**7),
            weight_decay=ours.number("weight_decay", 0.0, 10.0, or_zero=True),
            max_grad_norm=ours.number("max_grad_norm", 0.0, 1e6),
            max_context_tokens=ours.whole("max_context_tokens", 16, 2**20),
            checkpoint_every_steps=ours.whole("checkpoint_every_steps", 1, 10**6),
            replay_file=replay_file,
            replay_share=replay_share or (_REPLAY_SHARE if replay_file else None),
            patience=patience or (_PATIENCE if ours.is_given("early_stopping") else None),
            look_every_steps=stopping.whole("every_steps", 1, 10**6),
            average_share=ours.number("average_share", 0.0, 1.0),
            adapter_scale=ours.number("adapter_scale", 0.0, 1.0),
            exploration=_exploration(asked, ours),
            imitation=_imitation(taught),
            signal=taught.choice("signal", SIGNALS),
        )


def check_adapter(kind: str, numbers: Collection[str], quantization: str | None) -> None:
    """Refuse what a kind of adapter does not have.

    Raises:
        InvalidRequest: says which, and which kinds have it.
    """
    if foreign := sorted(set(numbers) - set(ADAPTER_NUMBERS[kind])):
        owners = [other for other, own in ADAPTER_NUMBERS.items() if foreign[0] in own]
        raise InvalidRequest(
            f"{foreign[0]!r} does not belong to the adapter type {kind!r}.",
            param=f"tailor.adapter.{foreign[0]}",
            remedy=f"Leave it out, or take the type {' or '.join(owners)}.",
        )
    if kind == "full" and quantization is not None:
        raise InvalidRequest(
            "Full training moves all weights, and rounded weights cannot be moved.",
            param="tailor.quantization",
            remedy='Leave it out, or set "adapter": {"type": "lora"}.',
        )


def _exploration(asked: _Fields, ours: _Fields) -> dict[str, Any]:
    tried = _Fields(ours.object("reinforcement"), "tailor.reinforcement", _REINFORCEMENT_OPTIONS)
    found = {
        "loss": tried.choice("loss", LOSSES),
        "kl": tried.number("kl", 0.0, 10.0, or_zero=True),
        "clip_low": tried.number("clip_low", 0.0, 1.0),
        "clip_high": tried.number("clip_high", 0.0, 10.0),
        "group_size": tried.whole("group_size", 2, MAX_GROUP_SIZE),
        "temperature": tried.number("temperature", 0.0, 2.0),
        "max_tokens": tried.whole("max_tokens", 1, 2**17),
        "num_updates": tried.whole("updates_per_batch", 1, 16),
        "mask_truncated": tried.flag("mask_truncated"),
        "compute_multiplier": asked.number("compute_multiplier", 0.00001, 10.0),
        "eval_interval": asked.whole("eval_interval", 1, 10**6),
        "eval_samples": asked.whole("eval_samples", 1, 10**6),
    }
    return {name: value for name, value in found.items() if value is not None}


def _imitation(taught: _Fields) -> dict[str, Any]:
    found = {
        "beta": taught.number("beta", 0.0, 1.0, or_zero=True),
        "temperature": taught.number("temperature", 0.0, 100.0),
        "own_share": taught.number("own_share", 0.0, 1.0, or_zero=True),
        "sampling_temperature": taught.number("sampling_temperature", 0.0, 2.0),
        "max_tokens": taught.whole("max_tokens", 1, 2**17),
    }
    return {name: value for name, value in found.items() if value is not None}


class _Fields:
    """An object of a request, read key by key; "auto" and null count as not given."""

    def __init__(self, values: Mapping[str, Any], path: str, known: tuple[str, ...]) -> None:
        self._values, self._path = values, path
        if unknown := sorted(set(values) - set(known)):
            raise InvalidRequest(
                f"Unknown option {unknown[0]!r}.",
                param=f"{path}.{unknown[0]}",
                code="unknown_parameter",
                remedy=f"Known here: {', '.join(known)}.",
            )

    def given(self) -> set[str]:
        return {name for name, value in self._values.items() if value not in (None, "auto")}

    def is_given(self, name: str) -> bool:
        return name in self.given()

    def text(self, name: str) -> str | None:
        value = self._value(name)
        if value is None or (isinstance(value, str) and 0 < len(value) <= 128):
            return value
        raise self._wrong(name, "the id of a file")

    def object(self, name: str) -> Mapping[str, Any]:
        value = self._values.get(name)
        if value is None or isinstance(value, Mapping):
            return value or {}
        raise self._wrong(name, 'an object such as {"type": "lora"}')

    def whole(self, name: str, low: int, high: int) -> int | None:
        value: int | None = self._value(name)
        if value is None or (type(value) is int and low <= value <= high):
            return value
        raise self._wrong(name, f'a whole number from {low} to {high}, or "auto"')

    def number(self, name: str, above: float, high: float, *, or_zero: bool = False) -> float | None:
        value: float | None = self._value(name)
        if value is None:
            return None
        if type(value) in (int, float) and (above < value <= high or (or_zero and value == 0)):
            return float(value)
        low = "from 0" if or_zero else f"above {above:g}"
        raise self._wrong(name, f'a number {low} up to {high:g}, or "auto"')

    def choice(self, name: str, known: tuple[str, ...]) -> str | None:
        value: str | None = self._value(name)
        if value is None or value in known:
            return value
        raise self._wrong(name, f"one of {', '.join(known)}")

    def flag(self, name: str) -> bool | None:
        value = self._value(name)
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong(name, "true or false")

    def names(self, name: str) -> tuple[str, ...] | None:
        value = self._value(name)
        if value is None:
            return None
        if isinstance(value, list) and 1 <= len(value) <= 32 and all(isinstance(item, str) for item in value):
            return tuple(sorted(set(value)))
        raise self._wrong(name, "a list of one to 32 layer names")

    def _value(self, name: str) -> Any:
        value = self._values.get(name)
        return None if value == "auto" else value

    def _wrong(self, name: str, wanted: str) -> InvalidRequest:
        return InvalidRequest(
            f"{name} is {self._values[name]!r}, but must be {wanted}.", param=f"{self._path}.{name}"
        )
