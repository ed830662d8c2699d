"""A model that answers from documents: what it reads, what is shown of its citations, what the receipt says."""

import json

import pytest

import ouvert
from ouvert.assistant import AssistantError, Cited
from ouvert.cli import main
from ouvert.documents import asking, consult, prefix_owner
from ouvert.store import Store

LEASE = b"# Lease\n\nThe deposit is 1,250 euro.\n\n## Pets\n\nA cat is allowed.\n"
# What the model says, whatever it is asked; the marks come in pieces.
SAYS = {"\n": "It is 1,250 euro ", "It is 1,250 euro ": "[1", "[1": "], ", "], ": "not [9].", "not [9].": "<|im_end|>"}


@pytest.fixture
def model(speaking_model, tmp_path):
    with ouvert.load(str(speaking_model(SAYS)), store=Store(tmp_path / "store"), receipts=False, guard=None) as model:
        yield model


@pytest.fixture
def lease(contracts):
    contracts.add("lease.md", LEASE)
    return contracts


def test_citations_are_resolved_as_they_come_and_invented_ones_are_marked(model, lease):
    events = list(model.chat("How much is the deposit?", consult=asking(lease)))
    texts = [each.text for each in events if isinstance(each, ouvert.TextDelta)]
    assert "".join(texts) == "It is 1,250 euro [1], not [unsupported]."
    assert not any(each.endswith(("[", "[1", "[9")) for each in texts)
    (cited,) = [each for each in events if isinstance(each, Cited)]
    assert events[events.index(cited) - 1].text == "[1]"
    assert (cited.facts["name"], cited.facts["page"], cited.facts["quote"]) == (
        "lease.md",
        1,
        "The deposit is 1,250 euro.",
    )
    assert lease.text(cited.facts["document"], cited.facts["start"], cited.facts["stop"]) == cited.facts["quote"]


def test_the_receipt_lists_passages_and_counts_citations_and_holds_no_word(model, lease):
    receipt = list(model.chat("How much is the deposit?", consult=asking(lease)))[-1].receipt
    assert receipt["documents"]["whole"] is True
    assert [each["page"] for each in receipt["documents"]["passages"]] == [1, 1]
    assert {name: receipt["citations"][name] for name in ("given", "resolved", "invented", "absent")} == {
        "given": 2, "resolved": 1, "invented": 1, "absent": False,
    }  # fmt: skip
    assert "deposit" not in json.dumps(receipt)
    plain = list(model.chat("How much is the deposit?"))[-1].receipt
    assert "documents" not in plain
    assert "citations" not in plain


def test_the_question_comes_last_and_the_sources_before_it(model, lease):
    answer = model.chat("How much is the deposit?", consult=asking(lease))
    read = model.tokenizer.decode(answer.prompt_ids, control=True)
    assert "[1] lease.md › Lease\nLease\n\nThe deposit is 1,250 euro." in read
    assert read.index("[2] lease.md › Lease › Pets") < read.index("Question: How much is the deposit?")
    assert answer.request.owner == prefix_owner("", ["contracts"])
    list(answer)


def test_what_no_document_holds_a_word_of_is_said_without_the_models_choice(model, lease):
    events = list(model.chat("Submarine?", consult=lambda asked, room: consult([lease], asked, context=room, whole=0)))
    assert "".join(each.text for each in events if isinstance(each, ouvert.TextDelta)) == "Not in the documents."
    assert events[-1].receipt["citations"]["absent"] is True
    assert events[-1].receipt["documents"]["passages"] == []


@pytest.mark.parametrize(
    ("messages", "settings", "said"),
    [
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], {}, "a question of the user"),
        ("x", {"logprobs": 1}, "logprobs"),
    ],
)
def test_what_goes_not_with_documents_is_refused(model, lease, messages, settings, said):
    with pytest.raises(AssistantError, match=said):
        model.chat(messages, consult=asking(lease), **settings)


def test_a_marked_sentence_is_cut_by_stop_strings_as_any_other(model, lease):
    events = list(model.chat("How much?", consult=asking(lease), stop=["not"]))
    assert "".join(each.text for each in events if isinstance(each, ouvert.TextDelta)) == "It is 1,250 euro [1], "


def test_ouvert_run_answers_from_documents_with_a_list_of_places(speaking_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it would stay up for every test after this one
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "lease.md").write_bytes(LEASE)
    assert main(["documents", "add", "contracts", str(tmp_path / "lease.md")]) == 0
    capsys.readouterr()
    asked = ["run", str(speaking_model(SAYS)), "--documents", "contracts", "How much is the deposit?"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert out == "It is 1,250 euro [1], not [unsupported].\n\n[1] lease.md: “The deposit is 1,250 euro.”\n"
    assert main([*asked, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["citations"][0]["name"] == "lease.md"
    assert said["receipt"]["citations"]["invented"] == 1
    assert main(["run", str(speaking_model(SAYS)), "--documents", "absent", "x"]) == 1
    assert "there is no collection 'absent'" in capsys.readouterr().err
