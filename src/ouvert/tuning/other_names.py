"""What Axolotl, LLaMA-Factory, TRL, PEFT, Unsloth, mlx-lm and torchtune call things, and what it is here."""

import re
from collections.abc import Mapping

# Theirs -> ours.
CALLED_HERE: Mapping[str, str] = {
    "base_model": "model", "model_name_or_path": "model", "model_name": "model",
    "rl": "method", "stage": "method", "random_state": "seed", "data_seed": "seed",
    "datasets": "data.train", "dataset": "data.train", "train_file": "data.train", "train_dataset": "data.train",
    "sequence_len": "data.length", "max_length": "data.length", "max_seq_length": "data.length",
    "max_seq_len": "data.length", "cutoff_len": "data.length", "sample_packing": "data.pack", "packing": "data.pack",
    "neat_packing": "data.pack", "val_set_size": "data.held_out", "val_size": "data.held_out",
    "eval_dataset": "data.held_out", "test_datasets": "data.held_out",
    "train_on_inputs": "data.trained", "assistant_only_loss": "data.trained", "completion_only_loss": "data.trained",
    "train_on_prompt": "data.trained", "mask_history": "data.trained", "roles_to_train": "data.trained",
    "mask_prompt": "data.trained",
    "r": "adapter.rank", "lora_r": "adapter.rank", "lora_rank": "adapter.rank", "lora_alpha": "adapter.alpha",
    "use_rslora": "adapter.rank_stabilised", "peft_use_rslora": "adapter.rank_stabilised",
    "num_layers": "adapter.layers", "peft_layers_to_transform": "adapter.layers",
    "layers_to_transform": "adapter.layers",
    "lora_target_parameters": "adapter.experts", "target_parameters": "adapter.experts",
    "lr": "optimise.rate", "learning_rate": "optimise.rate", "loraplus_lr_ratio": "optimise.rate_of_b",
    "lr_scheduler": "optimise.schedule", "lr_scheduler_type": "optimise.schedule", "lr_schedule": "optimise.schedule",
    "warmup_ratio": "optimise.warm_up", "warmup_steps": "optimise.warm_up", "warmup": "optimise.warm_up",
    "batch_size": "optimise.batch", "micro_batch_size": "optimise.batch",
    "per_device_train_batch_size": "optimise.batch", "gradient_accumulation_steps": "optimise.batch",
    "grad_accumulation_steps": "optimise.batch",
    "num_epochs": "optimise.epochs", "num_train_epochs": "optimise.epochs", "max_steps": "optimise.steps",
    "iters": "optimise.steps", "early_stopping_patience": "optimise.stop_early",
    "max_grad_norm": "optimise.clip",
    "rl_beta": "preference.beta", "pref_beta": "preference.beta", "dpo_beta": "preference.beta",
    "num_generations": "reward.answers", "max_completion_length": "reward.length", "reward_funcs": "reward.use",
}  # fmt: skip

BATCH = "It counts the examples of a whole step: size per device x devices x accumulation steps."
WHOSE = '"assistant" trains the answers, "last" the last one, "all" everything that anybody says.'
# Where ours is said in another unit -> how to come to it.
SAID_OTHERWISE: Mapping[str, str] = {
    "warmup_steps": "It is a share of all steps: 10 steps of 200 are 0.05.",
    "warmup": "It is a share of all steps: 10 steps of 200 are 0.05.",
    "batch_size": BATCH, "micro_batch_size": BATCH, "per_device_train_batch_size": BATCH,
    "gradient_accumulation_steps": BATCH, "grad_accumulation_steps": BATCH,
    "train_on_inputs": WHOSE, "assistant_only_loss": WHOSE, "completion_only_loss": WHOSE, "train_on_prompt": WHOSE,
    "mask_history": WHOSE, "roles_to_train": WHOSE, "mask_prompt": WHOSE,
    "num_layers": 'It is "all" or "upper", the upper half.',
    "peft_layers_to_transform": 'It is "all" or "upper", the upper half.',
    "layers_to_transform": 'It is "all" or "upper", the upper half.',
    "rl": '"sft", "dpo", "orpo", "kto" or "grpo".', "stage": '"sft", "dpo", "orpo", "kto" or "grpo".',
}  # fmt: skip

