"""LLaMA-Factory 0.9.5: its own loader, collator and trainer, driven step by step.

Settings: `bf16` (`bf16: true` on a checkpoint in bfloat16: frozen base in bfloat16, trained weights in
float32, autocast), `float32`. `flash_attn: sdpa`, `disable_gradient_checkpointing: true`. What it cannot do
on a CPU: `pure_bf16` ("This device does not support `pure_bf16`"), `enable_liger_kernel` (Triton).
torchaudio, which it imports for audio alone, has no build for the CPU on the package index; an empty module
stands in for it.
"""

from __future__ import annotations

import sys
import tempfile
import types
from importlib.machinery import ModuleSpec
from typing import Any

sys.modules["torchaudio"] = types.ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from common import LEARNING_RATE, Prepared, Row, labelled, main, start_from, trainer_step  # noqa: E402
from datasets import Dataset  # noqa: E402
from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.hparams import get_train_args  # noqa: E402
from llamafactory.model import load_model, load_tokenizer  # noqa: E402
from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer  # noqa: E402


def options(job: Row, setting: str) -> dict[str, Any]:
    """What its YAML file would say."""
    is_bf16 = setting == "bf16"
    lora = {"lora_rank": 16, "lora_alpha": 32, "lora_target": "all", "lora_dropout": 0.0}
    return {
        "model_name_or_path": job["base"] + "-bf16" if is_bf16 else job["base"],
        "stage": "sft",
        "do_train": True,
        "finetuning_type": job["adapter"],
        **(lora if job["adapter"] == "lora" else {}),
        "flash_attn": "sdpa",
        "disable_gradient_checkpointing": True,
        "template": "empty",
        "dataset": "given",
        "cutoff_len": 1024,
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": True,
        "bf16": is_bf16,
        "per_device_train_batch_size": job["batch_size"],
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "report_to": "none",
    }


def supervised(job: Row, setting: str, rows: list[Row]) -> Prepared:
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(options(job, setting))
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    model = load_model(module["tokenizer"], model_args, finetuning_args, is_trainable=True)
    collator = SFTDataCollatorWith4DAttentionMask(
        template=template,
        model=model,
        pad_to_multiple_of=8,
        label_pad_token_id=-100,
        attn_implementation=model.config._attn_implementation,
        compute_dtype=model_args.compute_dtype,
        **module,
    )
    trainer = CustomSeq2SeqTrainer(
        model=model,
        args=training_args,
        finetuning_args=finetuning_args,
        data_collator=collator,
        train_dataset=Dataset.from_list(features(rows)),
        **module,
    )
    start_from(trainer.model, job["start"])
    return Prepared(step=trainer_step(trainer, lambda batch: collator(features(batch))))


def features(rows: list[Row]) -> list[Row]:
    media = {"images": None, "videos": None, "audios": None}
    return [row | {"attention_mask": [1] * len(row["input_ids"])} | media for row in labelled(rows)]


if __name__ == "__main__":
    main({"sft": supervised})
