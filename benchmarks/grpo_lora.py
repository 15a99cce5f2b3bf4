"""The training part of a reinforcement step on a CPU: tailor against TRL's GRPO on the same rollouts.

A random Llama of SmolLM2-135M's shape, LoRA r=16, two prompts a step with 8 answers each, `dr_grpo`, no
reference. Answers and rewards are given, so that rollouts and grading, which are no training, take no part.

    python benchmarks/grpo_lora.py [--smoke] [--rounds 2] [--steps 2]
"""

from __future__ import annotations

from harness import Row, run_rows

ROW = Row(
    name="grpo_lora", task="grpo", set="groups", goal=3.0, batch_size=16, exact_batch=8, num_steps=2,
    opponents={"trl": ("autocast", "bf16")},
)  # fmt: skip

if __name__ == "__main__":
    run_rows([ROW], __doc__)
