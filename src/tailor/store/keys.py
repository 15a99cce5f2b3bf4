"""API keys: 32 random bytes under a public id; we keep only their hash (reliability R14)."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from pathlib import Path

from sqlalchemy import select

from tailor.errors import NotFound
from tailor.protocol.ids import random_name
from tailor.store.database import Database
from tailor.store.locks import exclusive
from tailor.store.records import Key, to_record
from tailor.store.tables import ACROSS_TENANTS, keys

DEFAULT_TENANT = "default"
_SECRET = re.compile(r"sk-tailor-([A-Za-z0-9]{8})-[A-Za-z0-9_-]{43}")
_KEY_ID = re.compile(r"[A-Za-z0-9]{8}")
_NO_DIGEST = bytes(32)


class Keys:
    """Who may call, and as which tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, tenant: str, name: str) -> tuple[Key, str]:
        """A new key and its secret, `sk-tailor-<id>-<43 characters>`; the secret cannot be had again."""
        key_id = random_name(8)
        secret = f"sk-tailor-{key_id}-{secrets.token_urlsafe(32)}"
        key = Key(
            id=key_id,
            tenant=tenant,
            name=name,
            created_at=int(time.time()),
            revoked_at=None,
            last4=secret[-4:],
        )
        values = {field: getattr(key, field) for field in key.__dataclass_fields__}
        with self._database.write() as connection:
            connection.execute(keys.insert().values(**values, digest=_digest(secret)))
        return key, secret

    def verify(self, secret: str) -> Key | None:
        """The key that this secret belongs to; None when it is unknown, wrong or revoked.

        All three take the same work: one look-up, one hash, one comparison in constant time.
        """
        shape = _SECRET.fullmatch(secret)
        query = select(keys).where(keys.c.id == (shape[1] if shape else ""))
        with self._database.read() as connection:
            row = connection.execute(query, execution_options=ACROSS_TENANTS).mappings().one_or_none()
        expected = _NO_DIGEST if row is None else row["digest"]
        is_right = hmac.compare_digest(_digest(secret), expected)
        if not is_right or row is None or row["revoked_at"] is not None:
            return None
        return to_record(Key, dict(row))

    def list(self, tenant: str) -> tuple[Key, ...]:
        """A tenant's keys, revoked ones too, oldest first."""
        query = select(keys).where(keys.c.tenant == tenant).order_by(keys.c.sequence)
        with self._database.read() as connection:
            return tuple(to_record(Key, dict(row)) for row in connection.execute(query).mappings())

    def revoke(self, tenant: str, key_id: str) -> Key:
        """End a key, from the next request on; raises NotFound. Revoking again changes nothing."""
        mine = (keys.c.tenant == tenant, keys.c.id == key_id)
        with self._database.write() as connection:
            connection.execute(
                keys.update().where(*mine, keys.c.revoked_at.is_(None)).values(revoked_at=int(time.time()))
            )
            row = connection.execute(select(keys).where(*mine)).mappings().one_or_none()
        if row is None or not _KEY_ID.fullmatch(key_id):
            raise NotFound(f"There is no key {key_id[:40]}.", param="id", code="key_not_found")
        return to_record(Key, dict(row))

    def ensure_local(self, path: Path) -> str:
        """The secret in `path`, for the command line on this machine; made (mode 0600) if it is missing."""
        with exclusive(path.with_suffix(".lock")):
            if path.exists():
                secret = path.read_text(encoding="ascii").strip()
                if self.verify(secret) is not None:
                    return secret
            _key, secret = self.create(DEFAULT_TENANT, "local")
            aside = path.with_suffix(".new")
            aside.unlink(missing_ok=True)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as out:
                out.write(secret + "\n")
            aside.rename(path)
        return secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
