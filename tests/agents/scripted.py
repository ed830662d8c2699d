"""A model that says what it is told to, and tools that count what they do."""

import json
from dataclasses import dataclass, field

from ouvert.agents import AgentTool, Outcome, agent_of
from ouvert.assistant import Finished, TextDelta, Usage
from ouvert.chat import ToolCall


@dataclass
class Writing:
    events: list
    cancelled: bool = False

    def __iter__(self):
        yield from self.events

    def cancel(self):
        self.cancelled = True


@dataclass
class Script:
    """Each turn is a text, or calls as (id, name, arguments). The turn is chosen by how much was answered so far, so a
    run that is gone on with hears what it would have heard."""

    turns: list
    format: str = "test"
    tokens: int = 10
    joules: float | None = None
    asked: list = field(default_factory=list)

    @property
    def chat_format(self):
        class Format:
            name = self.format

        return Format()

    def answer(self, request):
        self.asked.append(request)
        turn = self.turns[
            sum(1 for each in request.conversation.messages if each.role == "assistant" and each.tool_calls)
        ]
        text, calls = (turn, ()) if isinstance(turn, str) else ("", turn)
        calls = tuple(ToolCall(i, name, json.dumps(args)) for i, name, args in calls)
        usage = Usage(prompt=5, reused=0, output=self.tokens, reasoning=0)
        receipt = {"receipt": 4, "tokens": {"output_digest": f"sha256:{len(text)}"}}
        if self.joules is not None:
            receipt["joules"] = self.joules
        reason = "tool_calls" if calls else "stop"
        finished = Finished(reason=reason, usage=usage, tool_calls=calls, receipt=receipt)
        return Writing([*([TextDelta(text)] if text else []), finished])


def counted(name, done, *, effect="send", targets=("to",), foreign=False, result="done"):
    """A tool that notes what it did before it says so."""

    def call(arguments):
        done.append((name, dict(arguments)))
        return Outcome(text=result)

    names = {"to": {"type": "string"}, "text": {"type": "string"}}
    parameters = {"type": "object", "properties": names, "additionalProperties": False}
    return AgentTool(
        name=name, description="", parameters=parameters, effect=effect, targets=targets, foreign=foreign, call=call
    )


def made(header="", instructions="You help."):
    return agent_of(f"---\nname: clerk\ndescription: Helps.\nmodel: tiny\n{header}\n---\n{instructions}\n")
