"""Opening an answer that was given: the same bits, or a reason."""

import copy

import numpy as np
import pytest

import ouvert
from ouvert import LedgerError


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    return ouvert.Ledger(tmp_path_factory.mktemp("receipts"), contents=True)


@pytest.fixture(scope="module")
def model(speaking_model, ledger):
    with ouvert.load(speaking_model(), receipts=ledger, prefixes=False) as model:
        yield model


@pytest.fixture(scope="module")
def given(model):
    """(receipt, logits of the answer's sequence) of an answer that was given."""
    answer = model.chat("again", temperature=0)
    [finished] = [event for event in answer if isinstance(event, ouvert.Finished)]
    ids = [*answer.prompt_ids, *answer.token_ids]
    return finished.receipt, ids, model.logits(ids)


def assert_opened(trace, given):
    _, ids, logits = given
    assert trace.ids == ids
    lens = trace.lens(top=4)
    np.testing.assert_array_equal(lens.ids[-1], np.argsort(-logits, axis=1, kind="stable")[:, :4])
    assert trace.kind == "observation"
    assert [token.text for token in trace.tokens if token.part == "answer"][:2] == ["Hello", " from"]
    assert {token.message for token in trace.tokens if token.part == "answer"} == {1}


def test_an_answer_is_opened_by_its_place_in_the_ledger(model, given):
    assert_opened(model.open("last"), given)


def test_an_answer_is_opened_from_its_receipt_and_what_was_kept_beside_it(model, ledger, given):
    entry = ledger.find("last")
    assert_opened(model.open(given[0], ledger.contents(entry.digest)), given)


def test_an_answer_is_opened_from_its_conversation_by_writing_it_once_more(model, given):
    trace = model.open(given[0], messages="again")
    assert_opened(trace, given)
    assert trace.json()["receipt"] == model.open("last").json()["receipt"]


def test_an_answer_is_opened_from_its_ids_without_saying_whose_they_are(model, given):
    receipt, ids, _ = given
    count = receipt["tokens"]["prompt"]
    trace = model.open(receipt, prompt=ids[:count], output=ids[count:])
    assert trace.ids == ids
    assert {token.message for token in trace.tokens} == {None}


def test_other_tokens_are_not_taken_for_the_answer(model, given):
    receipt, ids, _ = given
    count = receipt["tokens"]["prompt"]
    with pytest.raises(LedgerError, match="tokens of the output are not those of the receipt"):
        model.open(receipt, prompt=ids[:count], output=ids[count + 1 :])
    with pytest.raises(LedgerError, match="tokens of the prompt are not those of the receipt"):
        model.open(receipt, messages="something else")


def test_what_was_said_has_to_be_known(model, given):
    with pytest.raises(LedgerError, match="what was said is not known"):
        model.open(given[0])


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("engine", "cache_type", "q8"), ("model", "weights_digest", "sha256:other"), ("engine", "build", "sha256:other")],
)
def test_a_model_that_would_give_other_numbers_is_refused_with_what_differs(model, ledger, given, part, field, value):
    receipt = copy.deepcopy(given[0])
    receipt[part][field] = value
    receipt["engine"]["identity_digest"] = "sha256:other"
    with pytest.raises(LedgerError, match=rf"would give other numbers than the answer had: {part}.{field} was"):
        model.open(receipt, ledger.contents(ledger.find("last").digest))


def test_what_came_from_a_cache_is_computed_again(model, given):
    again = model.chat("again", temperature=0)
    [finished] = [event for event in again if isinstance(event, ouvert.Finished)]
    trace = model.open("last")
    assert len(trace["layers.0.out"]) == len(trace.tokens) == len([*again.prompt_ids, *again.token_ids])
    np.testing.assert_array_equal(trace["layers.0.out"], model.open(finished.receipt, messages="again")["layers.0.out"])


def test_a_continued_text_is_opened_too(model, ledger):
    written = model.continue_text("Hello", max_tokens=3, temperature=0)
    [*_, finished] = written
    trace = model.open(finished.receipt, ledger.contents(ledger.find("last").digest))
    assert "".join(token.text for token in trace.tokens).endswith("Hello from a tiny")


def test_a_model_without_a_ledger_says_so(speaking_model):
    with (
        ouvert.load(speaking_model(), receipts=False, prefixes=False) as model,
        pytest.raises(LedgerError, match="keeps no receipts"),
    ):
        model.open("last")


@pytest.mark.parametrize("given", [{}, {"text": "a", "ids": [1]}, {"text": "a", "temperature": 0}])
def test_one_thing_is_traced_at_a_time(model, given):
    with pytest.raises(TypeError, match="tracing: given are"):
        model.trace(**given)


def test_more_tokens_than_the_context_are_refused_with_both_numbers(model):
    most = model.info.context
    with pytest.raises(ouvert.InspectionError, match=rf"{most + 1} tokens, expected at most {most}"):
        model.trace(ids=[1] * (most + 1), record="embedding")
