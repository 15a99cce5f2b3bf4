"""What a job has made: checkpoints and versions, entered inside the transaction of the job that made them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select

from tailor.store.fence import Fence
from tailor.store.records import Checkpoint, Version, to_record
from tailor.store.tables import checkpoints, versions


def find_checkpoint(connection: Connection, fence: Fence, step: int) -> Checkpoint | None:
    """The checkpoint that the job made at this step, if it did."""
    query = select(checkpoints).where(
        checkpoints.c.tenant == fence.tenant,
        checkpoints.c.job_id == fence.job_id,
        checkpoints.c.step == step,
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else to_record(Checkpoint, dict(row))


def insert_checkpoint(connection: Connection, fence: Fence, checkpoint: Checkpoint) -> None:
    """Enter a checkpoint of the job."""
    values = {field: getattr(checkpoint, field) for field in checkpoint.__dataclass_fields__}
    connection.execute(checkpoints.insert().values(**values, tenant=fence.tenant))


def delete_checkpoint(connection: Connection, fence: Fence, step: int) -> None:
    """Forget the job's checkpoint at this step."""
    connection.execute(
        checkpoints.delete().where(
            checkpoints.c.tenant == fence.tenant,
            checkpoints.c.job_id == fence.job_id,
            checkpoints.c.step == step,
        )
    )


def insert_version(connection: Connection, fence: Fence, version: Version, *, place: str) -> None:
    """Enter a version as the job's own; `place` (`final`, `step-N`) is unique in the job."""
    ours = replace(version, tenant=fence.tenant, job_id=fence.job_id)
    values = {field: getattr(ours, field) for field in ours.__dataclass_fields__}
    connection.execute(versions.insert().values(**values, place=place))
