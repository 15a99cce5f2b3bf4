"""Real homes on a real disk, with SQLite and, where its programs are installed, PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tailor.store import Job, JobSpec, Lease, Store, Version, publish_weights, write_directory
from tailor.store.tables import schema

POSTGRES_PROGRAMS = Path("/usr/lib/postgresql")

AddJob = Callable[..., Job]
MakeVersion = Callable[[Lease], Version]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "home", floor_bytes=0)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_database")
    opened = Store.open(tmp_path / "home", database_url=url, floor_bytes=0)
    yield opened
    opened.close()


@pytest.fixture
def add_job() -> AddJob:
    """A job with a file of its own: `add_job(store, tenant="default", **spec)`."""

    def add(store: Store, tenant: str = "default", **spec: object) -> Job:
        file = store.files.add(tenant, data=b"{}\n", filename="train.jsonl", purpose="fine-tune")
        whole = {"requested_model": "gpt-4o-mini", "base": "tiny", "training_file": file.id} | spec
        return store.jobs.add(tenant, JobSpec(**whole))  # type: ignore[arg-type]

    return add


@pytest.fixture
def make_version() -> MakeVersion:
    """Weights in the store and a version for them, as a worker has them just before publishing."""

    def make(lease: Lease, name: str = "ft:tiny:org::Abcdef12", step: int = 3) -> Version:
        directory = lease.directory
        written = write_directory(
            directory, f"final-{name[-8:]}.{lease.token}", {"adapter.safetensors": name.encode()}, {}
        )
        return Version(
            id=name,
            tenant=lease.tenant,
            created_at=1,
            base="tiny",
            base_digest="b" * 64,
            kind="final",
            job_id=lease.job_id,
            step=step,
            digest=publish_weights(directory.parent.parent, written),
            adapter="lora",
            dataset_fingerprint="f" * 64,
            recipe={"rank": 8},
            template_digest="c" * 64,
            software={"torch": "2"},
            metrics={"train_loss": 0.5},
        )

    return make


@pytest.fixture
def train_lease(add_job: AddJob) -> Callable[[Store], Lease]:
    """A job that is already training, and the lease on it."""

    def claim(store: Store) -> Lease:
        job = add_job(store)
        validating = store.queue.claim("validate", "test", job_id=job.id)
        assert validating is not None
        validating.validated()
        lease = store.queue.claim("train", "test", job_id=job.id)
        assert lease is not None
        return lease

    return claim


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The url of a temporary PostgreSQL with our tables in it."""
    programs = sorted(POSTGRES_PROGRAMS.glob("*/bin/initdb"))
    if not programs:
        pytest.skip(f"no PostgreSQL programs under {POSTGRES_PROGRAMS}")
    user = _postgres_user()
    # Not tmp_path: the server's own user must be able to reach it, and socket paths are short.
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    shutil.chown(place, user)
    run = {"user": user, "cwd": place, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
    data = place / "data"
    subprocess.run(
        [programs[-1], "-D", data, "-U", "tailor", "--auth=trust", "--no-sync"],
        check=True,
        capture_output=True,
        **run,  # type: ignore[call-overload]
    )
    control = programs[-1].with_name("pg_ctl")
    options = f"-k {place} -c listen_addresses='' -c fsync=off -c max_connections=50"
    with (place / "log").open("wb") as log:
        subprocess.run(
            [control, "-D", data, "-w", "-o", options, "start"],
            check=True,
            stdout=log,
            stderr=log,
            **run,  # type: ignore[call-overload]
        )
    url = f"postgresql+psycopg://tailor@/postgres?host={place}"
    Store.open(place / "home", database_url=url).close()
    yield url
    subprocess.run(
        [control, "-D", data, "-m", "immediate", "stop"],
        check=True,
        capture_output=True,
        **run,  # type: ignore[call-overload]
    )
    shutil.rmtree(place)


@pytest.fixture
def postgres_database(postgres_server: str) -> str:
    """The url of a database with our tables and nothing in them."""
    engine = create_engine(postgres_server)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(schema.tables)} RESTART IDENTITY CASCADE"))
    engine.dispose()
    return postgres_server


def _postgres_user() -> str:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("running as root, and there is no user 'postgres' to run PostgreSQL as")
