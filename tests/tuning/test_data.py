"""From a file to what is learnt: counts, sides that never meet, an order that is the same again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ouvert.tuning import Example, Labelled, Preference, Prompt, Recipe, TuningError, bins_of, examples_of, read_data
from ouvert.tuning.safety_mix import safety_talks

RECIPE = Recipe.of({"data": {"date": "2026-11-05", "held_out": 0}, "safety": {"mix": 0}})


def recipe(**sections):
    said = {"data": {"date": "2026-11-05", "held_out": 0}, "safety": {"mix": 0}}
    for name, values in sections.items():
        said[name] = said.get(name, {}) | values if isinstance(values, dict) else values
    return Recipe.of(said)


def file_of(folder, rows, name="data.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def array_of(folder, rows, name="data.json", **how):
    path = folder / name
    path.write_text(json.dumps(rows, **how), encoding="utf-8")
    return path


def tickets(count, start=0):
    return [
        {"messages": [{"role": "user", "content": f"Question {n}"}, {"role": "assistant", "content": f"Answer {n}"}]}
        for n in range(start, start + count)
    ]


@pytest.fixture
def read(tokenizer_of, chat_of):
    def read(path, said=RECIPE, family="chatml", **more):
        return read_data(path, said, chat_of(family), tokenizer_of(family), **more)

    return read


def text_of(tokenizer, example):
    return tokenizer.decode(example.ids.tolist(), control=True)


def test_counts_are_of_what_is_trained(tmp_path, read):
    data = read(file_of(tmp_path, tickets(3)))
    assert len(data.train) == data.counts.items == data.counts.rows == 3
    assert data.counts.tokens == sum(len(each.ids) for each in data.train)
    assert data.counts.trained == 3 * (len("Answer 0") + 1)
    assert data.notes == ()


def test_each_method_has_its_items(tmp_path, read):
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    for method, row, kinds in (
        ("dpo", pair, [Preference]),
        ("kto", pair, [Labelled, Labelled]),
        ("kto", {"prompt": "a", "completion": "b", "label": False}, [Labelled]),
        ("grpo", {"prompt": "a", "answer": "b"}, [Prompt]),
        ("sft", {"text": "a b c"}, [Example]),
    ):
        data = read(file_of(tmp_path, [row]), recipe(method=method))
        assert [type(each) for each in data.train] == kinds
    [prompt] = read(file_of(tmp_path, [{"prompt": "a", "answer": "b"}]), recipe(method="grpo")).train
    assert prompt.columns == {"answer": "b"}


def test_every_fault_is_said_with_its_line(tmp_path, read):
    rows = [*tickets(2), {"messages": []}, {"text": "a"}]
    with pytest.raises(TuningError) as caught:
        read(file_of(tmp_path, rows))
    assert "data.jsonl: 2 of 4 rows cannot be used for sft:\n  line 3: messages is" in str(caught.value)
    assert "\n  line 4: the shape text, while line 1 is messages" in str(caught.value)


def test_a_row_that_is_too_long_is_refused_by_line(tmp_path, read):
    rows = [*tickets(1), {"messages": [{"role": "user", "content": "x" * 90}, {"role": "assistant", "content": "y"}]}]
    path = file_of(tmp_path, rows)
    with pytest.raises(TuningError, match=r"line 2: 1\d\d tokens, more than length = 80"):
        read(path, recipe(data={"length": 80}))
    data = read(path, recipe(data={"length": 80, "too_long": "cut at message"}))
    assert (data.counts.items, data.counts.cut) == (1, 1)
    assert "1 answer does not fit into 80 tokens" in data.notes[0]
    with pytest.raises(TuningError, match="nothing of its 2 rows is trained"):
        read(path, recipe(data={"length": 8, "too_long": "cut at message"}))


# --- held out ---


def test_held_out_is_chosen_by_content_and_not_by_place(tmp_path, read, tokenizer_of):
    rows = tickets(40)
    said = recipe(data={"held_out": 0.1})
    one, other = read(file_of(tmp_path, rows), said), read(file_of(tmp_path, rows[::-1]), said)
    texts = [{text_of(tokenizer_of("chatml"), each) for each in data.held_out} for data in (one, other)]
    assert len(one.held_out) == 4
    assert texts[0] == texts[1]
    assert not texts[0] & {text_of(tokenizer_of("chatml"), each) for each in one.train}


def test_rows_that_ask_the_same_stand_on_one_side(tmp_path, read, tokenizer_of):
    rows = [row for n in range(20) for row in tickets(1, n)]
    again = [{"messages": [row["messages"][0], {"role": "assistant", "content": "Another"}]} for row in rows]
    data = read(file_of(tmp_path, rows + again), recipe(data={"held_out": 0.2}))

    def asked(items):
        return {text_of(tokenizer_of("chatml"), each).partition("assistant")[0] for each in items}

    assert len(data.held_out) == 8
    assert not asked(data.held_out) & asked(data.train)


def test_too_few_rows_to_hold_out_are_said(tmp_path, read):
    data = read(file_of(tmp_path, tickets(3)), recipe(data={"held_out": 0.2}))
    assert data.held_out == ()
    assert "nothing is held out" in data.notes[0]


def test_a_file_of_held_out_rows_wins_over_the_others(tmp_path, read):
    other = file_of(tmp_path, tickets(4, start=8), "other.jsonl")
    data = read(file_of(tmp_path, tickets(10)), recipe(data={"held_out": str(other)}))
    assert (data.counts.items, data.counts.held_out) == (8, 4)
    assert "2 rows of data.jsonl ask what stands in the held-out file" in data.notes[0]
    with pytest.raises(TuningError, match="Is it the same file"):
        read(other, recipe(data={"held_out": str(other)}))


def test_duplicates_are_counted_and_named(tmp_path, read):
    data = read(file_of(tmp_path, [*tickets(2), *tickets(1)]))
    assert data.counts.duplicates == 1
    assert "twice or more: lines 1, 3." in data.notes[0]


# --- the safety mix ---


def test_the_safety_mix_is_a_share_of_all(tmp_path, read, tokenizer_of):
    data = read(file_of(tmp_path, tickets(98)), recipe(safety={"mix": 0.02}))
    assert (data.counts.mixed, data.counts.items) == (2, 100)
    assert [each.line for each in data.train[-2:]] == [0, 0]
    known = [talk.messages[0].content for talk in safety_talks()]
    assert all(any(each in text_of(tokenizer_of("chatml"), item) for each in known) for item in data.train[-2:])
    other = read(file_of(tmp_path, tickets(98)), recipe(safety={"mix": 0.02}, seed=21))
    assert other.digest != data.digest


def test_the_safety_mix_is_two_kinds_in_two_languages():
    talks = safety_talks()
    assert len({talk.messages[0].content for talk in talks}) == len(talks) >= 50
    assert all(len(talk.messages) == 2 for talk in talks)
    french = [talk for talk in talks if " le " in f" {talk.messages[1].content} " or "vous" in talk.messages[1].content]
    assert len(french) >= 15


def test_methods_that_learn_from_two_answers_say_that_nothing_is_mixed_in(tmp_path, read):
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    data = read(file_of(tmp_path, [pair]), recipe(method="dpo"))
    assert data.counts.mixed == 0
    assert any("No safety examples are mixed in" in note for note in data.notes)


# --- texts ---


def test_texts_are_trained_whole_but_for_their_first_token(tmp_path, read, tokenizer_of):
    [example] = read(file_of(tmp_path, [{"text": "a b"}])).train
    assert text_of(tokenizer_of("chatml"), example) == "a b<|im_end|>"
    assert example.trained.tolist() == [0, 1, 1, 1]


def test_long_texts_are_cut_where_lines_end(tmp_path, read, tokenizer_of):
    text = "one line\nand another\n" + "x" * 30 + "\nlast"
    path = file_of(tmp_path, [{"text": text}])
    with pytest.raises(TuningError, match="line 1: 57 tokens, more than length = 21"):
        read(path, recipe(data={"length": 21}))
    data = read(path, recipe(data={"length": 21, "too_long": "cut at message"}))
    texts = [text_of(tokenizer_of("chatml"), each) for each in data.train]
    assert "".join(texts) == text + "<|im_end|>"
    assert texts[:2] == ["one line\n", "and another\n"]
    assert all(len(each.ids) <= 21 for each in data.train)


def test_a_model_that_does_not_chat_continues_texts(tmp_path, tokenizer_of):
    tokenizer = tokenizer_of("chatml")
    path = file_of(tmp_path, [{"prompt": "Once ", "completion": "upon"}])
    [example] = read_data(path, RECIPE, None, tokenizer).train
    assert text_of(tokenizer, example) == "Once upon<|im_end|>"
    assert example.trained.tolist() == [0] * 5 + [1] * 5
    with pytest.raises(TuningError, match="line 1: a conversation, and the model has no chat format"):
        read_data(file_of(tmp_path, tickets(1)), RECIPE, None, tokenizer)


# --- thoughts ---


def test_the_model_is_asked_once_for_each_thought_that_is_missing(tmp_path, read, tokenizer_of):
    asked = []

    def think(conversations):
        asked.append([conversation.messages[-1].content for conversation in conversations])
        return [f"thinking of {text}" for text in asked[-1]]

    rows = [*tickets(1), {"messages": [*tickets(1)[0]["messages"], *tickets(1, 1)[0]["messages"]]}]
    path = file_of(tmp_path, rows)
    data = read(path, family="harmony", think=think)
    assert asked == [["Question 0", "Question 0"], ["Question 1"]]
    texts = [text_of(tokenizer_of("harmony"), each) for each in data.train]
    assert "analysis<|message|>thinking of Question 1<|end|>" in texts[-1]
    assert (data.counts.unthought, len(data.train)) == (0, 3)
    assert "3 answers come behind what the model thinks by itself, and that is not trained." in data.notes
    without = read(path, family="harmony")
    assert without.counts.unthought == 3
    assert read(path, recipe(data={"reasoning": "none"}), family="harmony", think=think).counts.unthought == 0
    assert len(asked) == 2


# --- order and digest ---


def test_an_epochs_order_is_the_same_again_and_another_in_the_next(tmp_path, read):
    data = read(file_of(tmp_path, tickets(20)))
    assert sorted(data.order(1, 0)) == list(range(20))
    assert data.order(1, 0) == data.order(1, 0)
    assert len({data.order(1, 0), data.order(1, 1), data.order(2, 0), tuple(range(20))}) == 4


def test_the_digest_is_of_everything_that_is_learnt(tmp_path, read):
    path = file_of(tmp_path, tickets(20))
    first = read(path)
    assert first.digest == read(path).digest
    changed = [
        recipe(data={"trained": "all"}),
        recipe(data={"held_out": 0.1}),
        recipe(safety={"mix": 0.02}),
    ]
    assert len({first.digest, *(read(path, said).digest for said in changed)}) == 4
    rows = tickets(20)
    rows[3]["messages"][1]["content"] += "!"
    assert read(file_of(tmp_path, rows)).digest != first.digest


def test_columns_of_rewards_are_in_the_digest(tmp_path, read):
    digests = {
        read(file_of(tmp_path, [{"prompt": "a", "answer": answer}]), recipe(method="grpo")).digest for answer in "ab"
    }
    assert len(digests) == 2


def test_the_day_of_the_recipe_is_the_day_of_the_prompts(tmp_path, read, tokenizer_of):
    path = file_of(tmp_path, tickets(1))
    [example] = read(path, family="harmony").train
    assert "Current date: 2026-11-05" in text_of(tokenizer_of("harmony"), example)
    other = replace(RECIPE, data=replace(RECIPE.data, date="2026-11-06"))
    assert read(path, other, family="harmony").digest != read(path, family="harmony").digest


# --- packing ---


def test_bins_hold_each_sequence_once_and_never_too_many_tokens():
    lengths = np.random.default_rng(1).integers(2, 90, 200).tolist()
    bins = bins_of(lengths, 100)
    assert sorted(place for each in bins for place in each.members) == list(range(200))
    for each in bins:
        sizes = [end - start for start, end in zip(each.boundaries, each.boundaries[1:], strict=False)]
        assert sizes == [lengths[place] for place in each.members]
        assert each.boundaries[-1] <= 100
    # First fit, the longest first, needs at most 11/9 of the fewest bins and six ninths (Dosa 2007).
    assert len(bins) <= 11 / 9 * (sum(lengths) / 100 + 1) + 1
    assert bins_of([5, 300, 5], 100) == bins_of([5, 300, 5], 100)
    assert (1,) in [each.members for each in bins_of([5, 300, 5], 100)]


def test_a_pairs_sequences_are_both_counted(tmp_path, read):
    data = read(file_of(tmp_path, [{"prompt": "a", "chosen": "b", "rejected": "cd"}]), recipe(method="dpo"))
    assert data.counts.tokens == sum(len(each.ids) for each in examples_of(data.train[0]))


# --- what is said of many rows ---


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_of_an_array_are_counted_and_have_no_lines(tmp_path, read, indent):
    rows = [*tickets(2), {"messages": []}, *tickets(9, 2), {"mood": 1}]
    with pytest.raises(TuningError) as refused:
        read(array_of(tmp_path, rows, indent=indent))
    assert "\n  row 3: messages is" in str(refused.value)
    assert "\n  row 13: mood, expected" in str(refused.value)
    assert "line" not in str(refused.value)
    data = read(array_of(tmp_path, [*tickets(2), *tickets(1)], indent=indent))
    assert (data.unit, [item.line for item in data.train]) == ("row", [1, 2, 3])
    assert "twice or more: rows 1, 3." in data.notes[0]
    assert read(file_of(tmp_path, tickets(1))).unit == "line"


def test_what_is_the_same_of_many_rows_is_said_once(tmp_path, read):
    rows = [each | {"mood": "good"} for each in tickets(30)] + [{"messages": []}]
    with pytest.raises(TuningError) as refused:
        read(file_of(tmp_path, rows))
    head, *listed = str(refused.value).splitlines()
    assert "31 of 31 rows cannot be used for sft" in head
    assert len(listed) == 2
    assert listed[0].startswith("  30 lines (1, 2, 3, 4 …): unknown keys mood")
    assert listed[1].startswith("  line 31: ")


def test_keys_of_public_copies_are_named_and_left(tmp_path, read):
    turns = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    plain = read(file_of(tmp_path, [{"conversations": turns}]))
    data = read(file_of(tmp_path, [{"id": "a1", "conversations": turns, "source": "x", "title": None}]))
    assert "Of data.jsonl the keys id, source are not read: nothing of what is learnt depends on that." in data.notes
    assert data.digest == plain.digest
    said = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
    rendered = "Below is an instruction.\n### Instruction:\nAdd.\n### Input:\n1 and 2\n### Response:\n3"
    data = read(file_of(tmp_path, [said | {"text": rendered}]))
    assert data.digest == read(file_of(tmp_path, [said])).digest
    assert not [note for note in data.notes if "texts" in note]
    with pytest.raises(TuningError, match="unknown keys text in the shape Alpaca"):
        read(file_of(tmp_path, [said | {"text": "something else"}]))


def test_one_is_no_plural(tmp_path, read):
    [note] = read(file_of(tmp_path, [{"prompt": "Hello", "completion": "Hi"}])).notes
    assert note == "1 prompt that is a text is asked as a user's message, as the model is used."
