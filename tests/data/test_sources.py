"""Whatever people have becomes the same rows."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tailor.data.problems import Problem
from tailor.data.rows import Form, Mapping, Row, open_source
from tailor.errors import InvalidRequest
from tests.data.making import (
    PAIRS,
    WRITERS,
    chat,
    delimited,
    jsonl,
    problems,
    rows,
    tarred,
    values,
    zipped,
)

CHATS = [chat(*pair) for pair in PAIRS]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows_as_often_as_it_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path, PAIRS)
    source = open_source(path)
    for _ in range(2):
        found = [item for item in source.rows() if isinstance(item, Row)]
        assert [row.value for row in found] == CHATS
        assert not [
            item for item in source.rows() if isinstance(item, Problem) and item.severity == "blocking"
        ]
    assert source.form is Form.CHAT


@pytest.mark.parametrize("name", ["table.csv", "rows.jsonl", "pretty.json", "table.tsv"])
def test_lines_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path, PAIRS)
    text = path.read_bytes().split(b"\n")
    for row, (asked, _) in zip(rows(path), PAIRS, strict=True):
        start = asked.split("\n")[0].split('"')[0].strip()
        around = b"\n".join(text[row.line - 1 : row.line + 1]).decode()
        assert start in around or json.dumps(start)[1:-1] in around


def test_a_row_that_is_openais_already_comes_as_it_stands(tmp_path: Path) -> None:
    flawed = {"messages": [{"role": "wizard", "content": 5}], "id": 7}
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl([CHATS[0], CHATS[1], flawed]))
    assert values(path) == [CHATS[0], CHATS[1], flawed]
    assert open_source(path).mapping.how == "OpenAI chat"


def test_a_headerless_table_is_told_by_its_values(tmp_path: Path) -> None:
    path = tmp_path / "collection"
    path.write_text(
        'ham\t"Hi" there\nspam\tWIN!!! "now\nham\tok, then\nspam\tcall 08\nham\tlater\n', encoding="utf-8"
    )
    source = open_source(path)
    assert (source.mapping.input, source.mapping.output) == (("column2",), "column1")
    assert values(path)[:2] == [chat('"Hi" there', "ham"), chat('WIN!!! "now', "spam")]


def test_quotes_in_tab_separated_text_enclose_cells_only_where_they_must(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text('text\tlabel\n"a\tb ""c"""\tyes\nplain\tno\n', encoding="utf-8")
    assert values(path)[0] == chat('a\tb "c"', "yes")


def test_labelled_lines_are_a_table(tmp_path: Path) -> None:
    path = tmp_path / "tasks.txt"
    path.write_text(
        "".join(f"IN: walk {n} times OUT: WALK{n}\n" for n in range(30)) + "oops\n", encoding="utf-8"
    )
    assert values(path)[7] == chat("walk 7 times", "WALK7")
    assert [problem.line for problem in problems(path)] == [31]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "a", "response": "b", "id": 3}, chat("a", "b")),
        ({"text": "a", "label": 1, "source": "s"}, chat("a", "1")),
        ({"Question": "a", "Answer": "b"}, chat("a", "b")),
        ({"instruction": "a", "context": "c", "response": "b"}, chat("a\n\nc", "b")),
        ({"question": "a", "context": "c", "answer": "b"}, chat("a\n\nc", "b")),
        ({"query": "a", "choices": ["x", "y"], "gold": 1}, chat("a", "y")),
        (
            {"system": "s", "question": "a", "answer": "b"},
            {"messages": [{"role": "system", "content": "s"}, *chat("a", "b")["messages"]]},
        ),
        ({"utterance": "a", "intent": {"name": "x"}, "label": "y"}, chat("a", "y")),
        (
            {"turns": [{"speaker": "USER", "utterance": "a"}, {"speaker": "SYSTEM", "utterance": "b"}]},
            chat("a", "b"),
        ),
        (
            {
                "request": {"messages": [{"role": "user", "content": "a"}]},
                "response": {
                    "choices": [{"message": {"role": "assistant", "content": "b", "refusal": None}}]
                },
            },
            chat("a", "b"),
        ),
        (
            {
                "object": "chat.completion",
                "messages": [{"role": "user", "content": "a"}],
                "choices": [{"message": {"content": "b", "role": "assistant"}}],
            },
            chat("a", "b"),
        ),
        (
            {
                "object": "eval.run.output_item",
                "sample": {
                    "input": [{"role": "user", "content": "a"}],
                    "output": [{"role": "assistant", "content": "b"}],
                },
            },
            chat("a", "b"),
        ),
    ],
)
def test_known_columns_need_no_mapping(
    record: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl([record] * 4))
    assert values(path)[0] == expected


