"""Models: bases, tuned versions and checkpoints (contract 1.7)."""

from __future__ import annotations

from collections import defaultdict

from tailor.errors import Forbidden, NotFound
from tailor.protocol import ModelDeleted, ModelObject, VersionName, WholeList
from tailor.server.calls import Call, Reading, Writing
from tailor.server.requests import new_router
from tailor.server.translate import base_object, upstream_object, version_object
from tailor.store import Base, Version

router = new_router("models", "/v1/models")


@router.get("")
def list_models(call: Reading) -> WholeList[ModelObject]:
    """Every model that can be asked or trained: bases first, then upstreams', then versions, oldest first."""
    organization = call.services.config.organization
    bases = [base_object(base) for base in call.store.bases.list()]
    bases += [upstream_object(model) for model in call.services.asking.gateway.models]
    standing: dict[str, list[str]] = defaultdict(list)
    for alias in call.store.aliases.list(call.tenant):
        standing[alias.model].append(alias.name)
    versions = [
        version_object(version, organization=organization, aliases=standing[version.id])
        for version in call.store.versions.list(call.tenant)
    ]
    return WholeList(data=bases + versions)


@router.get("/{model:path}")
def retrieve_model(call: Reading, model: str) -> ModelObject:
    """One model; an alias and OpenAI's own names show what stands in for them."""
    upstream = call.services.asking.gateway.find(model)
    if upstream is not None:
        return upstream_object(upstream)
    if VersionName.parse(model):
        found: Version | Base | None = call.store.versions.get(call.tenant, model)
    else:
        found = call.store.aliases.resolve(call.tenant, model)
    if isinstance(found, Version):
        aliases = [alias.name for alias in call.store.aliases.list(call.tenant) if alias.model == found.id]
        organization = call.services.config.organization
        return version_object(found, organization=organization, aliases=aliases)
    return base_object(found or call.store.bases.resolve(model).base)


@router.delete("/{model:path}")
def delete_model(call: Writing, model: str) -> ModelDeleted:
    """Delete a tuned version or checkpoint; the job that made it stays."""
    if not VersionName.parse(model):
        _refuse(call, model)
    call.store.versions.delete(call.tenant, model)
    return ModelDeleted(id=model)


def _refuse(call: Call, model: str) -> None:
    """Say why what is no version cannot be deleted."""
    if call.services.asking.gateway.find(model) is not None:
        raise Forbidden(
            f"{model} belongs to an upstream of this server.",
            param="model",
            remedy="The operator takes models out of the file of upstreams.",
        )
    if call.store.aliases.resolve(call.tenant, model) is not None:
        raise Forbidden(
            f"{model} is an alias, not a model.",
            param="model",
            remedy="DELETE /v1/tailor/aliases/NAME takes it back; the model that it stands for stays.",
        )
    try:
        call.store.bases.get(model)
    except NotFound:
        raise NotFound(
            f"The model {model[:100]!r} does not exist.", param="model", code="model_not_found"
        ) from None
    raise Forbidden(
        f"{model} is a base model of this server.",
        param="model",
        remedy="Only tuned versions can be deleted here; the operator removes bases with `tailor models`.",
    )
