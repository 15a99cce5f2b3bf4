"""Files of every format from the same few rows, and rows back from files."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tailor.data.problems import Problem
from tailor.data.rows import Row, open_source

Pairs = Sequence[tuple[str, str]]

PAIRS: Pairs = (
    ("Where is my parcel?", "order"),
    ('He said "now", twice', "support"),
    ("Zwei Wörter, naïve 😀", "support"),
    ("line one\nline two", "order"),
    ("tab\there; semicolon, comma | bar", "invoice"),
    ("  spaces kept  ", "order"),
    ("1,234.50", "invoice"),
    ("\u2028 is no line end here", "support"),
)


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        **more,
    }


def rows(path: Path, **options: Any) -> list[Row]:
    return [item for item in open_source(path, **options).rows() if isinstance(item, Row)]


def values(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row.value for row in rows(path, **options)]


def problems(path: Path, **options: Any) -> list[Problem]:
    return [item for item in open_source(path, **options).rows() if isinstance(item, Problem)]


def jsonl(items: Sequence[Any], *, ensure_ascii: bool = False) -> bytes:
    return "".join(json.dumps(item, ensure_ascii=ensure_ascii) + "\n" for item in items).encode()


def delimited(pairs: Pairs, *, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["question", "answer"])
    writer.writerows(pairs)
    return text.getvalue().encode(encoding)


def columns_of(pairs: Pairs) -> dict[str, list[str]]:
    return {"question": [pair[0] for pair in pairs], "answer": [pair[1] for pair in pairs]}


def dicts(pairs: Pairs) -> list[dict[str, str]]:
    return [{"question": question, "answer": answer} for question, answer in pairs]


def write_excel(path: Path, pairs: Pairs) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["question", "answer"])
    for pair in pairs:
        sheet.append(pair)
    book.save(path)


def write_parquet(path: Path, pairs: Pairs) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns_of(pairs)), path, row_group_size=3)


def write_arrow(path: Path, pairs: Pairs) -> None:
    import pyarrow
    import pyarrow.ipc

    table = pyarrow.table(columns_of(pairs))
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def bytes_writer(make: Callable[[Pairs], bytes]) -> Callable[[Path, Pairs], None]:
    def write(path: Path, pairs: Pairs) -> None:
        path.write_bytes(make(pairs))

    return write


def _shared_gpt(pairs: Pairs) -> list[Any]:
    return [
        {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]}
        for asked, said in pairs
    ]


def _alpaca(pairs: Pairs) -> list[Any]:
    return [{"instruction": asked, "input": "", "output": said} for asked, said in pairs]


WRITERS: dict[str, Callable[[Path, Pairs], None]] = {
    "table.csv": bytes_writer(delimited),
    "table.tsv": bytes_writer(lambda pairs: delimited(pairs, delimiter="\t")),
    "semicolons.csv": bytes_writer(lambda pairs: delimited(pairs, delimiter=";")),
    "utf16.csv": bytes_writer(lambda pairs: delimited(pairs, encoding="utf-16")),
    "bom.csv": bytes_writer(lambda pairs: delimited(pairs, encoding="utf-8-sig")),
    "rows.jsonl": bytes_writer(lambda pairs: jsonl(dicts(pairs))),
    "escaped.jsonl": bytes_writer(lambda pairs: jsonl(dicts(pairs), ensure_ascii=True)),
    "utf16.jsonl": bytes_writer(lambda pairs: jsonl(dicts(pairs)).decode().encode("utf-16")),
    "rows.ndjson": bytes_writer(lambda pairs: jsonl(dicts(pairs))),
    "lines_in.json": bytes_writer(lambda pairs: jsonl(dicts(pairs))),
    "list.json": bytes_writer(lambda pairs: json.dumps(dicts(pairs)).encode()),
    "pretty.json": bytes_writer(lambda pairs: json.dumps(dicts(pairs), indent=2).encode()),
    "data.json": bytes_writer(lambda pairs: json.dumps({"version": 1, "data": dicts(pairs)}).encode()),
    "splits.json": bytes_writer(lambda pairs: json.dumps({"test": [], "train": dicts(pairs)}).encode()),
    "list_in.jsonl": bytes_writer(lambda pairs: json.dumps(dicts(pairs), indent=1).encode()),
    "alpaca.json": bytes_writer(lambda pairs: json.dumps(_alpaca(pairs)).encode()),
    "sharegpt.json": bytes_writer(lambda pairs: json.dumps(_shared_gpt(pairs)).encode()),
    "openai.jsonl": bytes_writer(lambda pairs: jsonl([chat(*pair) for pair in pairs])),
    "table.csv.gz": bytes_writer(lambda pairs: gzip.compress(delimited(pairs))),
    "rows.jsonl.bz2": bytes_writer(lambda pairs: bz2.compress(jsonl(dicts(pairs)))),
    "rows.json.xz": bytes_writer(lambda pairs: lzma.compress(json.dumps(dicts(pairs)).encode())),
    "rows.jsonl.zst": bytes_writer(lambda pairs: _zstd(jsonl(dicts(pairs)))),
    "table.xlsx": write_excel,
    "table.parquet": write_parquet,
    "table.arrow": write_arrow,
    "rows.zip": lambda path, pairs: zipped(
        path, {"deep/rows.jsonl": jsonl(dicts(pairs)), "README.md": b"hi"}
    ),
    "rows.tar.gz": lambda path, pairs: tarred(path, {"deep/table.csv": delimited(pairs), "LICENSE": b"hi"}),
}


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def tarred(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
