"""TRL 1.16, its stable trainers, driven step by step.

Settings: `bf16` (base held in bfloat16, adapters in float32, bfloat16 autocast: the fastest found here),
`autocast` (base in float32: TRL's documented mixed precision), `bf16-unpadded` (`padding_free`, supervised
only), `float32`. No gradient checkpointing, which is slower. DPO takes `precompute_ref_log_probs`, which
asks the reference once an epoch as tailor does; `dpo-online` asks it in every step.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from common import LEARNING_RATE, LORA_TARGETS, Prepared, Row, labelled, main, start_from, trainer_step
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import pad

MAX_ANSWER = 160


def parts(job: Row, setting: str) -> dict[str, Any]:
    """Model, tokenizer and adapter for any of the trainers."""
    dtype = torch.bfloat16 if setting.startswith("bf16") else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=dtype, attn_implementation="sdpa")
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=LORA_TARGETS, task_type="CAUSAL_LM")
    return {
        "model": model,
        "processing_class": AutoTokenizer.from_pretrained(job["base"]),
        "peft_config": lora if job["adapter"] == "lora" else None,
    }


def arguments(job: Row, setting: str) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": True,
        "bf16": not setting.startswith("float32"),
        "per_device_train_batch_size": job["batch_size"],
        "gradient_checkpointing": False,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "report_to": [],
    }


def supervised(job: Row, setting: str, rows: list[Row]) -> Prepared:
    settings = SFTConfig(
        **arguments(job, setting), padding_free=setting.endswith("unpadded"), max_length=None
    )
    data = Dataset.from_list(labelled(rows))
    trainer = SFTTrainer(**parts(job, setting), args=settings, train_dataset=data)
    start_from(trainer.model, job["start"])
    return Prepared(step=trainer_step(trainer, lambda batch: trainer.data_collator(labelled(batch))))


def preferences(job: Row, setting: str, rows: list[Row]) -> Prepared:
    settings = DPOConfig(**arguments(job, setting), beta=0.1, max_length=None, remove_unused_columns=False)
    data = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])  # rows are already tokens
    trainer = DPOTrainer(**parts(job, setting), args=settings, train_dataset=data)

    def collate(batch: list[Row]) -> Any:
        names = {"prompt": "prompt_ids", "chosen": "chosen_ids", "rejected": "rejected_ids"}
        return trainer.data_collator([{names.get(k, k): v for k, v in row.items()} for row in batch])

    if setting.endswith("online"):
        return Prepared(step=trainer_step(trainer, collate))
    begun, size = time.process_time(), job["batch_size"]
    measured = rows[:size] if job["is_exact"] else rows
    for begin in range(0, len(measured), size):
        batch = measured[begin : begin + size]
        found = trainer.compute_ref_log_probs(trainer.model, collate(batch))
        for row, chosen, rejected in zip(batch, *(each.tolist() for each in found), strict=True):
            row |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    seconds = time.process_time() - begun
    trainer.precompute_ref_logps = True
    start_from(trainer.model, job["start"])
    return Prepared(step=trainer_step(trainer, collate), seconds_before=seconds)


def reinforcement(job: Row, setting: str, rows: list[Row]) -> Prepared:
    settings = GRPOConfig(
        **arguments(job, setting), num_generations=8, max_completion_length=MAX_ANSWER, beta=0.0,
        loss_type="dr_grpo", scale_rewards="none", epsilon=0.2, epsilon_high=0.28,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "a"}] * job["batch_size"])
    trainer = GRPOTrainer(
        **parts(job, setting), args=settings, train_dataset=data, reward_funcs=lambda **_: [0.0]
    )
    start_from(trainer.model, job["start"])
    trainer._prepare_inputs = lambda batch: batch  # would write and grade answers: here they are given
    step = trainer_step(trainer, lambda batch: as_generated(batch, is_exact=job["is_exact"]))
    return Prepared(step=step)


def as_generated(rows: list[Row], *, is_exact: bool) -> dict[str, torch.Tensor]:
    """What TRL's own rollouts hand to its loss."""

    def padded(values: list[list[Any]], side: str) -> torch.Tensor:
        return pad([torch.tensor(each) for each in values], padding_value=0, padding_side=side)

    prompts, answers = ([row[name] for row in rows] for name in ("prompt", "answer"))
    inputs = {
        "prompt_ids": padded(prompts, "left"),
        "prompt_mask": padded([[1] * len(each) for each in prompts], "left"),
        "completion_ids": padded(answers, "right"),
        "completion_mask": padded([[1] * len(each) for each in answers], "right"),
        "advantages": torch.tensor([row["advantage"] for row in rows]),
    }
    if is_exact:
        inputs["old_per_token_logps"] = padded([row["old"] for row in rows], "right")
    return inputs


if __name__ == "__main__":
    main({"sft": supervised, "dpo": preferences, "grpo": reinforcement})
