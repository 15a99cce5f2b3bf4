"""A plain TRL script: model, data, LoRA, training; ends after the first step and prints its loss.

    python start_trl.py BASE FILE BATCH_SIZE

The base is small, so float32, as tailor does by itself. Answers alone carry loss (`assistant_only_loss`).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class AfterOne(TrainerCallback):
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "loss" in logs:
            found = {"loss": float(logs["loss"]), "processor_seconds": time.process_time()}
            print(json.dumps(found), flush=True)
            control.should_training_stop = True


base, file, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
trainer = SFTTrainer(
    model=base,
    args=SFTConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=batch_size,
        assistant_only_loss=True,
        max_length=1024,
        max_steps=1,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
    ),
    train_dataset=load_dataset("json", data_files=file, split="train"),
    processing_class=AutoTokenizer.from_pretrained(base),
    peft_config=LoraConfig(r=64, lora_alpha=128, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[AfterOne()],
)
trainer.train()
