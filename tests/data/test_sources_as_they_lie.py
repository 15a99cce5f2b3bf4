"""Real data sets as they lie there: each is read, or one sentence says which mapping to give."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailor.data.rows import Mapping, Row, open_source
from tailor.errors import InvalidRequest

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")

READ = {
    "bitext_support_intents": 6480,
    "dolly": 1000,
    "email_router": 4357,
    "gsm8k": 7473,
    "hh_harmless": 1499,
    "probes": 7092,
    "scan": 16728,
    "sgd_dialogues": 384,
    "sms_spam": 5549,
    "bitext_support_intents/data/dev": 810,
    "clinc150/data_full.json": 15000,
    "clinc150/data_small.json": 7500,
    "e2e_dev_test/devset.csv": 4672,
    "e2e_dev_test/testset_w_refs.csv": 4693,
    "scan/simple_split/tasks_test_simple.txt": 4182,
}
"""Rows that come out without a word from anybody."""

ASKED = {
    "geography_sql/geography.json": 877,
    "geography_sql/restaurants.json": 378,
    "medquad": 16407,
    "model_written_evals": 4000,
    "mts_dialog": 1201,
    "snips_slots": 15883,
    "wikisql": 80654,
}
"""Rows that come out with the options that the sentence proposes."""

REFUSED = ("blimp", "clinc150", "clinc150/domains.json", "e2e_dev_test", "e2e_dev_test/testset.csv")
"""Where there is more than one way to go on."""


def present(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is missing")
    return DATA / name


@pytest.mark.parametrize("name", READ)
def test_most_need_no_mapping(name: str) -> None:
    source = open_source(present(name))
    assert sum(isinstance(item, Row) for item in source.rows()) == READ[name]


@pytest.mark.parametrize("name", [name for name in ASKED if name not in ("medquad", "wikisql")])
def test_the_options_that_a_sentence_proposes_work(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_source(present(name))
    assert is_one_sentence(caught.value)
    source = open_source(DATA / name, mapping=proposed(caught.value))
    assert sum(isinstance(item, Row) for item in source.rows()) == ASKED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medquad", "wikisql"])
def test_the_options_work_on_large_archives(name: str) -> None:
    test_the_options_that_a_sentence_proposes_work(name)


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_source(present(name))
    assert is_one_sentence(caught.value)


def files() -> Iterator[Path]:
    about = ("readme", "license", "source", "tags")
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and not path.name.lower().startswith(about) and path.stat().st_size < 4_000_000:
            yield path


@pytest.mark.parametrize("path", list(files()), ids=lambda path: path.relative_to(DATA).as_posix())
def test_every_single_file_is_read_or_refused_in_words(path: Path) -> None:
    try:
        source = open_source(path)
    except InvalidRequest as error:
        assert is_one_sentence(error)
    else:
        assert isinstance(next(source.rows()), Row)


def is_one_sentence(error: InvalidRequest) -> bool:
    return error.message.endswith(".") and len(re.findall(r"[.!?] [A-Z]", error.message)) == 0


def proposed(error: InvalidRequest) -> Mapping:
    options = shlex.split(error.message.partition("for example ")[2].removesuffix("."))
    given = dict(zip(options[::2], options[1::2], strict=True))
    return Mapping(each=given.get("--each"), input=(given["--input"],), output=given["--output"])
