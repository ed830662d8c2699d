"""An answer made once more in Python, from a receipt and what was said; with messages that were left out."""

import pytest

import ouvert as library
from ouvert.assistant import Ledger, LedgerError
from ouvert.assistant.receipts.contents import read_variant
from ouvert.engine import BASE, Edit, ScaledAdapter, Variant
from ouvert.store import Store

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one two three " * 20},
    {"role": "assistant", "content": ""},  # of no token at all
    {"role": "user", "content": "Hi"},
]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "receipts", contents=True)


@pytest.fixture
def model(speaking_model, tmp_path, ledger):
    store = Store(tmp_path / "store")
    with library.load(speaking_model(), store=store, receipts=ledger, context=128, prefixes=False) as model:
        yield model


def receipt_of(answer):
    *_, finished = answer
    return finished.receipt


def test_which_messages_were_left_out_stands_in_the_receipt_also_where_they_had_no_tokens(model):
    receipt = receipt_of(model.chat(TALK, truncate=True, max_tokens=8))
    assert receipt["left_out"]["messages"] == [1, 2]
    assert [each["refused"] > 0 for each in receipt["messages"]] == [False, True, False, False]
    other = [*TALK[:1], {"role": "user", "content": "one two four " * 20}, *TALK[2:]]
    assert (
        receipt_of(model.chat(other, truncate=True, max_tokens=8))["left_out"]["digest"]
        != (receipt["left_out"]["digest"])
    )
    assert "left_out" not in receipt_of(model.chat("Hi", truncate=True, max_tokens=8))


def test_an_answer_without_its_oldest_turns_is_replayed_from_the_whole_conversation(model, ledger):
    receipt = receipt_of(model.chat(TALK, truncate=True, max_tokens=8))
    goes_on = [*TALK, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "And then?"}]
    for said in ({"messages": TALK}, {"messages": goes_on}, {"contents": ledger.contents(ledger.find("last").digest)}):
        replayed = model.replay(receipt, **said)
        assert (replayed.agrees, replayed.prompt_agrees, replayed.changes) == (True, True, ())
    assert ledger.check().receipts == 1


def test_another_conversation_is_told_from_the_one_of_the_receipt(model):
    receipt = receipt_of(model.chat("Hi", max_tokens=8))
    assert not model.replay(receipt, messages="Hello").prompt_agrees
    assert model.replay(receipt, messages="Hi").agrees


def test_the_prompts_tokens_do_as_well_and_say_where_another_seed_differs(model):
    answer = model.chat("Hi", max_tokens=8, temperature=3.0, seed=1)
    receipt = receipt_of(answer)
    replayed = model.replay(receipt, prompt=answer.prompt_ids, output=answer.token_ids)
    assert (replayed.agrees, replayed.differs_at) == (True, None)
    replayed = model.replay(receipt, prompt=answer.prompt_ids, output=[*answer.token_ids[:-1], 0], seed=1)
    assert replayed.agrees  # the receipt's digest counts
    [change] = model.replay(receipt, prompt=answer.prompt_ids, seed=2).changes
    assert (change.field, change.was, change.now) == ("sampling.seed", 1, 2)


def test_a_continued_text_is_replayed_from_its_tokens(model):
    answer = model.continue_text("\n", max_tokens=4)
    receipt = receipt_of(answer)
    assert model.replay(receipt, prompt=answer.prompt_ids).agrees
    with pytest.raises(LedgerError, match="expected the ids of its prompt"):
        model.replay(receipt, messages="Hi")


def test_where_nothing_is_known_of_what_was_said_it_is_asked_for(model):
    with pytest.raises(LedgerError, match="expected its conversation, or the ids of its prompt"):
        model.replay(receipt_of(model.chat("Hi", max_tokens=2)))


def test_a_model_is_verified_against_a_receipt_in_python(model):
    receipt = receipt_of(model.chat("Hi", max_tokens=2))
    verified = model.verify(receipt)
    assert verified.same_model
    assert set(verified.fields.values()) == {True}
    changed = {**receipt, "model": {**receipt["model"], "weights_digest": "sha256:0"}}
    verified = model.verify(changed)
    assert not verified.same_model
    assert [change.field for change in verified.changes] == ["model.weights_digest"]
    with pytest.raises(LedgerError, match="version is 9"):
        model.verify({**receipt, "receipt": 9})


def test_a_receipt_that_lacks_a_part_is_refused_by_the_name_of_the_part(model):
    receipt = receipt_of(model.chat("Hi", max_tokens=2))
    for part in ("model", "engine", "sampling", "tokens", "ended"):
        rest = {name: value for name, value in receipt.items() if name != part}
        with pytest.raises(LedgerError, match=f"has no {part}, expected"):
            model.verify(rest)
        with pytest.raises(LedgerError, match=f"has no {part}, expected"):
            model.replay(rest, messages="Hi")


def test_a_variant_is_read_again_as_it_was_kept():
    edit = Edit(operation="add", tap="layers.0.out", values=(1.0, 2.5), start=1, stop=4)
    variant = Variant((ScaledAdapter("sha256:" + "a" * 64, 0.5),), (edit,))
    for each in (variant, BASE):
        assert read_variant(each.facts()) == each


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokens.output", "8"),
        ("tokens.prompt_digest", None),
        ("tokens.output_digest", 3),
        ("ended.reason", []),
        ("messages", "Hi"),
        ("messages", None),
        ("messages", [1]),
        ("asked", []),
        ("asked.date", 20261130),
        ("asked.date", "yesterday"),
        ("left_out", 2),
        ("sampling.stop", "x"),
        ("sampling.logit_bias", [1]),
    ],
)
def test_a_receipt_with_something_else_in_the_place_of_a_field_is_refused_by_the_name_of_the_field(model, field, value):
    receipt = receipt_of(model.chat("Hi", max_tokens=2))
    part, _, name = field.partition(".")
    damaged = {**receipt, part: {**receipt[part], name: value} if name else value}
    with pytest.raises(LedgerError, match=f"the receipt's {field}|its {field}"):
        model.replay(damaged, messages="Hi")


@pytest.mark.parametrize("given", [None, 3, "x", []])
def test_what_is_no_receipt_and_no_contents_is_refused(model, given):
    with pytest.raises(LedgerError, match="the receipt is"):
        model.verify(given)
    with pytest.raises(LedgerError, match="the receipt is"):
        model.replay(given)
    if given is not None:
        with pytest.raises(LedgerError, match="reading what was said"):
            model.replay(receipt_of(model.chat("Hi", max_tokens=2)), given)
