"""`tailor base create`: from a plan to a base in the catalogue, and on after a stop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tailor.cli import app
from tailor.models import embedded_directory

RECIPE = Path(__file__).parents[2] / "recipes" / "base" / "tailor-mini-2.toml"

PLAN = """
name = "little"
seed = 3
validation = "valid.jsonl"

[tokenizer]
vocab_size = 270
files = ["train.jsonl"]

[shape]
num_layers = 2
hidden_size = 32
mlp_size = 48
num_heads = 2
num_key_heads = 1
context_length = 64

[[stages]]
name = "plain"
files = ["train.jsonl"]
hyperparameters = { batch_size = 8 }
tailor = { optimizer = "muon", learning_rate = 5e-3, dtype = "float32", max_steps = 12 }

[[stages]]
name = "end"
files = ["train.jsonl"]
tailor = { schedule = "linear", learning_rate = 2e-3, dtype = "float32", max_steps = 4 }
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    rows = [{"text": f"The {animal} saw {n} boats."} for animal in ("fox", "owl", "hen") for n in range(60)]
    for name, part in (("train", rows[5:]), ("valid", rows[:5])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def run(plan: Path, *more: str) -> str:
    home = plan.parent / "home"
    command = ["base", "create", str(plan), "-o", str(plan.parent / "work"), "--home", str(home), *more]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_plan_becomes_a_base_and_running_it_again_changes_nothing(plan: Path) -> None:
    output = run(plan, "--threads", "1")
    assert "1-plain: step 12/12" in output
    assert "2-end: step 4/4" in output
    assert "little is added" in output
    weights = plan.parent / "work" / "2-end" / "model" / "model.safetensors"
    before = weights.read_bytes()
    again = run(plan)
    assert "step" not in again
    assert weights.read_bytes() == before


def test_the_recipe_of_the_shipped_base_makes_one_of_its_shape(plan: Path) -> None:
    shortened = re.sub(r"max_steps = \d+", "max_steps = 1", RECIPE.read_text())
    start = RECIPE.parent / "tailor-mini-1"
    plan.write_text(shortened.replace('base = "tailor-mini-1"', f'base = "{start}"'))
    for name in ("plain", "mixed"):
        (plan.parent / f"{name}.jsonl").write_bytes((plan.parent / "train.jsonl").read_bytes())
    run(plan, "--threads", "1")
    made, shipped = plan.parent / "work" / "4-chat" / "model", embedded_directory()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        assert (made / name).read_bytes() == (shipped / name).read_bytes(), name
    weights = "model.safetensors"
    assert (made / weights).stat().st_size == (shipped / weights).stat().st_size


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ('name = "x"\n[[stages]]\nname="a"\nfiles=[]\n', "where the base starts from"),
        ("name = \n", "not a TOML file"),
        (PLAN.replace("seed = 3", "sed = 3"), "sed"),
        (PLAN.replace('"little"', '"tailor-mini-3"'), "kept for a base that ships"),
        (PLAN.replace('["train.jsonl"]\ntailor', '["gone.jsonl"]\ntailor'), "There is no file"),
        (PLAN.replace('"linear"', '"slow"'), "schedule is 'slow'"),
        ('name = "x"\n[start]\nbase = "nowhere"\n[[stages]]\nname="a"\nfiles=[]\n', "There is no base in"),
    ],
)
def test_a_wrong_plan_is_one_sentence(plan: Path, wrong: str, says: str) -> None:
    plan.write_text(wrong)
    result = CliRunner().invoke(app, ["base", "create", str(plan), "-o", str(plan.parent / "work")])
    assert result.exit_code == 2
    assert says in result.output
