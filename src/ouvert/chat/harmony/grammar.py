"""What a model may write around its contents, as data: so that an engine can keep headers from going wrong.

`HeaderGrammar` says token by token what may follow; `lark` says the same, and the form of every call's arguments, in
llguidance's dialect of Lark with special tokens. Both know one way to write each header, the one gpt-oss was trained
on: `<|channel|>commentary to=functions.name <|constrain|>json<|message|>`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ouvert.chat.conversation import NO_ARGUMENTS, Conversation
from ouvert.chat.harmony.sections import BUILTIN, FUNCTIONS
from ouvert.chat.harmony.tokens import HarmonyTokens

Calls = Literal["auto", "none", "required"]
# llguidance's own keys in a schema: without them a model may write white space in JSON for ever.
LITTLE_SPACE = {"x-guidance": {"whitespace_pattern": "[ \\n]?"}}


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind of message: its header, what its content must be, and the token that ends it.

    `header` are texts and names of tokens, `ids` their tokens; the role is written already. `schema` is what the
    content must follow, or None for free text. `last` says that the answer is over behind `end`.
    """

    header: tuple[str, ...]
    ids: tuple[int, ...]
    call: str | None
    schema: Mapping[str, Any] | None
    end: str
    end_id: int
    last: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an answer one is: `behind` are the tokens since the last turn began or ended; `turn` if in content."""

    behind: tuple[int, ...] = ()
    turn: Turn | None = None
    between: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class HeaderGrammar:
    """All answers are turns that are not last, each followed by `link`, then one that is."""

    turns: tuple[Turn, ...]
    link: tuple[int, ...]  # <|start|>assistant

    def allowed(self, place: Place) -> frozenset[int] | None:
        """The tokens that may follow; None inside contents: any text, or `place.turn.end_id`, but no control token."""
        if place.turn is not None:
            return None
        if place.over:
            return frozenset()
        length = len(place.behind)
        ways = [self.link] if place.between else [turn.ids for turn in self.turns]
        return frozenset(way[length] for way in ways if len(way) > length and way[:length] == place.behind)

    def step(self, place: Place, token: int) -> Place:
        """The place behind `token`. Raises ValueError if it may not stand there."""
        allowed = self.allowed(place)
        if place.turn is not None:
            if token != place.turn.end_id:
                return place
            return Place(over=True) if place.turn.last else Place(between=True)
        if allowed is None or token not in allowed:
            raise ValueError(
                f"following a Harmony header: token {token} behind {list(place.behind)}, expected one of "
                f"{sorted(allowed or ())}; mask the scores with what `allowed` gives."
            )
        behind = (*place.behind, token)
        if place.between:
            return Place() if behind == self.link else Place(behind, between=True)
        turn = next((turn for turn in self.turns if turn.ids == behind), None)
        return Place(turn=turn) if turn else Place(behind)

    def lark(self) -> str:
        """The same as a grammar for llguidance, with the schema of every content that has one.

        llguidance must not take <|return|> for the end of its input: give it the vocabulary's <|endoftext|> as that.
        """
        rules: list[str] = []
        opening: list[str] = []
        closing: list[str] = []
        for number, turn in enumerate(self.turns):
            name = f"turn_{number}"
            (closing if turn.last else opening).append(name)
            content = "TEXT"
            if turn.schema is not None:
                content = f"%json {json.dumps({**turn.schema, **LITTLE_SPACE}, ensure_ascii=False)}"
            header = " ".join(part if part.startswith("<|") else json.dumps(part) for part in turn.header)
            rules.append(f"{name}: {header} {content} {turn.end}")
        start = f"start: ({opening_rule(opening)})* ({' | '.join(closing)})" if opening else f"start: {closing[0]}"
        return "\n".join([start, *rules, "TEXT: /(?s:.*)/", ""])


def opening_rule(names: list[str]) -> str:
    return f'({" | ".join(names)}) <|start|> "assistant"'


def header_grammar(
    encode: Callable[[str], list[int]], tokens: HarmonyTokens, conversation: Conversation, calls: Calls = "auto"
) -> HeaderGrammar:
    """The grammar of answers in a conversation: thoughts, then calls of its tools, preambles to them, or an answer.

    `calls` "none" leaves calls out, "required" leaves the answer out. A final answer follows `answer_schema`.
    """
    ids = {
        "<|channel|>": tokens.channel,
        "<|constrain|>": tokens.constrain,
        "<|message|>": tokens.message,
        "<|end|>": tokens.end,
        "<|return|>": tokens.end_return,
        "<|call|>": tokens.call,
    }

    def turn(
        *header: str, end: str, call: str | None = None, schema: Mapping[str, Any] | None = None, last: bool = False
    ) -> Turn:
        header = ("<|channel|>", *header, "<|message|>")
        spelled = [token for part in header for token in ([ids[part]] if part in ids else encode(part))]
        return Turn(header, tuple(spelled), call, schema, end, ids[end], last)

    turns = [turn("analysis", end="<|end|>")]
    if calls != "none" and (conversation.tools or conversation.builtin_tools):
        turns.append(turn("commentary", end="<|end|>"))
        for tool in conversation.tools:
            header = (f"commentary to={FUNCTIONS}.{tool.name} ", "<|constrain|>", "json")
            schema = tool.parameters if tool.parameters is not None else NO_ARGUMENTS
            turns.append(turn(*header, end="<|call|>", call=tool.name, schema=schema, last=True))
        for namespace in (BUILTIN[name] for name in sorted(conversation.builtin_tools)):
            schemas = {f"{namespace.name}.{tool.name}": tool.parameters for tool in namespace.tools}
            for recipient in namespace.recipients:
                written = f"analysis to={recipient} code"
                turns.append(turn(written, end="<|call|>", call=recipient, schema=schemas.get(recipient), last=True))
    if calls != "required":
        turns.append(turn("final", end="<|return|>", schema=conversation.answer_schema, last=True))
    return HeaderGrammar(tuple(turns), (tokens.start, *encode("assistant")))
