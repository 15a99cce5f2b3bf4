"""Full fine-tuning on a CPU, chat: tailor, TRL, Unsloth's CPU backend and LLaMA-Factory on the same tokens.

As the set `chat` of `sft_lora.py`, with every weight trained. tailor keeps the trained weights in float32
beside those it computes with; of TRL's and Unsloth's settings, `autocast` does so too, and `bf16` has the
weights in bfloat16 alone, which loses updates below 0.4 %; both are measured, and the fastest counts.

    python benchmarks/sft_full.py [--smoke] [--rounds 2] [--steps 2] [--opponents trl,unsloth]
"""

from __future__ import annotations

from harness import Row, run_rows

OPPONENTS = {
    "trl": ("autocast", "bf16", "bf16-unpadded"),
    "unsloth": ("bf16", "autocast"),
    "llamafactory": ("bf16",),
}

if __name__ == "__main__":
    run_rows(
        [Row(name="sft_full", task="sft", set="chat", goal=2.0, adapter="full", opponents=OPPONENTS)], __doc__
    )
