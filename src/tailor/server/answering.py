"""Chat requests answered: name to weights, conversation to tokens, tokens to the wire's objects."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from starlette.concurrency import run_in_threadpool

from tailor.errors import InvalidRequest
from tailor.jobs.reward_models import Judge, RewardModels, is_judge
from tailor.protocol import ChatRequest, VersionName, new_id
from tailor.server.conversation import Conversation, read_conversation
from tailor.server.engine import BackgroundEngine
from tailor.store import Base, Store, Version

if TYPE_CHECKING:
    from tailor.inference import Generation, GenerationRequest
    from tailor.models import Template

_CACHED_TEMPLATES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a model name meant when the request came in; it stays that until the answer ends."""

    name: str
    """Shown in the answer."""

    base_digest: str
    version_digest: str | None
    kind: Literal["base", "adapter", "full"]
    quantization: Literal["int8", "nf4"] | None = None
    """How the base was rounded when the version was trained on it."""

    directory: Path
    """Where the tokenizer and the chat template are."""

    judge: Judge | None = None
    """A reward model answers a conversation with one number."""

    @property
    def digest(self) -> str:
        """What answers, by content."""
        return self.version_digest or self.base_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """A request on its way through the engine."""

    id: str
    created: int
    tenant: str
    request: ChatRequest
    target: Target
    conversation: Conversation
    num_prompt_tokens: int
    generation: Generation

    @property
    def fingerprint(self) -> str:
        """The wire's `system_fingerprint`: changes when the weights do."""
        return f"fp_{self.target.digest[:12]}"


class Answering:
    """Takes chat requests in."""

    def __init__(self, store: Store, engine: BackgroundEngine, *, answer_seconds: float) -> None:
        self.store = store
        self.engine = engine
        self.answer_seconds = answer_seconds
        self._prompts = Prompts()
        self._reward_models = RewardModels(store)

    async def begin(self, tenant: str, request: ChatRequest) -> Exchange:
        """Check and queue a request; it is being answered when this returns.

        Raises:
            NotFound: there is no such model.
            InvalidRequest: something is not supported, or prompt and answer do not fit the context.
            RateLimited, Unavailable: the engine has enough to do.
        """
        conversation = read_conversation(request)
        target = await run_in_threadpool(self.resolve, tenant, request.model)
        if target.judge is not None:
            return await run_in_threadpool(self._judged, tenant, request, conversation, target)
        engine = await self.engine.get()
        prompt = await run_in_threadpool(self._prompts.render, target, conversation)
        # Not in a thread: were we cancelled meanwhile, nobody would be left to cancel the generation.
        generation = engine.submit(_to_engine(request, target, prompt, tenant, self.answer_seconds))
        return Exchange(
            id=new_id("completion"),
            created=int(time.time()),
            tenant=tenant,
            request=request,
            target=target,
            conversation=conversation,
            num_prompt_tokens=len(prompt.ids),
            generation=generation,
        )

    def _judged(
        self, tenant: str, request: ChatRequest, conversation: Conversation, target: Target
    ) -> Exchange:
        """The exchange with a reward model, whose answer is there at once."""
        from tailor.inference import Generation, GenerationChunk

        if target.judge is None:
            raise TypeError("only a reward model judges")
        [judged] = self._reward_models.judge(target.judge, [conversation.messages])
        generation = Generation(num_choices=request.n or 1, on_cancel=lambda: None)
        for choice in range(request.n or 1):
            generation.put(
                GenerationChunk(choice=choice, text=judged.text, finish_reason="stop", num_tokens=1)
            )
        return Exchange(
            id=new_id("completion"),
            created=int(time.time()),
            tenant=tenant,
            request=request,
            target=target,
            conversation=conversation,
            num_prompt_tokens=judged.num_tokens,
            generation=generation,
        )

    def resolve(self, tenant: str, name: str) -> Target:
        """The weights behind a name, inside the tenant; raises NotFound.

        An alias is looked up once: whatever becomes of it, the request is answered by what it meant now.
        """
        if VersionName.parse(name):
            found: Version | Base | None = self.store.versions.get(tenant, name)
        else:
            found = self.store.aliases.resolve(tenant, name)
        if isinstance(found, Version):
            return _version_target(self.store, found, self.store.bases.get(found.base))
        return _base_target(found or self.store.bases.resolve(name).base)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Token ids of a conversation, the model to speak next."""

    ids: list[int]
    stop_ids: tuple[int, ...]
    vocabulary_size: int


class Prompts:
    """Renders conversations with the template of their model; templates are read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a tokenizer is not made for two threads at once
        self._templates: dict[str, Template] = {}

    def render(self, target: Target, conversation: Conversation) -> Prompt:
        """The prompt; raises InvalidRequest when the template refuses the conversation."""
        with self._lock:
            template = self._template(target)
            rendered = template.render(conversation.messages, conversation.tools, add_generation_prompt=True)
            return Prompt(
                ids=rendered.ids,
                stop_ids=_end_of_turn(template),
                vocabulary_size=len(template.tokenizer),
            )

    def _template(self, target: Target) -> Template:
        from tailor.models import load_template

        digest = target.digest if target.kind == "full" else target.base_digest
        if digest not in self._templates:
            if len(self._templates) >= _CACHED_TEMPLATES:
                self._templates.pop(next(iter(self._templates)))
            self._templates[digest] = load_template(target.directory)
        return self._templates[digest]


