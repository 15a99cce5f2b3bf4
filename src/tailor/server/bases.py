"""The base model that ships inside the package, so that nothing need be downloaded.

A home keeps a copy of its own: versions trained on it must answer after the package has been upgraded to a
better one.
"""

from __future__ import annotations

from pathlib import Path

from tailor.store import Store


def add_first_base(store: Store) -> None:
    """Enter the embedded base into an empty catalogue; removed from a full one it stays away."""
    if not store.bases.list():
        _enter(store, *_embedded(store))


def renew_embedded_base(store: Store) -> None:
    """Bring the entries of embedded bases up to date.

    After an upgrade of the package its base stands beside the one that came before it, and is the default if
    that one was; versions stay with the base they were trained on. A home that was moved takes its copies
    along.
    """
    from tailor.models import EMBEDDED_BASE, EMBEDDED_FAMILY

    known = [base for base in store.bases.list() if base.name.startswith(EMBEDDED_FAMILY)]
    for base in known:
        own = store.own_base(base.name)
        if base.name != EMBEDDED_BASE and own.is_dir() and base.directory != str(own):
            _enter(store, base.name, own)
    names = {base.name: base for base in known}
    if EMBEDDED_BASE in names:
        if names[EMBEDDED_BASE].directory != str(store.own_base(EMBEDDED_BASE)):
            _enter(store, *_embedded(store))
    elif known:
        _enter(store, *_embedded(store), make_default=any(base.is_default for base in known))


def _embedded(store: Store) -> tuple[str, Path]:
    from tailor.models import EMBEDDED_BASE, embedded_directory
    from tailor.models.catalogue import used_files

    return EMBEDDED_BASE, store.keep_base(EMBEDDED_BASE, used_files(embedded_directory()))


def _enter(store: Store, name: str, directory: Path, *, make_default: bool = False) -> None:
    from tailor.models import inspect

    facts = inspect(directory)
    store.bases.add(
        name=name,
        directory=str(directory),
        digest=facts.digest,
        template_digest=facts.template_digest,
        context_length=facts.context_length,
        parameters=facts.num_parameters,
        model_type=facts.model_type,
        make_default=make_default,
    )
