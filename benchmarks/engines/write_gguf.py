"""Weights as GGUF files, for llama.cpp: `python write_gguf.py FILES.json`, in the opponent's environment.

The description is a list of files: `path`, `arrays` (an .npz whose names are GGUF's), `fields` (name to type
and value), and for a model `tokens` and `merges`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy


def write(file: dict) -> None:
    writer = gguf.GGUFWriter(file["path"], "llama")
    for name, (kind, value) in file["fields"].items():
        getattr(writer, f"add_{kind}")(name, value)
    if "tokens" in file:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(file["tokens"])
        writer.add_token_types(
            [
                gguf.TokenType.CONTROL if each.startswith("<|") else gguf.TokenType.NORMAL
                for each in file["tokens"]
            ]
        )
        writer.add_token_merges(file["merges"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(2)
        writer.add_add_bos_token(False)
    for name, array in numpy.load(file["arrays"]).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    for each in json.loads(Path(sys.argv[1]).read_text()):
        write(each)
