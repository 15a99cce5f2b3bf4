"""Supervised LoRA fine-tuning on a CPU: tailor, TRL, Unsloth's CPU backend, LLaMA-Factory; same tokens.

A random Llama of SmolLM2-135M's shape, LoRA r=16 on all linear layers, batches of 8, loss on answers only.
Two sets: `cls` (one long shared system prompt, answers of three tokens) and `chat` (nothing in common,
answers longer than prompts). The opponents' settings are named in `engines/*.py`;
how it is measured, in `harness.py`.

    python benchmarks/sft_lora.py [--smoke] [--sets cls,chat] [--rounds 2] [--steps 2] [--opponents trl]
"""

from __future__ import annotations

from harness import Row, run_rows

OPPONENTS = {
    "trl": ("autocast", "bf16", "bf16-unpadded"),
    "unsloth": ("bf16", "bf16-compiled"),
    "llamafactory": ("bf16",),
}
ROWS = [
    Row(name="sft_lora", task="sft", set="cls", goal=6.0, opponents=OPPONENTS),
    Row(name="sft_lora", task="sft", set="chat", goal=3.5, opponents=OPPONENTS),
]

if __name__ == "__main__":
    run_rows(ROWS, __doc__)
