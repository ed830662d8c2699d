"""The same run here and in a trainer of TRL's: recipe, order of the examples, and what each says of every step."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from ouvert.tuning import Counts, Dataset, Example, GradientLearner, Recipe
from ouvert.tuning.loop import Course, Loop, Watchers

STEPS, BATCH, ACCUMULATED, VOCABULARY, STOP = 50, 2, 3, 64, 1
# Each step is float32 on both sides; what differs in the last place grows over fifty steps of Adam.
APART = 1e-3

# What transformers, TRL and PEFT say of themselves.
QUIET = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),  # peft looks among modules only
]


@dataclass(frozen=True)
class Curve:
    """Of every step: its loss, and the gradient's norm before it was cut."""

    losses: np.ndarray
    norms: np.ndarray

    def apart(self, other):
        """By how much the losses differ at most."""
        assert len(self.losses) == len(other.losses) == STEPS
        return float(np.abs(self.losses - other.losses).max())


def recipe(method="sft", rate=0.01, **sections):
    return Recipe.of({
        "method": method,
        "optimise": {"rate": rate, "batch": BATCH * ACCUMULATED, "steps": STEPS, "schedule": "linear", "warm_up": 0,
                     "stop_early": 0, "weight_decay": 0.01, "clip": 1.0},
        **sections,
    })  # fmt: skip


def dataset_of(items):
    counts = Counts(rows=1, items=1, held_out=0, tokens=1, trained=1)
    return Dataset(train=items, held_out=(), counts=counts, digest="", notes=())


def ours(subject, way, settings, items):
    """The curve of our run."""
    learner, rows = GradientLearner(subject.base, subject.adapter), []
    watchers = Watchers(told=rows.append, keep=lambda state: None)
    Loop(learner, way, settings, dataset_of(items), Course(steps=STEPS, measure_every=99), watchers).run()
    learner.close()
    return Curve(np.array([row["loss"] for row in rows]), np.array([row["gradient_norm"] for row in rows]))


def in_our_order(items):
    """The examples as our run takes them, all steps one after the other."""
    data = dataset_of(items)
    places = [place for epoch in range(99) for place in data.order(recipe().seed, epoch)]
    return [items[place] for place in places[: STEPS * BATCH * ACCUMULATED]]


def settings_of_theirs(said, folder):
    """What `[optimise]` of our recipe is in the words of their trainers."""
    return {
        "output_dir": str(folder), "max_steps": STEPS, "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": ACCUMULATED, "learning_rate": said.rate, "weight_decay": said.weight_decay,
        "max_grad_norm": said.clip, "lr_scheduler_type": "linear", "warmup_steps": 0, "logging_steps": 1,
        "save_strategy": "no", "report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "dataloader_num_workers": 0, "seed": 20, "disable_tqdm": True, "optim": "adamw_torch",
    }  # fmt: skip


def in_one_batch(said, folder):
    """The same where a loss compares the examples of a batch, or weighs them by it: nothing is accumulated."""
    whole = {"per_device_train_batch_size": BATCH * ACCUMULATED, "gradient_accumulation_steps": 1}
    return settings_of_theirs(said, folder) | whole


def answered(start, prompt, steps, line):
    """A prompt of so many tokens that counts upwards from somewhere, and an answer that goes on by these steps."""
    asked = start + np.arange(prompt)
    ids = (np.concatenate([asked, asked[-1] + steps]) % VOCABULARY).astype("i4")
    return Example(ids, (np.arange(len(ids)) >= prompt).astype("f4"), line)


def with_parts_apart(model):
    """Gate and up of experts are one matrix in transformers, and two adapters of ours are one in peft, with noughts in
    `lora_B` where one has no share in the other's ranks. Noughts stay noughts here, so that they stay two adapters."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.register_hook(partial(torch.mul, (parameter.detach() != 0).float()))
    return model


def word(number):
    """Of an id. Those that end an answer or fill it up are found within other words, so they are none that others
    begin with."""
    return {0: "<none>", STOP: "<stop>"}.get(int(number), str(number))


def numbers_as_words():
    """A tokenizer, which their trainers ask for: ids as words, with spaces between."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word(n): n for n in range(VOCABULARY)}, unk_token=word(0)))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=word(0), eos_token=word(STOP))


def theirs(kind, rows, as_ids=True, **given):
    """The curve of a trainer of TRL's, which takes these rows in their order. `as_ids`: they are token ids already,
    else texts that it makes its ids of."""
    from datasets import Dataset as Rows
    from torch.utils.data import SequentialSampler

    class InOrder(kind):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

        def _prepare_dataset(self, dataset, *others):
            return dataset if as_ids else super()._prepare_dataset(dataset, *others)

    trainer = InOrder(train_dataset=Rows.from_list(rows), processing_class=numbers_as_words(), **given)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    return Curve(np.array([row["loss"] for row in logged]), np.array([float(row["grad_norm"]) for row in logged]))
