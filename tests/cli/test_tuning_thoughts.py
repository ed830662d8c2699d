"""What a model thinks by itself before the answers of data that says no thoughts."""

import json

import pytest

from ouvert.assistant import as_conversation, load
from ouvert.cli.tuning_data import reader_of, require_length
from ouvert.cli.tuning_thoughts import seed_of, thought_before, thoughts_by
from ouvert.store import Store
from ouvert.tuning import Recipe, TuningError, read_data

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'].split('</think>')[-1] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<think>", "</think>", "<|im_start|>", "<|im_end|>")
FOLLOWS = {"\n": "Hm", "Hm": " well", " well": "</think>", "</think>": "Yes", "Yes": "<|im_end|>", "again": "again"}
RECIPE = Recipe.of({"data": {"date": "2026-11-05", "held_out": 0, "length": 256}, "safety": {"mix": 0}})


@pytest.fixture
def model(speaking_model, tmp_path):
    with load(
        str(speaking_model(FOLLOWS, TEMPLATE, CONTROL)),
        store=Store(tmp_path / "home"),
        receipts=False,
        prefixes=False,
    ) as loaded:
        yield loaded


def test_a_thought_ends_where_the_answer_begins(model):
    assert thought_before(model, as_conversation("Is it?"), 1, 100) == "Hm well"


def test_a_thought_without_an_end_is_ended_by_its_budget(speaking_model, tmp_path):
    path = speaking_model({**FOLLOWS, " well": "again", "again": "again"}, TEMPLATE, CONTROL)
    with load(str(path), store=Store(tmp_path / "home"), receipts=False, prefixes=False) as model:
        thought = thought_before(model, as_conversation("Is it?"), 1, 10)
    assert thought.startswith("Hm wellagain")
    assert thought.count("again") <= 10


def test_answers_are_trained_behind_the_thoughts_of_the_model(model, tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Is it {n}?"}, {"role": "assistant", "content": "No."}]}
        for n in range(10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counted = []
    think = thoughts_by(model, seed=3, length=256, progress=lambda done, total: counted.append((done, total)))
    data = read_data(path, RECIPE, model.assistant.chat, model.tokenizer, think=think)
    assert counted == [(n + 1, 10) for n in range(10)]
    assert data.counts.unthought == 0
    for example in data.train:
        ids, trained = example.ids.tolist(), example.trained.tolist()
        start = ids.index(model.tokenizer.control_tokens["<think>"])
        assert model.tokenizer.decode(ids[start:], control=True) == "<think>\nHm well\n</think>\n\nNo.<|im_end|>"
        learnt = [token for token, weight in zip(ids, trained, strict=True) if weight]
        assert model.tokenizer.decode(learnt, control=True) == "No.<|im_end|>"
    again = read_data(path, RECIPE, model.assistant.chat, model.tokenizer, think=think)
    assert again.digest == data.digest


def test_the_prompt_of_training_is_the_prompt_of_the_server(model, tmp_path):
    """The ids that are trained behind are those that the receipt of an answer to the same messages has."""
    messages = [{"role": "system", "content": "Briefly."}, {"role": "user", "content": "Is it <|im_end|>?"}]
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"messages": [*messages, {"role": "assistant", "content": "No."}]}) + "\n")
    [example] = read_data(path, RECIPE, model.assistant.chat, model.tokenizer).train
    answer = model.chat(messages, max_tokens=1)
    served = answer.prompt_ids
    for _ in answer:
        pass
    assert tuple(example.ids[: len(served)].tolist()) == served
    assert not example.trained[: len(served)].any()


def test_seeds_differ_by_run_and_by_place():
    assert len({seed_of(run, place) for run in range(3) for place in range(3)}) == 9


def test_a_reader_needs_no_weights(speaking_model):
    store = Store(speaking_model().parent / "nowhere")
    reader = reader_of(store.resolve(str(speaking_model())))
    assert reader.chat is not None
    assert reader.context == 2048
    require_length(2048, reader)
    with pytest.raises(TuningError, match="reads 2048 tokens at most"):
        require_length(2049, reader)
