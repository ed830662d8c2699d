"""Fifty steps beside TRL's SFTTrainer: the same tiny checkpoint, adapter, examples, order, settings; the same loss."""

import copy

import numpy as np
import pytest

from ouvert.tuning import Counts, Dataset, Example, GradientLearner, Recipe, methods
from ouvert.tuning.loop import Course, Loop, Watchers

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STEPS, BATCH, ACCUMULATED, VOCABULARY = 50, 2, 3, 64
# Each step is float32 on both sides; what differs in the last place grows over fifty steps of Adam.
APART = 1e-3


def examples(count):
    """Sequences that count upwards from somewhere; the first tokens are not trained, as a prompt's."""
    random, made = np.random.default_rng(3), []
    for line in range(1, count + 1):
        length = int(random.integers(5, 30))
        ids = ((int(random.integers(VOCABULARY)) + np.arange(length)) % VOCABULARY).astype("i4")
        trained = np.ones(length, "f4")
        trained[: int(random.integers(1, length - 2))] = 0
        made.append(Example(ids, trained, line))
    return tuple(made)


def recipe():
    return Recipe.of({
        "optimise": {"rate": 0.01, "batch": BATCH * ACCUMULATED, "steps": STEPS, "schedule": "linear", "warm_up": 0,
                     "stop_early": 0, "weight_decay": 0.01, "clip": 1.0},
    })  # fmt: skip


def our_losses(subject, items, way=None):
    data = Dataset(train=items, held_out=(), counts=Counts(rows=1, items=1, held_out=0, tokens=1, trained=1),
                   digest="", notes=())  # fmt: skip
    learner, rows = GradientLearner(subject.base, subject.adapter), []
    watchers = Watchers(told=rows.append, keep=lambda state: None)
    loop = Loop(learner, way or methods.Supervised(), recipe(), data, Course(steps=STEPS, measure_every=99), watchers)
    loop.run()
    learner.close()
    return [row["loss"] for row in rows], [row["gradient_norm"] for row in rows]


def order_of(items):
    """The examples as our run takes them."""
    data = Dataset(train=items, held_out=(), counts=None, digest="", notes=())
    places = [place for epoch in range(99) for place in data.order(recipe().seed, epoch)]
    return [items[place] for place in places[: STEPS * BATCH * ACCUMULATED]]


def their_losses(model, items, folder):
    from datasets import Dataset as Rows
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from torch.utils.data import SequentialSampler
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

    words = WordLevel({str(n): n for n in range(VOCABULARY)}, unk_token="0")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="0", eos_token="1")
    rows = Rows.from_list([
        {
            "input_ids": each.ids.tolist(),
            "labels": np.where(each.trained > 0, each.ids, -100).tolist(),
        }
        for each in order_of(items)
    ])  # fmt: skip
    settings = recipe().optimise
    args = SFTConfig(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATED, learning_rate=settings.rate, weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip, lr_scheduler_type="linear", warmup_steps=0, logging_steps=1, save_strategy="no",
        report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, dataloader_num_workers=0, seed=20,
        dataset_kwargs={"skip_prepare_dataset": True}, disable_tqdm=True, optim="adamw_torch",
    )  # fmt: skip
    trainer = InOrder(model=model, args=args, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    return [row["loss"] for row in logged], [float(row["grad_norm"]) for row in logged]


@pytest.fixture(scope="module")
def theirs(subjects, tmp_path_factory):
    model = copy.deepcopy(subjects("llama").theirs)
    return their_losses(model, examples(40), tmp_path_factory.mktemp("trl"))


def test_fifty_steps_have_the_losses_of_trl(subjects, theirs):
    losses, norms = our_losses(subjects("llama"), examples(40))
    assert len(losses) == len(theirs[0]) == STEPS
    assert losses[-1] < 0.9 * losses[0]
    apart = np.abs(np.array(losses) - np.array(theirs[0]))
    assert apart.max() < APART, apart.argmax()
    np.testing.assert_allclose(norms, theirs[1], rtol=2e-3)


class OneExampleOneVote(methods.Supervised):
    """The mean of each example's own mean, as trainers had it before transformers PR 34191."""

    def terms(self, items, learner, step):
        made = []
        for each in items:
            [term] = super().terms([each], learner, step)
            made.append(methods.Term(term.sequences, shared(term.loss, len(items)), term.wanted))
        return made


def shared(loss, count):
    def part(found):
        whole = loss(found)
        return methods.Loss(whole.value / count, [each / np.float32(count) for each in whole.gradients])

    return part


def test_another_mean_than_that_of_all_tokens_is_noticed(subjects, theirs):
    losses, _ = our_losses(subjects("llama"), examples(40), OneExampleOneVote())
    assert np.abs(np.array(losses) - np.array(theirs[0])).max() > 10 * APART