PACKED = "the packed weights that are served, of few bits, are the ones that are trained through"
NUMBERS = "training computes as the engine does that answers; adapter.precision says how the adapter is kept"
ONE_MACHINE = "a run is on one machine, and one batch is computed there; nothing is to be spread"
RECOMPUTED = "each layer is computed again on the way back, always: that is how it fits into memory"
OUR_KERNELS = "attention is computed by the kernels that answer"
ALL_LINEAR = "every linear layer is trained, always; adapter.layers and adapter.experts say of which layers and experts"
BY_NAME = "the adapter is kept under its name: `ouvert tune MODEL DATA --name NAME`"
TOLD = "every step is told and kept: `ouvert tune log NAME`, and run/metrics.jsonl beside the adapter"
MEASURED = "the plan decides how often the held-out loss is measured, so that it costs a tenth of the time at most"
KEPT = "a run is kept every minute by itself, and `ouvert tune resume NAME` goes on"
NOT_SENT = "nothing is sent anywhere; `ouvert tune log NAME` draws the curves, and run/metrics.jsonl has them"
ITS_OWN_FORMAT = "the format is the model's own, as it is served (`--template` of the command line chooses another)"
ITS_SHAPE = "the shape of data is told by its keys: docs/formats/tuning-data.md"
NO_NOISE = "the forward pass that is trained is the one that is served, and that takes no noise"
ADAPTERS_ALONE = "LoRA is what is trained here, added to the weights that are served"
ADAMW = "the optimiser is AdamW in float32, with the usual betas"
# What they have and no key here does -> why, or where it is instead. `*` is any text.
NOT_HERE: Mapping[str, str] = {
    "neftune_noise_alpha": NO_NOISE, "noise_alpha": NO_NOISE,
    "lora_dropout": "the forward pass that is trained is the one that is served, and that drops nothing",
    "use_dora": "DoRA changes the size of the weights themselves, and what is served leaves these as they are",
    "peft_use_dora": "DoRA changes the size of the weights themselves, and what is served leaves these as they are",
    "load_in_4bit": PACKED, "load_in_8bit": PACKED, "quantization_bit": PACKED, "quantization_config": PACKED,
    "bnb_*": PACKED, "adapter_type": ADAPTERS_ALONE, "finetuning_type": ADAPTERS_ALONE,
    "fine_tune_type": ADAPTERS_ALONE,
    "full_finetuning": ADAPTERS_ALONE, "bias": "LoRA here adds no bias", "lora_bias": "LoRA here adds no bias",
    "optim": ADAMW, "optimizer": ADAMW, "optim_args": ADAMW, "adam_*": ADAMW,
    "gradient_checkpointing": RECOMPUTED, "gradient_checkpointing_kwargs": RECOMPUTED, "grad_checkpoint": RECOMPUTED,
    "use_gradient_checkpointing": RECOMPUTED,
    "bf16": NUMBERS, "fp16": NUMBERS, "tf32": NUMBERS, "float16": NUMBERS, "bfloat16": NUMBERS, "dtype": NUMBERS,
    "torch_dtype": NUMBERS,
    "deepspeed": ONE_MACHINE, "fsdp": ONE_MACHINE, "fsdp_*": ONE_MACHINE, "ddp_*": ONE_MACHINE,
    "local_rank": ONE_MACHINE,
    "flash_attention": OUR_KERNELS, "flash_attn": OUR_KERNELS, "flash_attn_2": OUR_KERNELS,
    "attn_implementation": OUR_KERNELS,
    "xformers_attention": OUR_KERNELS, "sdp_attention": OUR_KERNELS, "use_liger_kernel": OUR_KERNELS,
    "lora_target_modules": ALL_LINEAR, "target_modules": ALL_LINEAR, "lora_target": ALL_LINEAR,
    "lora_target_linear": ALL_LINEAR, "lora_modules_to_save": "embeddings and heads are not trained",
    "modules_to_save": "embeddings and heads are not trained",
    "dataset_prepared_path": "data is read anew each time, and a run keeps its own copy",
    "overwrite_cache": "data is read anew each time, and a run keeps its own copy",
    "preprocessing_num_workers": "`--threads` of the command line says how many threads compute",
    "dataloader_*": "`--threads` of the command line says how many threads compute",
    "output_dir": BY_NAME, "adapter_path": BY_NAME, "overwrite_output_dir": BY_NAME, "hub_model_id": BY_NAME,
    "run_name": BY_NAME, "push_to_hub": "nothing is sent anywhere; `ouvert adapter export` writes what can be sent",
    "logging_steps": TOLD, "logging_dir": TOLD, "logging_strategy": TOLD, "steps_per_report": TOLD, "plot_loss": TOLD,
    "eval_steps": MEASURED, "eval_strategy": MEASURED, "evaluation_strategy": MEASURED, "evals_per_epoch": MEASURED,
    "steps_per_eval": MEASURED, "do_eval": MEASURED, "per_device_eval_batch_size": MEASURED,
    "eval_batch_size": MEASURED,
    "save_steps": KEPT, "save_strategy": KEPT, "save_total_limit": KEPT, "saves_per_epoch": KEPT, "save_every": KEPT,
    "resume_from_checkpoint": KEPT, "auto_resume_from_checkpoints": KEPT,
    "load_best_model_at_end": "with optimise.stop_early the adapter with the lowest held-out loss is kept",
    "wandb_*": NOT_SENT, "report_to": NOT_SENT, "mlflow_*": NOT_SENT, "comet_*": NOT_SENT, "use_tensorboard": NOT_SENT,
    "use_mlflow": NOT_SENT, "wandb": NOT_SENT,
    "chat_template": ITS_OWN_FORMAT, "template": ITS_OWN_FORMAT, "tokenizer_type": ITS_OWN_FORMAT,
    "model_type": "a model's own files say what it is", "trust_remote_code": "no code of a model is run",
    "special_tokens": ITS_OWN_FORMAT, "formatting_func": ITS_SHAPE, "dataset_text_field": ITS_SHAPE,
    "group_by_length": "data.pack computes short sequences side by side, and the order is that of the seed",
    "do_train": "`ouvert tune` trains, and `--plan` shows only what it would do",
}  # fmt: skip


def reason_against(name: str) -> str | None:
    """Why there is no such key, or where it is instead. Raises nothing."""
    if name in NOT_HERE:
        return NOT_HERE[name]
    return next((why for theirs, why in NOT_HERE.items() if "*" in theirs and fits(theirs, name)), None)


def fits(pattern: str, name: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) is not None
