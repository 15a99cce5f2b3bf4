"""Bases, keys and stored completions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailor.errors import InvalidRequest, NotFound
from tailor.store import NO_METADATA, Base, Store


def add_base(store: Store, name: str, *, make_default: bool = False) -> Base:
    return store.bases.add(
        name=name,
        directory=f"/models/{name}",
        digest="d" * 64,
        template_digest="t" * 64,
        context_length=512,
        parameters=1000,
        model_type="llama",
        make_default=make_default,
    )


def test_the_first_base_is_the_default_until_another_is_chosen(store: Store) -> None:
    assert store.bases.default() is None
    add_base(store, "tiny")
    add_base(store, "org/large")
    assert [(base.name, base.is_default) for base in store.bases.list()] == [
        ("tiny", True),
        ("org/large", False),
    ]
    store.bases.set_default("org/large")
    assert [base.is_default for base in store.bases.list()] == [False, True]
    store.bases.remove("org/large")
    default = store.bases.default()
    assert default is not None and default.name == "tiny"
    with pytest.raises(NotFound):
        store.bases.set_default("org/large")


def test_adding_a_base_again_renews_it(store: Store) -> None:
    first = add_base(store, "tiny")
    again = store.bases.add(
        name="tiny",
        directory="/elsewhere",
        digest="e" * 64,
        template_digest="t" * 64,
        context_length=1024,
        parameters=1000,
        model_type="llama",
    )
    assert (again.created_at, again.is_default, again.context_length) == (first.created_at, True, 1024)
    assert len(store.bases.list()) == 1


@pytest.mark.parametrize(
    "name", ["gpt-4o-mini", "gpt-4.1-nano-2025-04-14", "o4-mini", "davinci-002", "babbage-002"]
)
def test_openai_names_mean_the_default_base(store: Store, name: str) -> None:
    with pytest.raises(NotFound):
        store.bases.resolve(name)
    base = add_base(store, "tiny")
    resolved = store.bases.resolve(name)
    assert (resolved.base, resolved.is_alias) == (base, True)
    assert store.bases.resolve("tiny").is_alias is False
    own = add_base(store, name)
    assert (store.bases.resolve(name).base, store.bases.resolve(name).is_alias) == (own, False)


@pytest.mark.parametrize(
    "name", ["claude", "gpt", "../gpt-4o", "gpt-4o/../../x", "/etc/passwd", "", "GPT-4O\n"]
)
def test_other_names_mean_nothing(store: Store, name: str) -> None:
    add_base(store, "tiny")
    with pytest.raises(NotFound) as missing:
        store.bases.resolve(name)
    assert missing.value.code == "model_not_found"


def test_a_base_has_a_plain_name(store: Store) -> None:
    with pytest.raises(InvalidRequest):
        add_base(store, "../evil name")


def test_a_key_opens_only_with_its_whole_secret(store: Store) -> None:
    key, secret = store.keys.create("default", "laptop")
    other, _secret = store.keys.create("acme", "ci")
    assert secret.startswith(f"sk-tailor-{key.id}-") and len(secret) == len("sk-tailor-") + 8 + 1 + 43
    assert store.keys.verify(secret) == key and key.last4 == secret[-4:]
    for wrong in (
        secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        secret.replace(key.id, other.id),
        secret.replace(key.id, "zzzzzzzz"),
        secret + "x",
        "",
        "sk-x",
        "sk-\udc80",
        "ключ",
    ):
        assert store.keys.verify(wrong) is None
    assert secret not in (store.home / "tailor.db").read_bytes().decode("latin-1")


def test_a_revoked_key_opens_nothing(store: Store) -> None:
    key, secret = store.keys.create("default", "old")
    revoked = store.keys.revoke("default", key.id)
    assert revoked.revoked_at is not None and store.keys.revoke("default", key.id) == revoked
    assert store.keys.verify(secret) is None
    assert store.keys.list("default") == (revoked,)
    with pytest.raises(NotFound):
        store.keys.revoke("default", "nosuchid")


def test_the_local_key_is_made_once_and_is_private(store: Store) -> None:
    path = store.home / "local.key"
    with ThreadPoolExecutor(4) as pool:
        secrets = set(pool.map(lambda _n: store.keys.ensure_local(path), range(8)))
    assert len(secrets) == 1 and path.stat().st_mode & 0o777 == 0o600
    key = store.keys.verify(secrets.pop())
    assert key is not None and key.tenant == "default"
    store.keys.revoke("default", key.id)
    assert store.keys.verify(store.keys.ensure_local(path)) is not None


def test_the_local_key_of_another_database_is_replaced(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "local.key"
    path.write_text("sk-tailor-AAAAAAAA-" + "a" * 43)
    assert store.keys.verify(store.keys.ensure_local(path)) is not None


def add_completion(
    store: Store, number: int, metadata: dict[str, str] | None = None, model: str = "tiny"
) -> str:
    return store.completions.add(
        "default",
        completion_id=f"chatcmpl-{number}",
        model=model,
        metadata=metadata,
        messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": f"{number}?"}],
        answer={"id": f"chatcmpl-{number}", "choices": []},
    ).id


def test_stored_completions_are_paged_and_filtered(any_store: Store) -> None:
    store = any_store
    first = add_completion(store, 1, {"topic": "a"})
    second = add_completion(store, 2, {"topic": "b"}, model="ft:tiny:org::Abcdef12")
    third = add_completion(store, 3)

    def ids(**filters: object) -> list[str]:
        return [item.id for item in store.completions.list("default", **filters).items]  # type: ignore[arg-type]

    assert ids() == [first, second, third] and ids(order="desc") == [third, second, first]
    assert ids(after=first, limit=1) == [second] and ids(after=third) == []
    assert ids(model="tiny") == [first, third] and ids(metadata={"topic": "a"}) == [first]
    assert ids(metadata=NO_METADATA) == [third]
    store.completions.update_metadata("default", first, {"topic": "b"})
    assert ids(metadata={"topic": "b"}) == [first, second] and ids(metadata={"topic": "a"}) == []
    store.completions.delete("default", first)
    assert ids() == [second, third]
    with pytest.raises(NotFound):
        store.completions.get("default", first)


def test_the_messages_of_a_completion_have_ids(store: Store) -> None:
    name = add_completion(store, 1)
    page = store.completions.messages("default", name, limit=1)
    assert page.has_more and page.items[0] == {"role": "system", "content": "be brief", "id": f"{name}-0"}
    rest = store.completions.messages("default", name, after=page.items[0]["id"])
    assert [item["content"] for item in rest.items] == ["1?"] and not rest.has_more
    assert [item["id"] for item in store.completions.messages("default", name, order="desc").items] == [
        f"{name}-1",
        f"{name}-0",
    ]
    assert store.completions.messages("default", name, after="no-such").items == ()