def test_a_conversation_of_chatgpts_own_export_is_the_branch_seen_last(tmp_path: Path) -> None:
    def node(parent: str | None, role: str, text: str) -> dict[str, Any]:
        return {"parent": parent, "message": {"author": {"role": role}, "content": {"parts": [text]}}}

    nodes = {
        "a": node(None, "system", ""),
        "b": node("a", "user", "hi"),
        "c": node("b", "assistant", "no"),
        "d": node("b", "assistant", "hello"),
    }
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([{"title": "t", "mapping": nodes, "current_node": "d"}]), encoding="utf-8")
    assert values(path) == [chat("hi", "hello")]


def test_tool_calls_of_sharegpt_become_openais(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Rain?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Ulm"}}'},
        {"from": "observation", "value": "yes"},
        {"from": "gpt", "value": "Yes."},
        {"from": "human", "value": "Thanks"},
    ]
    path = tmp_path / "x.json"
    tools = json.dumps([{"name": "weather", "parameters": {"type": "object"}}])
    path.write_text(
        json.dumps([{"conversations": turns, "tools": tools, "system": "S"}] * 2), encoding="utf-8"
    )
    (row, _) = values(path)
    assert [message["role"] for message in row["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert row["messages"][2]["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"city": "Ulm"}',
    }
    assert row["messages"][3]["tool_call_id"] == row["messages"][2]["tool_calls"][0]["id"]
    assert row["tools"][0]["function"]["name"] == "weather"
    assert {problem.code for problem in problems(path)} == {"trailing_question_left_out"}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        {"chosen": chat("a", "b")["messages"], "rejected": chat("a", "c")["messages"]},
        {
            "prompt": [{"role": "user", "content": "a"}],
            "chosen": [{"role": "assistant", "content": "b"}],
            "rejected": [{"role": "assistant", "content": "c"}],
        },
    ],
)
def test_pairs_become_openais_preference_form(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl([record] * 3))
    assert values(path)[0] == {
        "input": {"messages": [{"role": "user", "content": "a"}]},
        "preferred_output": [{"role": "assistant", "content": "b"}],
        "non_preferred_output": [{"role": "assistant", "content": "c"}],
    }
    assert values(path, form=Form.CHAT)[0] == chat("a", "b")


def test_what_the_user_says_overrules_the_guess(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label,other\na,0,x\nb,1,y\nc,1,y\n", encoding="utf-8")
    given = Mapping(output="other", system="S")
    assert values(path, mapping=given)[0]["messages"][0] == {"role": "system", "content": "S"}
    assert values(path, mapping=given)[0]["messages"][2]["content"] == "x"
    named = values(path, mapping=Mapping(labels=(("0", "ham"), ("1", "spam"))))
    assert [row["messages"][1]["content"] for row in named] == ["ham", "spam", "spam"]
    assert open_source(path).mapping.left_out == ("other",)


def test_nested_values_are_reached_by_paths_and_lists_become_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    record = {
        "sentences": [{"text": "a"}, {"text": "b"}],
        "sql": ["S1", "S2"],
        "slots": [{"t": "x"}, {"t": "y"}],
    }
    path.write_text(json.dumps([record] * 2), encoding="utf-8")
    each = Mapping(each="sentences", input=("text",), output="sql.0")
    assert values(path, mapping=each)[:2] == [chat("a", "S1"), chat("b", "S1")]
    joined = Mapping(input=("slots.t",), output="slots")
    assert values(path, mapping=joined)[0] == chat("xy", '[{"t": "x"}, {"t": "y"}]')


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("is_numbered", [False, True])
def test_a_table_written_column_by_column_is_read_row_by_row(
    indent: int | None, is_numbered: bool, tmp_path: Path
) -> None:
    columns: dict[str, list[Any]] = {"question": ["a", "b", "c"], "id": [1, 2, 3], "answer": ["A", "B", "C"]}
    table = {
        name: dict(zip("012", cells, strict=True)) if is_numbered else cells
        for name, cells in columns.items()
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(table, indent=indent), encoding="utf-8")
    assert values(path) == [chat("a", "A"), chat("b", "B"), chat("c", "C")]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.csv", b"a,b\n1,2\n", "--input"),
        ("x.csv", b"MR\nname[X]\nname[Y]\n", "--text MR"),
        ("x.txt", b"Once upon a time.\nThe end.\n", "--form text"),
        ("x.jsonl", b'{"good": "a", "bad": "b"}\n', "--text good"),
        ("x.json", b'{"dev": [{"text": "a"}], "other": [{"text": "b"}]}', "--split"),
        (
            "x.jsonl",
            b'{"custom_id": "1", "response": {"body": {"choices": [{"message": {"content": "b"}}]}}}\n',
            "messages",
        ),
        ("x.json", b"[1, 2, 3]", "a number"),
        ("x.db", b"SQLite format 3\0" + b"\0" * 100, "SQLite"),
        ("x.bin", bytes(range(256)) * 40, "not text"),
    ],
)
def test_what_cannot_be_told_is_asked_for_in_one_sentence(
    name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidRequest, match="x") as caught:
        open_source(tmp_path / name)
    assert said in caught.value.sentence
    assert caught.value.message.rstrip(".").count(". ") == 0


