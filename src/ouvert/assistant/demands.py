"""What a caller demands of an answer, beyond asking for it."""

import hashlib
import json
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
    so many tokens of thought it is made to end them and go on. `arguments`: only these tools may be called now, and
    their arguments are held to these schemas, narrower ones than the model is shown. `candidate` says which of
    `best_of` answers to the same this one is, from 0, where several are written and the best is chosen; it decides no
    token.

    Its methods and properties raise nothing.
    """

    calls: Calls = "auto"
    tool: str | None = None
    one_call: bool = False
    answer: Grammar | None = None
    think_budget: int | None = None
    arguments: Mapping[str, Mapping[str, Any]] | None = None
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
        """What was demanded, for the receipt. A grammar is named by its kind and the digest of its text."""
        facts: dict[str, Any] = {}
        if self.calls != "auto":
            facts["tool_choice"] = self.tool if self.tool is not None else self.calls
        if self.one_call:
            facts["one_call"] = True
        if self.answer is not None:
            digest = hashlib.sha256(self.answer.text.encode()).hexdigest()
            facts["answer"] = {"grammar": self.answer.kind, "digest": f"sha256:{digest}"}
        if self.arguments is not None:
            digest = hashlib.sha256(json.dumps(self.arguments, ensure_ascii=False).encode()).hexdigest()
            facts["arguments"] = {"tools": sorted(self.arguments), "digest": f"sha256:{digest}"}
        if self.think_budget is not None:
            facts["think_budget"] = self.think_budget
        if self.best_of > 1:
            facts |= {"best_of": self.best_of, "candidate": self.candidate}
        return facts


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What the text of the final answer must be: at most one of both, or any text.

    `schema` is a JSON schema, which is shown to the model where its format can; `grammar` is not. Of a schema that is
    not `strict` what cannot be held to is left out at its own place, and the answer says so.
    """

    schema: Mapping[str, Any] | None = None
    grammar: Grammar | None = None
    strict: bool = True

    def as_grammar(self) -> Grammar | None:
        """Raises AssistantError where both are given, EngineError for a schema that is none."""
        if self.schema is None:
            return self.grammar
        if self.grammar is not None:
            raise AssistantError(
                "response_schema and response_grammar were both given, expected at most one of them. Leave one out."
            )
        if not self.strict:
            refuse_wrong(self.schema)
        return Grammar.json_schema(self.schema, strict=self.strict)


ANY_TEXT = AnswerForm()  # nothing is demanded of the text


def as_demands(
    tool_choice: str | Mapping[str, Any],
    tools: Sequence[Tool],
    form: AnswerForm = ANY_TEXT,
    think_budget: int | None = None,
    *,
    one_call: bool = False,
) -> Demands:
    """`tool_choice`: auto, none, required, a declared tool's name, or OpenAI's dictionary.

    Raises AssistantError, and what `AnswerForm.as_grammar` raises.
    """
    answer = form.as_grammar()
    calls, name = chosen(tool_choice)
    declared = [tool.name for tool in tools]
    if name is not None and name not in declared:
        raise AssistantError(
            f"tool_choice names {name!r}, expected auto, none, required, or a declared tool "
            f"({', '.join(declared) or 'there is none'}). Declare it, or choose another."
        )
    if calls == "required" and not tools:
        raise AssistantError("tool_choice is 'required', but no tools were declared. Declare some, or leave it out.")
    return Demands(calls=calls, tool=name, one_call=one_call, answer=answer, think_budget=think_budget)


def chosen(tool_choice: str | Mapping[str, Any]) -> tuple[Calls, str | None]:
    """Whether tools may or must be called, and the name of the one that must."""
    match tool_choice:
        case "auto" | "none" | "required":
            return tool_choice, None
        case (
            str(name) | {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}
        ):
            return "required", name
    raise AssistantError(
        f"tool_choice is {tool_choice!r:.120}, expected auto, none, required, the name of a tool, or "
        "{'type': 'function', 'function': {'name': ...}}."
    )
