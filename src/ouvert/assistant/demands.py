"""What a caller demands of an answer, beyond asking for it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.chat import Calls, Tool
from ouvert.engine import Grammar, refuse_wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """The model is held to these: no token that would break one is chosen.

    `calls`: whether it may ("auto"), must not ("none") or must ("required", at least once) call a tool; `tool`: the one
    it calls, and exactly once; `one_call`: the answer ends with its first call.
    `answer`: what the text of its final answer must be; thoughts and calls are not touched by it. `think_budget`: after
    so many tokens of thought it is made to end them and go on. `candidate` says which of `best_of` answers to the same
    this one is, from 0, where several are written and the best is chosen; it decides no token.
    """

    calls: Calls = "auto"
    tool: str | None = None
    one_call: bool = False
    answer: Grammar | None = None
    think_budget: int | None = None
    best_of: int = 1
    candidate: int = 0

    @property
    def holds(self) -> bool:
        """Whether they decide which tokens may come."""
        return replace(self, one_call=False, best_of=1, candidate=0) != Demands()

    @property
    def single(self) -> bool:
        """Whether the answer ends with its first call."""
        return self.one_call or self.tool is not None

    def facts(self) -> dict[str, Any]:
        """For the receipt: only what was demanded. A grammar is named by its kind and the digest of its text."""
        facts: dict[str, Any] = {}
        if self.calls != "auto":
            facts["tool_choice"] = self.tool if self.tool is not None else self.calls
        if self.one_call:
            facts["one_call"] = True
        if self.answer is not None:
            digest = hashlib.sha256(self.answer.text.encode()).hexdigest()
            facts["answer"] = {"grammar": self.answer.kind, "digest": f"sha256:{digest}"}
        if self.think_budget is not None:
            facts["think_budget"] = self.think_budget
        if self.best_of > 1:
            facts |= {"best_of": self.best_of, "candidate": self.candidate}
        return facts


def as_demands(
    tool_choice: str | Mapping[str, Any],
    tools: Sequence[Tool],
    schema: Mapping[str, Any] | None,
    grammar: Grammar | None,
    think_budget: int | None,
    one_call: bool = False,
    *,
    strict: bool = True,
) -> Demands:
    """`tool_choice`: auto, none, required, a declared tool's name, or OpenAI's dictionary. Raises AssistantError."""
    if schema is not None and grammar is not None:
        raise AssistantError(
            "response_schema and response_grammar were both given, expected at most one of them. Leave one out."
        )
    name: str | None = None
    match tool_choice:
        case "auto" | "none" | "required":
            calls = tool_choice
        case (
            str(name) | {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}
        ):
            calls = "required"
        case _:
            raise AssistantError(
                f"tool_choice is {tool_choice!r:.120}, expected auto, none, required, the name of a tool, or "
                "{'type': 'function', 'function': {'name': ...}}."
            )
    declared = [tool.name for tool in tools]
    if name is not None and name not in declared:
        raise AssistantError(
            f"tool_choice names {name!r}, expected auto, none, required, or a declared tool "
            f"({', '.join(declared) or 'there is none'}). Declare it, or choose another."
        )
    if calls == "required" and not tools:
        raise AssistantError("tool_choice is 'required', but no tools were declared. Declare some, or leave it out.")
    if schema is not None and not strict:
        refuse_wrong(schema)
    return Demands(
        calls=calls,
        tool=name,
        one_call=one_call,
        answer=grammar if schema is None else Grammar.json_schema(schema, strict=strict),
        think_budget=think_budget,
    )
