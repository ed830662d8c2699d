"""What one answer is held to: the outline of its chat format, with the contents that its demands and tools ask for."""

from collections.abc import Sequence
from dataclasses import replace

from ouvert.assistant.demands import Demands
from ouvert.assistant.error import AssistantError
from ouvert.assistant.grammars import Grammars
from ouvert.assistant.outline_constraint import OutlineConstraint
from ouvert.assistant.receipts.ended import Outcome
from ouvert.chat import ANSWER_END, ChatFormat, Conversation, Outline, Rendered, Segment, Tool
from ouvert.engine import Constraint, Grammar, of_objects


class AnswerConstraints:
    """The constraints of one model's answers. `chat` and `grammars` are of the same model."""

    def __init__(self, chat: ChatFormat, grammars: Grammars) -> None:
        self._chat, self._grammars = chat, grammars

    def of(
        self, conversation: Conversation, rendered: Rendered, demands: Demands, outcome: Outcome
    ) -> OutlineConstraint | None:
        """What the answer is held to; None: nothing. `outcome` is told what comes of it.

        Raises AssistantError for a strict tool whose calls cannot be held to its schema, EngineError for a grammar that
        cannot be compiled, ChatError for demands that the format cannot hold an answer to.
        """
        always = self._chat.guides and self._grammars.has_vocabulary
        can_hold_calls = always or (self._grammars.has_vocabulary and demands.calls == "required")
        if any(tool.strict for tool in conversation.tools) and not can_hold_calls:
            raise AssistantError(
                "a tool is strict, and this model's calls are held to a schema only with tool_choice 'required' or a "
                "tool's name. Choose one of these, or leave strict out."
            )
        if not demands.holds and not always:
            return None
        outline = self._outline(conversation, rendered, demands)
        contents = [self._contents(segment, conversation.tools, demands, outcome) for segment in outline.segments]
        return OutlineConstraint(
            outline, contents, self._grammars.vocabulary, demands.think_budget, outcome.cut_thinking
        )

    def _outline(self, conversation: Conversation, rendered: Rendered, demands: Demands) -> Outline:
        if demands.tool is not None or demands.arguments is not None:
            named = demands.arguments if demands.tool is None else {demands.tool}
            only = tuple(tool for tool in conversation.tools if tool.name in (named or ()))
            conversation = replace(conversation, tools=only, builtin_tools=frozenset())
        outline = self._chat.outline(conversation, rendered, calls=demands.calls, shaped=demands.answer is not None)
        if demands.single:
            outline = replace(outline, follows={**outline.follows, "call": frozenset({ANSWER_END})})
        return outline

    def _contents(
        self, segment: Segment, tools: Sequence[Tool], demands: Demands, outcome: Outcome
    ) -> Constraint | None:
        """What the contents of a segment have to be. `outcome` is told what of a schema could not be kept."""
        if segment.kind == "answer" and demands.answer is not None:
            constraint = self._grammars.compiled(demands.answer)
            outcome.loosened += [f"response_format: {each}" for each in constraint.loosened]
            return constraint
        if segment.kind != "call" or segment.schema is None:
            return None
        tool = next((tool for tool in tools if tool.parameters is segment.schema), None)
        strict = tool is not None and tool.strict
        name = "" if tool is None else tool.name
        schema, wrong = of_objects((demands.arguments or {}).get(name, segment.schema), strict=strict)
        constraint = self._grammars.compiled(Grammar.json_schema(schema, strict=strict))
        outcome.loosened += [f"tools: {name}: {each}" for each in (*wrong, *constraint.loosened)]
        return constraint
