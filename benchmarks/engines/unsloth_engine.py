"""Unsloth 2026.10.9, its CPU backend (which does supervised training only).

Settings: `bf16` (its default where the processor has bfloat16: base in bfloat16, autocast, chunked
cross-entropy), `bf16-compiled` (with its switch UNSLOTH_CPU_COMPILE=1), `autocast` (weights in float32),
`float32`. No gradient checkpointing, which is slower. Packing and padding-free it switches off by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile

if "compiled" in sys.argv[2]:
    os.environ["UNSLOTH_CPU_COMPILE"] = "1"
# Before transformers, as it asks.
from unsloth import FastLanguageModel  # isort: skip
import torch
from common import LEARNING_RATE, LORA_TARGETS, Prepared, Row, labelled, main, start_from, trainer_step
from datasets import Dataset
from trl import SFTConfig, SFTTrainer


def supervised(job: Row, setting: str, rows: list[Row]) -> Prepared:
    is_full, is_bf16 = job["adapter"] == "full", setting.startswith("bf16")
    model, tokenizer = FastLanguageModel.from_pretrained(
        job["base"],
        max_seq_length=1024,
        dtype=torch.bfloat16 if is_bf16 else torch.float32,
        load_in_4bit=False,
        full_finetuning=is_full,
        use_gradient_checkpointing=False,
    )
    if not is_full:
        model = FastLanguageModel.get_peft_model(
            model, r=16, lora_alpha=32, target_modules=LORA_TARGETS, use_gradient_checkpointing=False
        )
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        bf16=setting != "float32",
        per_device_train_batch_size=job["batch_size"],
        gradient_checkpointing=False,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_length=None,
        report_to=[],
    )
    data = Dataset.from_list(labelled(rows))
    trainer = SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer)
    start_from(trainer.model, job["start"])
    return Prepared(step=trainer_step(trainer, lambda batch: trainer.data_collator(labelled(batch))))


if __name__ == "__main__":
    main({"sft": supervised})
