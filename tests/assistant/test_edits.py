"""Edits as people ask for them: places of a conversation become tokens, and the answer says what was done."""

import numpy as np
import pytest

import ouvert
from ouvert.assistant import AssistantError, Edit, Ledger
from ouvert.assistant.edits import variant_of
from ouvert.chat import Rendered
from ouvert.chat.format import Span
from ouvert.engine import BASE, EngineError, Variant
from ouvert.engine import Edit as EditOfTokens

PROMPT = Rendered(
    ids=tuple(range(10)),
    spans=(
        Span(0, 1, None, None, "format"),
        Span(1, 3, 0, None, "format"),
        Span(3, 5, 0, None, "supplied"),
        Span(5, 6, 1, None, "format"),
        Span(6, 7, None, None, "format"),
        Span(7, 10, 1, None, "supplied"),
    ),
    text="",
)
TAP = "layers.3.out"
PLACES = {
    "all": ({}, [(0, None)]),
    "prompt": ({"positions": "prompt"}, [(0, 10)]),
    "answer": ({"positions": "answer"}, [(10, None)]),
    "last": ({"positions": "last"}, [(9, 10)]),
    "numbers": ({"positions": [7, 2, 3, 3]}, [(2, 4), (7, 8)]),
    "a message in one piece": ({"message": 0}, [(1, 5)]),
    "a message in two pieces": ({"message": 1}, [(5, 6), (7, 10)]),
}


@pytest.mark.parametrize("place", PLACES)
def test_places_become_tokens(place):
    where, runs = PLACES[place]
    [*edits] = Edit.zero(TAP, **where).of_tokens(PROMPT)
    assert edits == [EditOfTokens(operation="zero", tap=TAP, start=start, stop=stop) for start, stop in runs]


def test_every_operation_has_a_constructor_and_takes_arrays():
    made = [
        Edit.add(TAP, np.ones((1, 2), np.float32), 4, heads=[1]),
        Edit.project_out(TAP, [1, 0], experts=range(2)),
        Edit.replace(TAP, np.array([[1.0], [2.0]])),
        Edit.scale(TAP, 0.5),
        Edit.zero(TAP),
    ]
    variant = variant_of(BASE, made, PROMPT)
    assert variant.edits == (
        EditOfTokens(operation="add", tap=TAP, values=(1.0, 1.0), strength=4, heads=(1,)),
        EditOfTokens(operation="project_out", tap=TAP, values=(1.0, 0.0), experts=(0, 1)),
        EditOfTokens(operation="replace", tap=TAP, values=(1.0, 2.0)),
        EditOfTokens(operation="scale", tap=TAP, values=(0.5,)),
        EditOfTokens(operation="zero", tap=TAP),
    )


def test_edits_come_behind_those_of_the_variant():
    first = Variant((), (EditOfTokens(operation="zero", tap="layers.0.out"),))
    assert [each.tap for each in variant_of(first, [Edit.zero(TAP)], PROMPT).edits] == ["layers.0.out", TAP]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Edit.zero(TAP, positions="end"), "positions='end', expected all, prompt, answer, last, or numbers"),
        (lambda: Edit.zero(TAP, positions=[]), r"positions=\(\)"),
        (lambda: Edit.zero(TAP, positions=[-1]), r"positions=\(-1,\)"),
        (lambda: Edit.zero(TAP, message=-1), "message=-1"),
        (lambda: Edit.zero(TAP, message=0, positions="last"), "no positions beside it"),
        (
            lambda: [*Edit.zero(TAP, positions=range(0, 999, 2)).of_tokens(PROMPT)],
            "500 runs of tokens, expected 256 at",
        ),
        (lambda: Edit.add(TAP, "formal"), "'formal' is given for a vector, expected numbers"),
        (lambda: Edit.add(TAP, 3), "3 is given for a vector, expected numbers"),
        (lambda: [*Edit.zero(TAP, message=2).of_tokens(PROMPT)], "the prompt has no tokens of such a message"),
        (lambda: ouvert.ChatRequest(conversation=ouvert.as_conversation("x"), edits=("x",)), "values of ouvert.Edit"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, said):
    with pytest.raises(AssistantError, match=said):
        make()


@pytest.fixture(scope="module")
def loaded(smollm2, tmp_path_factory):
    ledger = Ledger(tmp_path_factory.mktemp("ledger"), contents=True)
    with ouvert.load(smollm2, receipts=ledger, context=512) as model:
        yield model, ledger


def read(answer):
    *deltas, finished = answer
    return "".join(each.text for each in deltas), finished


def test_an_edited_answer_says_so_in_its_receipt_and_is_replayed_bit_for_bit(loaded):
    model, ledger = loaded
    direction = np.random.default_rng(4).standard_normal(576)
    edits = [
        Edit.add("layers.12.out", direction, 3.0, positions="answer"),
        Edit.zero("layers.20.attention.mixed", heads=[0, 3], message=0),
    ]
    plain, _ = read(model.chat("Name a colour.", temperature=0, max_tokens=12))
    edited, finished = read(model.chat("Name a colour.", edits=edits, temperature=0, max_tokens=12))
    assert edited != plain
    entry = ledger.find("last")
    listed = entry.receipt["edits"]
    assert [(each["operation"], each["tap"], each.get("strength"), each.get("heads")) for each in listed] == [
        ("add", "layers.12.out", 3.0, None),
        ("zero", "layers.20.attention.mixed", None, [0, 3]),
    ]
    prompt = entry.receipt["tokens"]["prompt"]
    assert (listed[0]["start"], listed[0]["stop"], listed[1]["stop"] < prompt) == (prompt, None, True)
    assert all(each["digest"].startswith("sha256:") and "values" not in each for each in listed)
    assert entry.receipt["engine"]["variant"] not in ("base", None)
    assert not model.verify(entry.receipt).changes
    assert model.replay(entry.receipt, contents=ledger.contents(entry.digest)).agrees
    assert read(model.chat("Name a colour.", temperature=0, max_tokens=12))[0] == plain
    assert finished.receipt == entry.receipt


def test_strength_0_writes_the_plain_answer(loaded):
    model, _ = loaded
    plain, _ = read(model.chat("Name a colour.", seed=3, max_tokens=12))
    nothing = Edit.project_out("layers.*.out", np.ones(576), strength=0)
    assert read(model.chat("Name a colour.", edits=[nothing], seed=3, max_tokens=12))[0] == plain


def test_an_edit_of_what_the_model_does_not_have_is_refused_by_name(loaded):
    model, _ = loaded
    with pytest.raises(EngineError, match=r"editing layers\.3\.experts\.out: llama .* no such value"):
        model.chat("x", edits=[Edit.zero("layers.3.experts.out")])
