"""The operator's verbs that need no server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Tailor


def test_a_new_key_is_alone_on_standard_output(tailor: Tailor) -> None:
    result = tailor("keys", "create", "--name", "laptop")
    assert result.exit_code == 0
    [key] = result.stdout.split("\n")[:-1]
    assert key.startswith("sk-tailor-")
    assert key not in result.stderr


def test_a_key_can_be_found_and_revoked(tailor: Tailor) -> None:
    made = json.loads(tailor("keys", "create", "--name", "laptop", "--json").stdout)
    [listed] = json.loads(tailor("keys", "list", "--json").stdout)
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (made["id"], "laptop", None)
    assert made["key"] not in json.dumps(listed)
    assert tailor("keys", "revoke", made["id"]).exit_code == 0
    [listed] = json.loads(tailor("keys", "list", "--json").stdout)
    assert listed["revoked_at"]
    assert "revoked" in tailor("keys", "list").stdout


def test_an_unknown_key_cannot_be_revoked(tailor: Tailor) -> None:
    result = tailor("keys", "revoke", "nothing")
    assert result.exit_code == 2
    assert "no key nothing" in result.stderr


def test_home_decides_which_keys(tailor: Tailor, tmp_path: Path) -> None:
    tailor("keys", "create", "--home", tmp_path / "one")
    assert json.loads(tailor("keys", "list", "--home", tmp_path / "two", "--json").stdout) == []


def test_the_doctor_reports_this_machine(tailor: Tailor) -> None:
    found = json.loads(tailor("doctor", "--json").stdout)
    names = {finding["name"] for finding in found["findings"]}
    assert {"python", "training packages", "processor", "memory", "disk", "database", "home"} <= names
    assert found["ok"] is True
    assert tailor("doctor").exit_code == 0


def test_the_doctor_needs_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; from tailor.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["findings"]