def _end_of_turn(template: Template) -> tuple[int, ...]:
    """The token that the template ends an answer with, when it is a special one."""
    probe = template.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    last = probe.ids[probe.answers[0].end - 1]
    return (last,) if last in template.tokenizer.all_special_ids else ()


def _base_target(base: Base) -> Target:
    return Target(
        name=base.name,
        base_digest=base.digest,
        version_digest=None,
        kind="base",
        directory=Path(base.directory),
    )


def _version_target(store: Store, version: Version, base: Base) -> Target:
    if base.digest != version.base_digest:
        raise InvalidRequest(
            f"The base {base.name} has been replaced since {version.id} was trained on it.",
            param="model",
            code="base_changed",
            remedy="The operator can add the former base again under its name.",
        )
    is_full = version.adapter == "full"
    return replace(
        _base_target(base),
        name=version.id,
        version_digest=version.digest,
        kind="full" if is_full else "adapter",
        quantization=version.recipe.get("quantization"),
        directory=store.weights.path(version.digest) if is_full else Path(base.directory),
        judge=Judge.of(store, version) if is_judge(version) else None,
    )


def _max_tokens(request: ChatRequest) -> int | None:
    return request.max_completion_tokens or request.max_tokens


def _to_engine(
    request: ChatRequest, target: Target, prompt: Prompt, tenant: str, answer_seconds: float
) -> GenerationRequest:
    from tailor.inference import GenerationRequest, ModelKey, SamplingParameters

    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    parameters = SamplingParameters(
        max_tokens=_max_tokens(request),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        stop=stop,
        seed=request.seed,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias=_logit_bias(request, prompt.vocabulary_size),
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    return GenerationRequest(
        model=ModelKey(
            base=target.base_digest,
            version=target.version_digest,
            kind=target.kind,
            quantization=target.quantization,
        ),
        prompt_ids=prompt.ids,
        parameters=parameters,
        n=request.n or 1,
        stop_ids=prompt.stop_ids,
        tenant=tenant,
        deadline_seconds=answer_seconds,
    )


def _logit_bias(request: ChatRequest, vocabulary_size: int) -> dict[int, float]:
    biases = {}
    for key, bias in (request.logit_bias or {}).items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < vocabulary_size):
            raise InvalidRequest(
                f"Invalid value for 'logit_bias': {key[:20]!r} is no token id of this model, which has "
                f"{vocabulary_size} tokens.",
                param="logit_bias",
                code="invalid_value",
            )
        biases[int(key)] = bias
    return biases
