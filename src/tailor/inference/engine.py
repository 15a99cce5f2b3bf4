"""The words of this room: what is asked of an engine, what it answers, and the seam between the two.

`LocalEngine` is the embedded implementation; a managed or a remote engine would implement the same `Engine`.
Prompts arrive as token ids (rendering belongs to the model's template); a model is named by the digests
of its bytes, so a new version under an old name can never be answered from old weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tailor.errors import TailorError
from tailor.inference.stream import Generation
from tailor.models import Quantization, SavedAdapter

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelKey:
    """Which weights answer: digests, never names."""

    base: str
    """Digest of the base model."""

    version: str | None = None
    """Digest of the trained version's weights; None asks the base itself."""

    kind: Literal["base", "adapter", "full"] = "base"
    """What the version's weights are: nothing, an adapter on the base, or a whole model."""

    quantization: Quantization | None = None
    """How the base was rounded when the adapter was trained on it."""

    @property
    def model(self) -> ModelKey:
        """The key of the whole model that runs: the base for an adapter, else the key itself."""
        return ModelKey(base=self.base, quantization=self.quantization) if self.kind == "adapter" else self

    def __str__(self) -> str:
        digest = self.version or self.base
        return f"{self.kind} {digest[:12]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParameters:
    """How to choose tokens, in OpenAI's meaning of each word (contract 1.8)."""

    max_tokens: int | None = None
    """Most tokens to write; None fills what the context leaves."""

    temperature: float = 1.0
    """0 takes the likeliest token."""

    top_p: float = 1.0
    """Only the likeliest tokens that together reach this mass are drawn from."""

    stop: tuple[str, ...] = ()
    """Up to 4 texts that end the answer; they are not part of it."""

    seed: int | None = None
    """Same seed, same answer, whatever else is in the batch; None draws one."""

    presence_penalty: float = 0.0
    """Subtracted from the logit of every token already written."""

    frequency_penalty: float = 0.0
    """Subtracted from the logit of a token once for every time it was written."""

    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> number added to its logit."""

    top_logprobs: int | None = None
    """None: no log-probabilities; else the chosen token's and this many of the likeliest (0 to 20)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """One prompt to be answered `n` times."""

    model: ModelKey
    prompt_ids: Sequence[int]
    parameters: SamplingParameters = SamplingParameters()
    n: int = 1
    """Answers to write; they share the work on the prompt."""

    stop_ids: tuple[int, ...] = ()
    """Token ids that end an answer beyond the model's own."""

    tenant: str = ""
    """Whose request it is: tenants take turns."""

    queue_seconds: float = 60.0
    """Longest wait for a slot."""

    deadline_seconds: float = 600.0
    """Longest time from submission to the last token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A token and how likely the model held it, before temperature, penalties and bias."""

    token_id: int
    bytes: bytes
    logprob: float

    @property
    def text(self) -> str:
        """The token for people; bytes that are not a whole character are spelled out."""
        return self.bytes.decode(errors="backslashreplace")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob(Candidate):
    """A token of the answer with the likeliest alternatives.

    The `bytes` of an answer's tokens, joined, are exactly the bytes of its text.
    """

    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationChunk:
    """The next piece of one answer."""

    choice: int
    """Which of the `n` answers."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    """Tokens whose text is in this chunk; never an end-of-turn token."""

    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each token id, when asked for."""

    finish_reason: FinishReason | None = None
    """Set on the last chunk of an answer."""

    num_tokens: int = 0
    """On the last chunk: tokens sampled for this answer, the end-of-turn token included."""

    def __add__(self, later: GenerationChunk) -> GenerationChunk:
        """Both pieces as one."""
        return GenerationChunk(
            choice=self.choice,
            text=self.text + later.text,
            token_ids=self.token_ids + later.token_ids,
            logprobs=self.logprobs + later.logprobs,
            finish_reason=later.finish_reason,
            num_tokens=later.num_tokens,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationResult:
    """A whole answer set: what `generate` returns for one request."""

    choices: tuple[GenerationChunk, ...]
    """The `n` answers, each as one chunk."""

    num_prompt_tokens: int
    seconds_to_first_token: float
    seconds: float

    @property
    def text(self) -> str:
        """The first answer."""
        return self.choices[0].text


@dataclass(frozen=True, kw_only=True, slots=True)
class Headroom:
    """What one tenant may still send before it is refused; what is being answered no longer counts."""

    max_requests: int
    """Answers that may wait at once; a request for `n` answers counts as `n`."""

    num_requests: int
    """How many more would be taken now."""

    seconds_to_all_requests: float
    """Until it would be `max_requests` again, going by the last answers."""

    max_tokens: int
    """Prompt tokens that may wait at once, everybody's together."""

    num_tokens: int
    seconds_to_all_tokens: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineHealth:
    """What readiness and metrics look at."""

    is_alive: bool
    """Whether anything would answer a request."""

    progress: int
    """Counts up, several times a second while there is nothing to do and at every run of a model otherwise.

    An engine whose count stands still is stuck.
    """

    running: int
    """Answers being written."""

    queued: int
    """Requests waiting for a slot or for their model to load."""

    queued_prompt_tokens: int
    seconds_since_last_token: float | None
    """Since the last token or, if later, since answers began to run; None before the first."""

    tokens_per_second: float
    """Recent rate over all answers."""

    models: tuple[ModelKey, ...]
    adapters: tuple[ModelKey, ...]
    weights_bytes: int
    cache_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What must be known of a model before it is loaded."""

    context_length: int
    """Most tokens of prompt and answer together."""

    num_bytes: int
    """Memory its weights will take, as well as known."""


class ServedModel(Protocol):
    """A loaded model, as `tailor.models.load_base` returns it."""

    @property
    def model(self) -> Any:
        """A causal `transformers` model on our attention; the engine changes its linear layers."""

    @property
    def tokenizer(self) -> Any:
        """The `PreTrainedTokenizerFast`."""

    @property
    def stop_ids(self) -> Collection[int]:
        """Tokens that end an answer."""


class ModelSource(Protocol):
    """How weights are found; the engine itself knows no paths. Called from loading threads."""

    def facts(self, key: ModelKey) -> ModelFacts:
        """Quick, without loading; raises NotFound for an unknown key."""

    def model(self, key: ModelKey) -> ServedModel:
        """Load a base or a fully trained version."""

    def adapter(self, key: ModelKey) -> SavedAdapter:
        """Read an adapter."""


class Engine(Protocol):
    """The seam: something that turns prompts into answers."""

    def submit(self, request: GenerationRequest) -> Generation:
        """Take a request or raise InvalidRequest, RateLimited or Unavailable at once."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Answer all requests, however many; raises the first error met."""

    def headroom(self, tenant: str) -> Headroom:
        """What a tenant may still send."""

    def health(self) -> EngineHealth:
        """How it is doing."""

    def close(self, *, timeout_seconds: float = 0.0, reason: TailorError | None = None) -> None:
        """Take nothing more, give running answers that long, then end the rest with `reason`; never hangs."""
