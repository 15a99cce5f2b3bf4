"""Where the engine finds weights: digests looked up in the store. Imported once torch is wanted."""

from __future__ import annotations

from pathlib import Path

from tailor.errors import InvalidRequest, NotFound
from tailor.inference import ModelFacts, ModelKey, ServedModel
from tailor.models import SavedAdapter, load_base, make_dense, native_dtype, read_adapter
from tailor.models.loading import DTYPES
from tailor.store import Base, Store


class StoredWeights:
    """A `ModelSource` over the catalogue of bases and the published weights."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.dtype = native_dtype()
        self._bases: dict[str, Base] = {}

    def facts(self, key: ModelKey) -> ModelFacts:
        """Context length and size, without loading."""
        base = self._base(key)
        if key.kind == "adapter":
            num_bytes = sum(path.stat().st_size for path in self._directory(key).glob("*.safetensors"))
        else:
            num_bytes = base.parameters * DTYPES[self.dtype].itemsize
        return ModelFacts(context_length=base.context_length, num_bytes=num_bytes)

    def model(self, key: ModelKey) -> ServedModel:
        """Load a base or a fully trained version; raises InvalidRequest when a base's files have changed."""
        loaded = load_base(self._directory(key), dtype=self.dtype, quantization=key.quantization)
        make_dense(loaded.model)  # rounded weights held whole: many times faster token by token
        if key.kind == "base" and loaded.digest != key.base:
            raise InvalidRequest(
                f"The files of the base {self._base(key).name} have changed since it was added.",
                param="model",
                code="base_changed",
                remedy="The operator can add it again: tailor models add NAME PATH.",
            )
        return loaded

    def adapter(self, key: ModelKey) -> SavedAdapter:
        """Read an adapter."""
        return read_adapter(self._directory(key))

    def _directory(self, key: ModelKey) -> Path:
        return self.store.weights.path(key.version) if key.version else Path(self._base(key).directory)

    def _base(self, key: ModelKey) -> Base:
        if key.base not in self._bases:
            # A digest means the same for ever, so what was found once need not be asked again.
            self._bases |= {base.digest: base for base in self.store.bases.list()}
        if key.base in self._bases:
            return self._bases[key.base]
        raise NotFound(
            "The base of this model is no longer in the catalogue.",
            param="model",
            code="base_not_found",
            remedy="The operator can add it again: tailor models add NAME PATH.",
        )
