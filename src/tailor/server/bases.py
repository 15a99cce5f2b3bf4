"""The base model that ships inside the package, so that nothing need be downloaded."""

from __future__ import annotations

from tailor.store import Store


def add_first_base(store: Store) -> None:
    """Enter the embedded base into an empty catalogue; removed from a full one it stays away."""
    if not store.bases.list():
        _enter(store)


def renew_embedded_base(store: Store) -> None:
    """Bring the embedded base's entry up to date, as after an upgrade of the package."""
    from tailor.models import EMBEDDED_BASE, embedded_directory, inspect

    for base in store.bases.list():
        if base.name == EMBEDDED_BASE and (
            base.directory != str(embedded_directory()) or base.digest != inspect(embedded_directory()).digest
        ):
            _enter(store)


def _enter(store: Store) -> None:
    from tailor.models import EMBEDDED_BASE, embedded_directory, inspect

    facts = inspect(embedded_directory())
    store.bases.add(
        name=EMBEDDED_BASE,
        directory=str(embedded_directory()),
        digest=facts.digest,
        template_digest=facts.template_digest,
        context_length=facts.context_length,
        parameters=facts.num_parameters,
        model_type=facts.model_type,
    )
