"""Tools of Python functions: parameters from the signature, arguments checked by it."""

from typing import Annotated

import pytest
from pydantic import Field

from ouvert.agents import AgentError, Outcome, ToolError, tool_of, toolbox_of


def send(to: Annotated[str, Field(description="whom")], times: int = 1) -> str:
    """Send something."""
    return f"{to} x{times}"


def test_a_tool_is_its_signature_and_its_docstring():
    tool = tool_of(send, effect="send", targets=["to"], foreign=False)
    assert tool.name == "send"
    assert tool.description == "Send something."
    assert tool.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["to"],
        "properties": {"to": {"type": "string", "description": "whom"}, "times": {"type": "integer", "default": 1}},
    }
    assert tool.run(tool.arguments_of('{"to": "a", "times": 2}')) == Outcome(text="a x2")
    assert tool.destinations({"to": "a"}) == ("a",)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{", "no JSON"),
        ("[]", "expected a JSON object"),
        ('{"whom": "a"}', "takes no argument 'whom'"),
        ("{}", "needs the argument 'to'"),
    ],
)
def test_wrong_arguments_are_an_error_for_the_model(written, said):
    with pytest.raises(ToolError, match=said):
        tool_of(send, effect="send", foreign=False).arguments_of(written)


def test_wrong_types_and_errors_of_a_tool_are_outcomes_without_addresses():
    tool = tool_of(send, effect="send", foreign=False)
    outcome = tool.run({"to": "a", "times": "many"})
    assert not outcome.ok
    assert "times" in outcome.text
    assert "http" not in outcome.text

    def breaks() -> str:
        raise ValueError("broken")

    assert tool_of(breaks, effect="read", foreign=False).run({}).text == "Error: ValueError: broken"


def test_a_long_result_is_cut_and_says_so():
    def long() -> str:
        return "x" * 60_000

    assert (
        tool_of(long, effect="read", foreign=False)
        .run({})
        .text.endswith("\n[cut here: the result has 60,000 characters]")
    )


def test_what_is_no_tool_is_refused_by_name():
    with pytest.raises(AgentError, match="targets names 'too'"):
        tool_of(send, effect="send", targets=["too"], foreign=False)
    with pytest.raises(AgentError, match="two are called send"):
        toolbox_of([tool_of(send, effect="send", foreign=False)] * 2)
    with pytest.raises(AgentError, match="expected a letter"):
        tool_of(send, effect="send", foreign=False, name="a b")
