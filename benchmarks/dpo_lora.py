"""Direct preference optimisation with LoRA on a CPU: tailor against TRL on the same pairs.

A random Llama of SmolLM2-135M's shape, LoRA r=16, batches of 4 pairs (8 sequences). The two answers of a pair
share its prompt, and nothing else is shared. Measuring the reference, once an epoch on both sides, is part of
the time; the seconds are in the line.

    python benchmarks/dpo_lora.py [--smoke] [--rounds 2] [--steps 2]
"""

from __future__ import annotations

from harness import Row, run_rows

ROW = Row(
    name="dpo_lora", task="dpo", set="pairs", goal=6.0, batch_size=4, num_steps=2,
    opponents={"trl": ("autocast", "bf16", "bf16-online")},
)  # fmt: skip

if __name__ == "__main__":
    run_rows([ROW], __doc__)
