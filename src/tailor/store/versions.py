"""Trained models by name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, select

from tailor.errors import InvalidRequest, NotFound
from tailor.protocol.names import VersionName
from tailor.store.database import Database
from tailor.store.records import TERMINAL, JsonObject, Version, to_record
from tailor.store.tables import ACROSS_TENANTS, aliases, jobs, versions
from tailor.store.weights import Weights


class Versions:
    """A tenant's trained models, finals and checkpoints alike."""

    def __init__(self, database: Database, weights: Weights) -> None:
        self._database = database
        self._weights = weights

    def get(self, tenant: str, name: str) -> Version:
        """The version of this name; raises NotFound."""
        with self._database.read() as connection:
            return find_version(connection, tenant, name)

    def list(self, tenant: str) -> tuple[Version, ...]:
        """All of a tenant's versions, oldest first."""
        query = select(versions).where(versions.c.tenant == tenant).order_by(versions.c.sequence)
        with self._database.read() as connection:
            return tuple(to_record(Version, dict(row)) for row in connection.execute(query).mappings())

    def of_job(self, tenant: str, job_id: str) -> tuple[Version, ...]:
        """The versions that one job made, oldest first."""
        query = (
            select(versions)
            .where(versions.c.tenant == tenant, versions.c.job_id == job_id)
            .order_by(versions.c.sequence)
        )
        with self._database.read() as connection:
            return tuple(to_record(Version, dict(row)) for row in connection.execute(query).mappings())

    def delete(self, tenant: str, name: str) -> None:
        """Forget a version, and its weights unless another version has the same; its job stays.

        Raises NotFound, or InvalidRequest while an alias stands for it or a job that has not ended trains on
        from it.
        """
        with self._weights.guard():
            with self._database.write() as connection:
                version = find_version(connection, tenant, name, lock=True)
                _refuse_if_in_use(connection, tenant, name)
                connection.execute(
                    versions.delete().where(versions.c.tenant == tenant, versions.c.id == name)
                )
            with self._database.read() as connection:
                if version.digest not in _digests(connection):
                    self._weights.remove(version.digest)

    def proof(self, tenant: str, name: str) -> JsonObject | None:
        """The before-and-after evaluation, if there is one; raises NotFound."""
        return self.get(tenant, name).proof

    def set_proof(self, tenant: str, name: str, proof: JsonObject) -> Version:
        """Attach the evaluation that was made of the version; raises NotFound."""
        with self._database.write() as connection:
            find_version(connection, tenant, name, lock=True)
            connection.execute(
                versions.update()
                .where(versions.c.tenant == tenant, versions.c.id == name)
                .values(proof=proof)
            )
            return find_version(connection, tenant, name)

    def sweep(self) -> None:
        """Remove weights older than a day that no version names (what a crash left unpublished)."""
        with self._weights.guard(), self._database.read() as connection:
            for digest in self._weights.orphans(_digests(connection)):
                self._weights.remove(digest)


def find_version(connection: Connection, tenant: str, name: str, *, lock: bool = False) -> Version:
    """A tenant's version; unknown and foreign names are the same NotFound."""
    if VersionName.parse(name) is not None:
        query = select(versions).where(versions.c.tenant == tenant, versions.c.id == name)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is not None:
            return to_record(Version, dict(row))
    raise model_not_found(name)


def model_not_found(name: str) -> NotFound:
    """The one answer for a model that is not there, or not yours."""
    return NotFound(f"The model '{name[:200]}' does not exist.", param="model", code="model_not_found")


def _refuse_if_in_use(connection: Connection, tenant: str, name: str) -> None:
    standing = select(aliases.c.name).where(aliases.c.tenant == tenant, aliases.c.model == name)
    alias: str | None = connection.scalar(standing.order_by(aliases.c.name).limit(1))
    if alias is not None:
        raise InvalidRequest(
            f"The alias {alias} stands for {name}.",
            param="model",
            code="model_in_use",
            remedy=f"Move it first (`tailor promote OTHER --as {alias}` or `tailor rollback {alias}`), or "
            f"remove it (`tailor aliases remove {alias}`).",
        )
    query = select(jobs.c.id).where(
        and_(jobs.c.tenant == tenant, jobs.c.parent == name, jobs.c.status.not_in(TERMINAL))
    )
    job_id: Any = connection.scalar(query.limit(1))
    if job_id is not None:
        raise InvalidRequest(
            f"Job {job_id} trains on from {name}.",
            param="model",
            code="model_in_use",
            remedy="Cancel the job first, or wait for its end.",
        )


def _digests(connection: Connection) -> set[str]:
    query = select(versions.c.digest).distinct()
    return set(connection.execute(query, execution_options=ACROSS_TENANTS).scalars())