def test_an_unknown_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(delimited(PAIRS))
    with pytest.raises(InvalidRequest, match=r"no column 'labl': it has question and answer"):
        open_source(tmp_path / "x.csv", mapping=Mapping(output="labl"))


def test_a_data_set_of_the_hub_is_only_fetched_when_it_is_asked_for_as_such(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_source(Path("owner/name"))
    assert "hf:owner/name" in caught.value.sentence


@pytest.mark.parametrize("name", ["x.parquet", "x.xlsx", "x.zip", "x.tar", "x.gz", "x.csv", "x.jsonl.bz2"])
@pytest.mark.parametrize(
    "start", [b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08\0", b"BZh9", b"", b"\xff\xfe", b"ARROW1"]
)
def test_damaged_files_end_in_sentences(name: str, start: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(start + b"garbage" * 20)
    with suppress(InvalidRequest):
        assert all(item.message for item in open_source(tmp_path / name).rows() if isinstance(item, Problem))


def test_folders_and_archives_read_the_training_split_and_name_the_others(tmp_path: Path) -> None:
    files = {"train.csv": delimited(PAIRS[:4]), "test.csv": delimited(PAIRS[4:]), "README.md": b"# hi"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    zipped(tmp_path / "all.zip", files)
    tarred(tmp_path / "all.tar.gz", files)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for path in (folder, tmp_path / "all.zip", tmp_path / "all.tar.gz"):
        source = open_source(path)
        assert (source.split, source.splits) == ("train", ("train", "test"))
        assert values(path) == CHATS[:4]
        assert values(path, split="test") == CHATS[4:]
        assert rows(path)[0].file == f"{path.name}: train.csv"


def test_files_of_one_folder_that_do_not_fit_together_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(delimited(PAIRS))
    (tmp_path / "b.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="different columns"):
        open_source(tmp_path)


def test_data_sets_that_hugging_face_has_saved_are_read_with_the_names_of_their_classes(
    tmp_path: Path,
) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["ham", "spam"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    made = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=features)
    datasets.DatasetDict({"train": made, "test": made.select([0])}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    made.to_parquet(str(tmp_path / "parquet" / "train-00000-of-00001.parquet"))
    for folder in ("saved", "parquet"):
        assert values(tmp_path / folder) == [chat("a", "ham"), chat("b", "spam"), chat("c", "spam")]
    assert open_source(tmp_path / "saved").splits == ("train", "test")


def test_xml_in_an_archive_is_read_through_a_mapping(tmp_path: Path) -> None:
    document = """<Document id="{n}"><Pairs><Pair><Q t="x">q{n}</Q><A>a{n}</A></Pair>
        <Pair><Q>r{n}</Q><A/></Pair></Pairs></Document>"""
    tarred(tmp_path / "x.tar.gz", {f"{n}.xml": document.format(n=n).encode() for n in range(5)})
    given = Mapping(each="Pairs.Pair", input=("Q",), output="A")
    assert values(tmp_path / "x.tar.gz", mapping=given) == [chat(f"q{n}", f"a{n}") for n in range(5)]
    assert len(problems(tmp_path / "x.tar.gz", mapping=given)) == 5


@pytest.mark.parametrize(("encoding", "is_guess"), [("utf-16", False), ("cp1252", True), ("utf-16-le", True)])
def test_other_encodings_are_read_with_a_warning(encoding: str, is_guess: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl([chat("Grüße aus Köln, jetzt", "ja")] * 20).decode().encode(encoding))
    assert values(path)[0] == chat("Grüße aus Köln, jetzt", "ja")
    (warning,) = problems(path)
    assert (warning.code, warning.severity) == ("encoding_guessed", "advice")
    assert ("seems" in warning.message) is is_guess


def test_a_stray_byte_in_utf8_is_one_bad_line_and_not_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(
        "question,answer\nGrüße,ja\n".encode() + b"Gr\xfc\xdfe,nein\n" + "Füße,ja\n".encode() * 3
    )
    assert [(problem.line, problem.code) for problem in problems(path)] == [(3, "not_utf8")]
    assert len(values(path)) == 4


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "x.csv",
            b"question,answer\na,b\nc\nd,e,f\ng,h\n",
            [(3, "wrong_number_of_columns"), (4, "wrong_number_of_columns")],
        ),
        ("x.csv", b'question,answer\na,b\n"c"d,e\ng,h\n', [(3, "quote_inside_cell")]),
        ("x.csv", b'question,answer\na,b\ng,h\n"c,d\ne,f\n', [(4, "quote_not_closed")]),
        ("x.csv", b"question,answer\na,b\nc,\ng,h\n", [(3, "empty_cell")]),
        ("x.csv", b"question,answer\na,b\n,c\ng,\0\n", [(3, "empty_cell"), (4, "nul")]),
        (
            "x.json",
            b'[{"question": "a", "answer": "b"},\n {"question": "c" "answer": "d"}]',
            [(2, "json_invalid")],
        ),
        (
            "x.json",
            b'[{"question": "a", "answer": "b"},\n5,\n{"question": "c", "answer": "d"}]',
            [(2, "not_an_object")],
        ),
        (
            "x.json",
            b'[{"question": "a", "answer": "b"},\n{"question": "\\ud800", "answer": "d"}]',
            [(2, "json_lone_surrogate")],
        ),
        ("x.json", b'[{"question": "a", "answer": "b"}\n', [(2, "json_invalid")]),
        (
            "x.jsonl",
            b'{"question": "a", "answer": "b"}\noops\n\n{"question": "a"}\n',
            [(2, "json_invalid"), (3, "blank_line"), (4, "empty_cell")],
        ),
    ],
)
def test_malformed_files_are_reported_at_the_right_line(
    name: str, data: bytes, expected: list[tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    assert [(problem.line, problem.code) for problem in problems(tmp_path / name)] == expected


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: bz2.compress(data, 1)])
def test_what_comes_before_the_damage_is_read(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = [chat(f"{n} {random.Random(n).getrandbits(4000):x}", "b") for n in range(1000)]
    packed = pack(jsonl(whole))
    (tmp_path / "x.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    found = values(tmp_path / "x.jsonl.gz")
    (problem,) = problems(tmp_path / "x.jsonl.gz")
    assert (problem.line, problem.code) == (len(found) + 1, "damaged_file")
    assert 300 < len(found) < 600
    assert found == whole[: len(found)]


@pytest.mark.parametrize("name", ["big.csv", "big.jsonl", "big.json", "big.csv.gz", "big.tsv"])
def test_memory_is_flat_in_the_size_of_a_file(name: str, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        pairs = [(f"question {n} " + "x" * 2000, f"answer {n % 7}") for n in range(count)]
        WRITERS[
            {
                "big.csv": "table.csv",
                "big.jsonl": "rows.jsonl",
                "big.json": "list.json",
                "big.csv.gz": "table.csv.gz",
                "big.tsv": "table.tsv",
            }[name]
        ](tmp_path / name, pairs)
        del pairs
        tracemalloc.start()
        try:
            source = open_source(tmp_path / name)
            assert sum(isinstance(item, Row) for item in source.rows()) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6_000) < 1.5 * peak(2_000)
