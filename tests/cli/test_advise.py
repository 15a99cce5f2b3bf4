"""`tailor advise` as a user has it: the embedded base, a file, a page in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tailor.advise.verdict import Circumstances
from tailor.client import Endpoint
from tests.cli.conftest import Tailor, mail, write_rows
from tests.cli.test_embedded import WORDS, mails
from tests.client.stub import Asked, Stub, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def quickly(*more: str | Path) -> tuple[str | Path, ...]:
    """The options of the quickest study."""
    return ("--quick", "--max-steps", "2", "--no-questions", *more)


def test_one_study_from_file_to_page(tailor: Tailor, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "mails.jsonl", [*mails(60), "no JSON"])
    page, home = tmp_path / "page.html", tmp_path / "home"
    done = tailor("advise", data, *quickly("--html", page, "--volume", "30k", "--home", home, "--json"))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)

    # What was said before the run, and how it went.
    assert "60 examples, 1 line refused; classification with 2 labels" in done.stderr
    assert "With 15 held-out items you can see" in done.stderr
    assert "about" in done.stderr and "on one free core" in done.stderr
    assert found["parts"] == {"train": 39, "development": 6, "held_out": 15}

    # The arms, all on the same items.
    arms = {arm["arm"]["name"]: arm for arm in found["arms"]}
    assert {
        "lookup, examples",
        "classical",
        "prompt",
        "structured",
        "few-shot, similar",
        "tuned on 39",
    } == set(arms)
    assert all(len(arm["runs"][0]) == 15 for arm in arms.values())
    assert arms["classical"]["quality"] == 1.0
    tuned = arms["tuned on 39"]
    assert tuned["setup"]["trained_tokens"] > 0 and tuned["made"].startswith("ft:")
    sent = arms["few-shot, similar"]["shown"][0]["sent"]
    assert [turn["role"] for turn in sent][:2] == ["user", "assistant"]

    # The verdict: the words tell the class, so nothing is tuned.
    verdict = found["verdict"]
    assert verdict["arm"] in ("classical", "lookup, examples")
    assert verdict["headline"].startswith("Do not fine-tune")
    assert any("p < 0.001" in line for line in verdict["because"])
    assert any("30,000 requests a month" in line for line in verdict["costs"])
    assert any("4.7 M parameters" in line for line in verdict["would_change_if"])
    barred = {each["arm"]: each["reason"] for each in verdict["barred"]}
    assert "too few to train on" in barred["tuned on 39"]
    assert found["learning_curves"][0]["of"] == "classical"

    # A second run measures nothing again; other conditions give another verdict over the same figures.
    again = tailor("advise", data, *quickly("--needs-sources", "--home", home))
    assert again.exit_code == 0, again.output
    assert "▸ lookup, examples" in again.stdout and "cannot say where an answer is from" in again.stdout
    assert all(len(line) <= 120 for line in again.stdout.split("\n")[5:])
    _look_at(page, tmp_path)


def _look_at(page: Path, folder: Path) -> None:
    """In a real browser: drawn by it, nothing loaded, nothing run."""
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html and "http" not in html.split("<body>")[1].split("</body>")[0]
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
    ]
    drawn = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert drawn.count("<svg") == 3 and drawn.count("<details") > 5
    assert "What was sent, word for word" in drawn and "classical" in drawn


def wise(asked: Asked) -> tuple[int, Any]:
    """A model elsewhere that knows the task, and keeps to a form that it is given."""
    text = asked.body["messages"][-1]["content"]
    label = "order" if any(word in text for word in WORDS["order"]) else "spam"
    answer = json.dumps({"label": label}) if "response_format" in asked.body else f"{label.upper()}."
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
    usage = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}
    fixed = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "wise"}
    return 200, fixed | {"choices": [choice], "usage": usage}


@pytest.mark.slow
def test_a_strong_model_elsewhere_is_asked_and_teaches(tailor: Tailor, tmp_path: Path) -> None:
    data, home = write_rows(tmp_path / "mails.jsonl", mails(100)), tmp_path / "home"
    home.mkdir()
    with serving(Stub()) as stub:
        stub.on("POST", "/chat/completions", wise)
        (home / "upstreams.toml").write_text(
            f'[lab]\nbase_url = "{stub.base_url}"\n'
            '[lab.models."wise"]\ninput_price = 4.0\noutput_price = 8.0\n'
        )
        options = quickly("--models", "lab/wise", "--volume", "1M/day", "--home", home)
        private = tailor("advise", data, *options, "--privacy", "local")
        assert private.exit_code == 2 and "nothing is sent to lab/wise" in private.stderr
        done = tailor("advise", data, *options, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    arms = {arm["arm"]["name"]: arm for arm in found["arms"]}
    assert arms["prompt · lab/wise"]["quality"] == 1.0
    assert arms["structured · lab/wise"]["shown"][0]["answer"].startswith('{"label"')
    assert "held the answers to their form" in arms["structured · lab/wise"]["notes"][0]
    assert arms["prompt · lab/wise"]["cost"]["thousand"]["value"] == "0.216000"
    taught = arms["distilled from lab/wise"]
    assert taught["setup"]["teacher_prompt_tokens"] == 50 * taught["arm"]["size"]
    assert "100.0% right by your own" in taught["notes"][-1]
    # The words tell the class as well as the strong model does, but 25 items cannot show it.
    verdict = found["verdict"]
    assert verdict["arm"] == "prompt · lab/wise"
    assert "At 30,416,667 requests a month: USD 6,570.00 a month." in verdict["costs"]
    assert any("is as good here and would save USD 6,5" in line for line in verdict["would_change_if"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--task", "poetry"), "There are classification, extraction"),
        (("--knowledge-changes", "hourly"), "There are never, monthly, weekly, daily"),
        (("--privacy", "none"), "Write local or any"),
        (("--volume", "many"), "says no number"),
        (("--documents", "absent"), "There is no folder absent"),
        (("--html", "absent/page.html"), "There is no folder absent"),
        (("--output", "absent"), "absent"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_run(
    tailor: Tailor, tmp_path: Path, options: tuple[str, str], said: str
) -> None:
    data = tmp_path / "mails.csv"
    data.write_text("text,label\n" + "".join(f"mail number {number},spam\n" for number in range(30)))
    result = tailor("advise", data, "--no-questions", *options)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split()), result.output
    assert "Traceback" not in result.output and "Started a server" not in result.stderr


def test_too_little_to_measure_is_said(tailor: Tailor, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "few.jsonl", [mail(f"mail {number}", "spam") for number in range(12)])
    result = tailor("advise", data)
    assert result.exit_code == 2 and "12 different sound examples" in result.stderr


def test_private_texts_are_sent_nowhere(tailor: Tailor, tmp_path: Path) -> None:
    from tailor.cli.advise import _base, _named
    from tailor.errors import InvalidRequest
    from tailor.protocol import ModelObject

    class Known(Endpoint):
        def model(self, name: str) -> ModelObject:
            return ModelObject(id=name, created=0, owned_by="lab", tailor={"kind": "upstream"})

    with pytest.raises(InvalidRequest, match="cannot be tuned here"):
        _base(Known("http://127.0.0.1:9/v1", "none"), "lab/strong")
    endpoint = Known("http://127.0.0.1:9/v1", "none")
    with pytest.raises(InvalidRequest, match="nothing is sent to lab/strong"):
        _named(endpoint, "lab/strong", Circumstances(is_private=True), option="--models")
    assert [
        model.id for model in _named(endpoint, "lab/strong, lab/small", Circumstances(), option="--models")
    ] == [
        "lab/strong",
        "lab/small",
    ]
