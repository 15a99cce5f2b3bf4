"""Which weights are in memory: loaded on demand in threads of their own, the least recently used leave first.

Everything here but the loading itself happens on the engine's thread. A lease pins the weights of one
request; leases of the same weights share one load, and a load that fails fails them all, while the next
request tries again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tailor.errors import Internal, TailorError
from tailor.inference.adapters import Adapter
from tailor.inference.engine import ModelKey, ModelSource
from tailor.inference.runner import Runner

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Resident:
    """Weights in memory or on their way there."""

    key: ModelKey
    num_bytes: int = 0
    pins: int = 0
    used_at: int = 0
    future: Future[Runner | Adapter] | None = None
    value: Runner | Adapter | None = None
    error: TailorError | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Weights held for one request."""

    residents: tuple[Resident, ...]
    """The model, then the adapter if there is one."""

    @property
    def error(self) -> TailorError | None:
        """Why they could not be loaded."""
        return next((resident.error for resident in self.residents if resident.error), None)

    @property
    def is_ready(self) -> bool:
        """Everything is loaded."""
        return all(resident.value is not None for resident in self.residents)

    @property
    def runner(self) -> Runner | None:
        """The loaded model."""
        value = self.residents[0].value
        return value if isinstance(value, Runner) else None

    @property
    def adapter(self) -> Adapter | None:
        """The loaded adapter."""
        value = self.residents[-1].value
        return value if isinstance(value, Adapter) else None


class Residency:
    """All weights of an engine."""

    def __init__(
        self,
        source: ModelSource,
        make_runner: Callable[[ModelKey], Runner],
        *,
        budget_bytes: int,
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._make_runner = make_runner
        self._budget_bytes = budget_bytes
        self._wake = wake
        self._residents: dict[ModelKey, Resident] = {}
        self._clock = itertools.count(1)
        self._loading = ThreadPoolExecutor(max_workers=2, thread_name_prefix="tailor-load")

    @property
    def num_bytes(self) -> int:
        """Memory of all loaded weights, and what is reserved for loads under way."""
        return sum(resident.num_bytes for resident in list(self._residents.values()))

    @property
    def runners(self) -> list[Runner]:
        """All loaded models."""
        values = (resident.value for resident in self._residents.values())
        return [value for value in values if isinstance(value, Runner)]

    def keys(self, *, adapters: bool) -> tuple[ModelKey, ...]:
        """What is loaded: adapters or models."""
        return tuple(
            resident.key
            for resident in list(self._residents.values())
            if resident.value is not None and (resident.key.kind == "adapter") == adapters
        )

    def reserve(self, key: ModelKey) -> Lease:
        """Pin weights, wanting them loaded if they are not."""
        keys = (key.model, key) if key.kind == "adapter" else (key,)
        residents = tuple(self._residents.setdefault(each, Resident(key=each)) for each in keys)
        for resident in residents:
            resident.pins += 1
            resident.used_at = next(self._clock)
        return Lease(residents)

    def release(self, lease: Lease) -> None:
        """Unpin; the weights stay until their place is needed."""
        for resident in lease.residents:
            resident.pins -= 1
            if not resident.pins and resident.future is None and resident.value is None:
                self._forget(resident)

    def turn(self, *, is_idle: bool) -> None:
        """Collect finished loads and start those there is room for; when idle, one even without room."""
        for resident in list(self._residents.values()):
            if resident.future is not None and resident.future.done():
                self._collect(resident)
        for resident in list(self._residents.values()):
            if resident.future is None and resident.value is None and resident.error is None:
                is_loading = any(other.future is not None for other in self._residents.values())
                self._start(resident, must=is_idle and not is_loading)

    def close(self) -> None:
        """Start no more loads."""
        self._loading.shutdown(wait=False, cancel_futures=True)

    def _start(self, resident: Resident, *, must: bool) -> None:
        runner: Runner | None = None
        if resident.key.kind == "adapter":
            model = self._residents.get(resident.key.model)
            if model is None or model.value is None:
                return  # its model comes first; should that fail, the lease says so
            runner = model.value if isinstance(model.value, Runner) else None
        try:
            num_bytes = self._source.facts(resident.key).num_bytes
        except Exception as error:
            self._fail(resident, error)
            return
        if not self._make_room(num_bytes) and not must:
            return
        resident.num_bytes = num_bytes
        resident.future = self._loading.submit(self._load, resident.key, runner)
        resident.future.add_done_callback(lambda _: self._wake())

    def _load(self, key: ModelKey, runner: Runner | None) -> Runner | Adapter:
        return self._make_runner(key) if runner is None else runner.mixture.prepare(self._source.adapter(key))

    def _collect(self, resident: Resident) -> None:
        future, resident.future = resident.future, None
        error = future.exception() if future is not None else None
        if error is not None:
            self._fail(resident, error)
        elif future is not None:
            resident.value = future.result()
            resident.num_bytes = resident.value.num_bytes

    def _fail(self, resident: Resident, error: BaseException) -> None:
        _log.error("loading %s failed", resident.key, exc_info=error)
        if not isinstance(error, TailorError):
            error = Internal(f"loading the weights of {resident.key} failed: {type(error).__name__}")
        resident.error = error
        self._forget(resident)

    def _make_room(self, num_bytes: int) -> bool:
        """Let unpinned weights go, oldest first, until so many bytes fit."""
        for resident in sorted(self._residents.values(), key=lambda resident: resident.used_at):
            if self.num_bytes + num_bytes <= self._budget_bytes:
                return True
            if not resident.pins and resident.value is not None:
                self._forget(resident)
        return self.num_bytes + num_bytes <= self._budget_bytes

    def _forget(self, resident: Resident) -> None:
        if self._residents.get(resident.key) is resident:
            del self._residents[resident.key]
        if isinstance(resident.value, Adapter):
            model = self._residents.get(resident.key.model)
            if model is not None and isinstance(model.value, Runner):
                model.value.mixture.forget(resident.value)
        if isinstance(resident.value, Runner):
            # Adapters are prepared for the model that leaves: they go with it.
            for other in list(self._residents.values()):
                if other.key.kind == "adapter" and other.key.model == resident.key:
                    self._forget(other)
