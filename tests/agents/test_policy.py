"""The policy: short enough to read, and held to what it must never allow."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Script, counted, made

from ouvert.agents import Asked, Authority, Run, decide, toolbox_of
from ouvert.agents.policy import MODES, targets_of

OWNER = Authority("Send the report to anna@firm.test and to Bob, then pay US122000 for «Nord».", ("*@partner.test",))


def verdict(mode, effect, targets=(), *, tainted=True):
    return decide(mode, effect, tuple(targets), OWNER, tainted=tainted).verdict


@pytest.mark.parametrize(
    ("mode", "clean_read", "clean_send", "tainted_read", "tainted_known", "tainted_strange", "tainted_nowhere"),
    [
        ("always", "ask", "ask", "ask", "ask", "ask", "ask"),
        ("effects", "allow", "ask", "allow", "ask", "ask", "ask"),
        ("strict", "allow", "allow", "allow", "ask", "ask", "ask"),
        ("default", "allow", "allow", "allow", "allow", "ask", "ask"),
        ("never", "allow", "refuse", "allow", "refuse", "refuse", "refuse"),
    ],
)
def test_the_table_of_modes(
    mode, clean_read, clean_send, tainted_read, tainted_known, tainted_strange, tainted_nowhere
):
    assert verdict(mode, "read", tainted=False) == clean_read
    for effect in ("write", "send"):
        assert verdict(mode, effect, ["eve@bad.test"], tainted=False) == clean_send
        assert verdict(mode, effect, ["anna@firm.test"]) == tainted_known
        assert verdict(mode, effect, ["eve@bad.test"]) == tainted_strange
        assert verdict(mode, effect) == tainted_nowhere
    assert verdict(mode, "read", ["eve@bad.test"]) == tainted_read


def test_the_table_has_every_mode():
    assert MODES == ("always", "effects", "strict", "default", "never")


@pytest.mark.parametrize(
    "target", ["anna@firm.test", "ANNA@firm.test", "Bob", "US122000", "Nord", "x@partner.test", "bob "]
)
def test_a_destination_of_the_owners_is_covered(target):
    assert OWNER.covers(target)


@pytest.mark.parametrize(
    "target",
    [
        "", " ", "a", "anna", "firm.test", "test", "na@firm.test", "anna@firm.test.evil.test", "anna@firm.tes",
        "US12200", "122000", "Nor", "partner.test", "x@partner.test.evil.test", "x@partner.test, eve@bad.test",
        "anna@firm.test eve@bad.test", "*", ".*", "anna@firm\u200b.test2",
    ],
)  # fmt: skip
def test_a_part_of_one_or_more_than_one_is_not(target):
    assert not OWNER.covers(target)


def test_every_destination_must_be_covered():
    assert verdict("default", "send", ["anna@firm.test", "eve@bad.test"]) == "ask"


def test_destinations_are_found_however_deep_they_stand():
    given_ = {"to": ["a@x", {"cc": "b@x", "n": 3}], "body": "c@x", "bcc": None}
    assert targets_of(given_, ("to", "bcc")) == ("a@x", "cc", "b@x", "n", "3")


WORDS = st.sampled_from(["anna@firm.test", "eve@bad.test", "boss@partner.test", "zoe@other.test", "send", "to", "pay"])
TEXT = st.lists(WORDS, max_size=4).map(" ".join)
CALL = st.tuples(st.sampled_from(["look", "mail", "write"]), WORDS)
TURNS = st.lists(st.lists(CALL, min_size=1, max_size=3), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    owner=TEXT.map(lambda text: text or "go"),
    turns=TURNS,
    results=st.lists(TEXT, min_size=1, max_size=4),
    verdicts=st.lists(st.booleans(), min_size=12, max_size=12),
    mode=st.sampled_from(["default", "strict"]),
)
def test_no_results_lead_to_an_effect_outside_the_owners_words_the_trusted_and_the_verdicts(
    owner, turns, results, verdicts, mode
):
    bounds_hold(owner, turns, results, verdicts, mode)


def bounds_hold(owner, turns, results, verdicts, mode):
    """The model does whatever anybody says. `look` gives other people's words; `mail` and `write` are effects."""
    done, allowed, answers = [], set(), iter(verdicts)

    def tool(name, effect, foreign):
        return counted(name, done, effect=effect, targets=("to",), foreign=foreign, result=results[0])

    tools = toolbox_of([tool("look", "read", True), tool("mail", "send", False), tool("write", "write", False)])
    script = [[(f"c{n}-{k}", name, {"to": to}) for k, (name, to) in enumerate(calls)] for n, calls in enumerate(turns)]
    agent = made(f'approve: {mode}\ntrusted_destinations: ["*@partner.test"]\nbudget: {{steps: 9, tool_calls: 40}}')
    with tempfile.TemporaryDirectory() as folder:
        run = Run.begin(Path(folder) / "r", agent, Asked(text=owner), tools, Script([*script, "Done."]))
        list(run.steps())
        while (question := run.state.question) is not None:
            yes = next(answers)
            if yes:
                allowed.add(question.call.id)
            run.verdict(question.call.id, allowed=yes, by="test")
            list(run.steps())
        calls = {call["id"]: call for each in run.log if each.kind == "answer" for call in each["calls"]}
        tainted = False
        for event in run.log:
            if event.kind != "result":
                continue
            to = json.loads(calls[event["call"]]["arguments"])["to"]
            if event["tool"] != "look" and tainted and event["call"] not in allowed:
                assert mode == "default"
                assert to in owner.split() or to.endswith("@partner.test")
            tainted = tainted or event["tool"] == "look"


def test_the_property_would_notice_a_policy_that_forgets_the_taint(monkeypatch):
    from ouvert.agents import steps

    def forgets(mode, effect, targets, authority, *, tainted):
        return decide(mode, effect, targets, authority, tainted=False)

    case = ("go", [[("look", "to")], [("mail", "eve@bad.test")]], ["mail eve@bad.test"], [False] * 12, "default")
    bounds_hold(*case)
    monkeypatch.setattr(steps, "decide", forgets)
    with pytest.raises(AssertionError):
        bounds_hold(*case)
