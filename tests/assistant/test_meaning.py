"""What a request means for a model that can do less than was asked, and that nothing is changed unless it may be."""

import pytest

from ouvert.assistant import ChatRequest, Demands, EffortError, TextRequest, Thinking, Tool
from ouvert.assistant.meaning import nearest_thinking, request_for_model
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.sampling import sampling_asked
from ouvert.chat import Abilities

PLAIN = Abilities(thinks=False, optional=False, efforts=(), tools=True)
ALWAYS = Abilities(thinks=True, optional=False, efforts=("low", "medium", "high"), tools=True)
OPTIONAL = Abilities(thinks=True, optional=True, efforts=(), tools=True)
LAST_SEED = {"seed": 2**64 - 1}
STRICT = Tool(name="f", parameters={"type": "object"}, strict=True)


class Format:
    def __init__(self, abilities, *, guides=False):
        self.abilities, self.guides = abilities, guides


def request(*, tools=(), **fields):
    return ChatRequest(conversation=as_conversation("?", tools), **fields)


@pytest.mark.parametrize(
    ("asked", "abilities", "comes_to"),
    [
        (Thinking(), PLAIN, (None, None)),
        (Thinking(effort="high"), PLAIN, (None, None)),
        (Thinking(enabled=True), PLAIN, (None, None)),
        (Thinking(enabled=False), PLAIN, (None, False)),
        (Thinking(effort="minimal"), ALWAYS, ("low", None)),
        (Thinking(effort="none"), ALWAYS, ("low", None)),
        (Thinking(effort="xhigh"), ALWAYS, ("high", None)),
        (Thinking(effort="medium"), ALWAYS, ("medium", None)),
        (Thinking(enabled=False), ALWAYS, (None, None)),
        (Thinking(enabled=True), ALWAYS, (None, True)),
        (Thinking(), OPTIONAL, (None, None)),
        (Thinking(unasked=False), OPTIONAL, (None, False)),
        (Thinking(effort="high", unasked=False), OPTIONAL, (None, False)),
        (Thinking(effort="none"), OPTIONAL, (None, False)),
        (Thinking(effort="minimal"), OPTIONAL, (None, False)),
        (Thinking(effort="low"), OPTIONAL, (None, True)),
        (Thinking(effort="high", enabled=False), OPTIONAL, (None, False)),
    ],
)
def test_a_clients_words_for_thinking_come_to_what_the_model_can_do(asked, abilities, comes_to):
    assert nearest_thinking(asked, abilities) == comes_to


def test_a_word_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(EffortError, match="'enormous', expected one of none, minimal, low"):
        nearest_thinking(Thinking(effort="enormous"), ALWAYS)


def test_an_effort_in_a_models_name_counts_where_the_request_has_none_and_asks_for_thinking():
    asked = Thinking(unasked=False)
    assert asked.or_effort(None) is asked
    assert nearest_thinking(asked.or_effort("high"), OPTIONAL) == (None, True)
    assert Thinking(effort="low").or_effort("high").effort == "low"


@pytest.mark.parametrize(("calls", "strict", "notes"), [("auto", False, ["tools.strict"]), ("required", True, [])])
def test_a_strict_tool_stays_strict_where_its_calls_are_held_to_it(calls, strict, notes):
    lenient = request(tools=[STRICT], demands=Demands(calls=calls), lenient=True)
    found, noted = request_for_model(lenient, Format(PLAIN))
    assert [tool.strict for tool in found.conversation.tools] == [strict]
    assert [str(note) for note in noted] == notes
    assert request_for_model(lenient, Format(PLAIN, guides=True))[0].conversation.tools[0].strict


def test_a_budget_for_thoughts_that_never_come_is_let_go_and_said():
    asked = request(thinking=Thinking(enabled=True), demands=Demands(think_budget=9), lenient=True)
    found, [note] = request_for_model(asked, Format(PLAIN))
    assert found.demands.think_budget is None
    assert str(note) == "thinking: this model does not think before it answers"
    found, notes = request_for_model(asked, Format(OPTIONAL))
    assert (found.demands.think_budget, notes) == (9, [])


def test_a_model_that_always_thinks_says_so_where_it_is_asked_not_to():
    [note] = request_for_model(request(thinking=Thinking(effort="none"), lenient=True), Format(ALWAYS))[1]
    assert "always thinks" in str(note)
    assert request_for_model(request(thinking=Thinking(effort="low"), lenient=True), Format(ALWAYS))[1] == []


def test_of_a_request_that_is_not_lenient_nothing_is_changed():
    asked = request(tools=[STRICT], thinking=Thinking(effort="xhigh", enabled=True), demands=Demands(think_budget=9))
    found, notes = request_for_model(asked, Format(PLAIN))
    assert (found.conversation.effort, found.conversation.thinking) == ("xhigh", True)
    assert found.conversation.tools == (STRICT,)
    assert (found.demands, notes) == (asked.demands, [])


def test_where_a_request_says_nothing_of_thinking_its_conversation_counts():
    asked = ChatRequest(conversation=as_conversation("?", effort="low", thinking=True))
    assert request_for_model(asked, Format(ALWAYS))[0].conversation == asked.conversation


def test_tools_that_must_not_be_called_are_hidden_from_a_model_that_nothing_else_holds():
    asked = request(tools=[STRICT], demands=Demands(calls="none"))
    assert request_for_model(asked, Format(PLAIN))[0].conversation.tools == ()
    assert request_for_model(asked, Format(PLAIN, guides=True))[0].conversation.tools == (STRICT,)


@pytest.mark.parametrize("asked", [request(sampling=LAST_SEED), TextRequest(prompt_ids=(1,), sampling=LAST_SEED)])
def test_every_choice_has_the_next_seed_and_after_the_last_comes_the_first(asked):
    assert asked.choice(0) == asked
    assert [asked.choice(n).sampling["seed"] for n in (1, 2)] == [0, 1]


def test_without_a_seed_every_choice_draws_its_own():
    assert request(sampling={"top_k": 3}).choice(5).sampling == {"top_k": 3}


def test_a_clients_numbers_come_to_those_that_the_engine_takes():
    assert sampling_asked(top_p=0, top_k=-1, seed=-1, min_p=None) == {"top_p": 1e-9, "top_k": 0, "seed": 2**64 - 1}
    assert sampling_asked(top_p=0.5, top_k=7, seed=3) == {"top_p": 0.5, "top_k": 7, "seed": 3}
