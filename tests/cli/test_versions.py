"""The verbs about versions, by hand as people type them: list, show, diff, compare, promote, back again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailor.server import EmbeddedServer
from tests.cli.conftest import Tailor, write_rows
from tests.evals.test_promotion import BAD, GOOD, NOTHING, proof
from tests.server.making import finish_job


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a good version and a bad one, on which a server runs."""
    home = tmp_path_factory.mktemp("versions")
    with EmbeddedServer(home) as server:
        store = server.instance.store
        for suffix, results in (("good", GOOD), ("bad", BAD)):
            job = finish_job(store, "default", suffix=suffix)
            made = proof(NOTHING, results).model_copy(update={"base": "tailor-mini-2"})
            store.versions.set_proof("default", str(job.fine_tuned_model), made.model_dump(mode="json"))
        yield home


def test_versions_are_listed_shown_tagged_and_held_against_each_other(tailor: Tailor, home: Path) -> None:
    listed = json.loads(tailor("versions", "--home", home, "--json").stdout)
    assert [one["kind"] for one in listed] == ["version", "version"]
    good = listed[0]["id"]
    assert tailor("versions", "tag", "good", "mail", "--home", home).exit_code == 0
    assert tailor("versions", "note", "good", "keep this", "--home", home).exit_code == 0
    shown = tailor("versions", "show", good.split(":")[-1], "--home", home)
    assert shown.exit_code == 0, shown.output
    for text in (good, "mail", "keep this", "seed", "training file", "Before and after"):
        assert text in shown.stdout
    table = tailor("versions", "--home", home, "--tag", "mail").stdout
    assert ":good:" in table and ":bad:" not in table
    changes = json.loads(tailor("versions", "diff", "good", "bad", "--home", home, "--json").stdout)
    assert "seed" in changes["differences"] and "base_digest" not in changes["differences"]


def test_promotion_refusal_force_and_rollback(tailor: Tailor, home: Path) -> None:
    assert "prod stands for" in tailor("promote", "good", "--as", "prod", "--home", home).stdout
    refused = tailor("promote", "bad", "--as", "prod", "--home", home)
    assert refused.exit_code == 1 and "is not promoted" in refused.stdout
    assert "is worse than" in refused.stdout and "--force --reason" in refused.stdout
    as_json = tailor("promote", "bad", "--as", "prod", "--home", home, "--json")
    assert json.loads(as_json.stdout)["gate"]["verdict"] == "worse"
    without = tailor("promote", "bad", "--as", "prod", "--force", "--home", home)
    assert without.exit_code == 2 and "needs a reason" in without.stderr
    forced = tailor("promote", "bad", "--as", "prod", "--force", "--reason", "a test", "--home", home)
    assert "Forced: a test" in forced.stdout
    back = tailor("rollback", "prod", "--home", home)
    assert "again" in back.stdout
    shown = tailor("aliases", "show", "prod", "--home", home).stdout
    assert "rolled back to" in shown and "(forced)" in shown and "because: a test" in shown
    assert "prod" in tailor("aliases", "--home", home).stdout
    assert tailor("aliases", "remove", "prod", "--home", home).exit_code == 0
    assert "No aliases yet" in tailor("aliases", "--home", home).stdout


def test_models_are_compared_side_by_side(tailor: Tailor, home: Path, tmp_path: Path) -> None:
    cases = write_rows(
        tmp_path / "cases.jsonl",
        [
            {"messages": [{"role": "user", "content": f"say {n}"}], "expected_patterns": ["e"]}
            for n in range(6)
        ],
    )
    page = tmp_path / "page.html"
    models = ("tailor-mini-2", "good", "bad")
    options = ("--data", cases, "--max-tokens", "6", "--home", home)
    result = tailor("compare", *models, *options, "--html", page)
    assert result.exit_code == 0, result.output
    assert "95 % interval" in result.stdout and "fixed" in result.stdout and ":bad:" in result.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    found = json.loads(tailor("compare", *models[:2], *options, "--json").stdout)
    assert found["status"] == "completed" and found["num_items"] == 6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("promote", "nothing", "--as", "prod"), "does not exist"),
        (("promote", "good", "--as", "gpt-4o"), "a name of OpenAI's"),
        (("rollback", "prod2"), "There is no alias"),
        (("compare", "good"), "at least 2"),
        (("compare", "good", "bad"), "was proven on"),
        (("versions", "show", "nothing"), "does not exist"),
        (("compare", "good", "bad", "--data", "no/such/file"), "no/such/file"),
        (("reproduce", "nothing"), "does not exist"),
    ],
)
def test_what_is_asked_wrongly_is_answered_in_one_sentence(
    tailor: Tailor, home: Path, words: tuple[str, ...], sentence: str
) -> None:
    result = tailor(*words, "--home", home)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr and "Traceback" not in result.output
