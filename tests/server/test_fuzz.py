"""Requests generated from our own OpenAPI document against the real server: no 5xx, and no lie in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tailor.server import EmbeddedServer
from tailor.store import Job, Store
from tests.server.making import add_run, finish_job

CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"


def fuzz(server: EmbeddedServer, job: Job, directory: Path, *, examples: int, seed: int) -> int:
    """Run schemathesis over every operation, with so many examples for each; how many requests it made."""
    root = server.base_url.removesuffix("/v1")
    eval_id, run_id, item_id = add_run(server.instance.store, job.tenant)
    names = {
        "job_id": job.id,
        "file_id": job.training_file,
        "model": job.fine_tuned_model,
        "eval_id": eval_id,
        "run_id": run_id,
        "item_id": item_id,
    }
    lines = [f'"path.{name}" = "{value}"' for name, value in names.items()]
    (directory / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines]))
    finished = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            "run",
            f"{root}/openapi.json",
            "--url",
            root,
            "--header",
            f"Authorization: Bearer {server.api_key}",
            "--checks",
            CHECKS,
            "--no-shrink",
            "--mode",
            "all",
            "--max-examples",
            str(examples),
            "--seed",
            str(seed),
            "--workers",
            "1",  # hypothesis trips over an error of Python 3.11 with more threads
            "--request-timeout",
            "60",
            "--generation-database",
            "none",
            "--no-color",
        ],
        cwd=directory,
        env=os.environ
        | {
            "NO_PROXY": "127.0.0.1",
            "SCHEMATHESIS_HOOKS": "tests.server.fuzz_hooks",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "FUZZ_FILE": job.training_file,
        },
        capture_output=True,
        text=True,
        timeout=1200,
    )
    report = finished.stdout + finished.stderr
    assert finished.returncode == 0, report[-6000:]
    made = re.search(r"(\d+) generated", report)
    assert made, report[-6000:]
    return int(made[1])


def test_generated_requests_find_no_server_error(
    server: EmbeddedServer, store: Store, tmp_path: Path
) -> None:
    assert fuzz(server, finish_job(store, "default"), tmp_path, examples=1, seed=1) >= 250


@pytest.mark.slow
def test_many_generated_requests_find_no_server_error(
    server: EmbeddedServer, store: Store, tmp_path: Path
) -> None:
    assert fuzz(server, finish_job(store, "default"), tmp_path, examples=100, seed=2) >= 2500
