"""Conversations by way of a model's own chat template."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from ouvert.chat.answer import CLOSE_THINKING, OPEN_THINKING, AnswerParser
from ouvert.chat.call_ids import ids_in_prompt
from ouvert.chat.conversation import EFFORTS, Conversation, Message, Tool, ToolCall
from ouvert.chat.format import Abilities, ChatError, ChatFormat, Rendered, WrittenAnswer
from ouvert.chat.outline import Calls, Outline
from ouvert.chat.own_control import OwnControl
from ouvert.chat.owned_text import OwnedFloat, OwnedInt, OwnedText, plain, whole
from ouvert.chat.renderer import Renderer
from ouvert.chat.sandbox import DateFormatter, TemplateError
from ouvert.chat.spans import Owner, pieces_of, token_spans
from ouvert.chat.template_answer import (
    SAID,
    AnswerText,
    Past,
    Place,
    following_stop,
    shown_answer,
    with_thought,
    without_ids,
    written_answer,
)
from ouvert.chat.template_outline import template_outline
from ouvert.chat.tool_syntax import as_object, syntax_of
from ouvert.chat.written import own

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

VERSION = "3"  # of what this file hands to templates; part of the digest
# Variables by which templates let a caller switch thinking off or say how much.
THINKING_SWITCHES = ("enable_thinking", "thinking")
EFFORT_SWITCH = "reasoning_effort"
# Reasoning that a caller left in the text of an answer.
TAGGED = re.compile(rf"\s*{OPEN_THINKING}(.*?){CLOSE_THINKING}\s*", re.DOTALL)

# Lists in lists of what callers hand over: deeper than any real schema, shallow enough for every way through it.
DEEPEST_JSON = 100
BYTE_ORDER_MARK = "\ufeff"
Wordless = Literal["empty", "absent", "null"]  # the content of a message that has calls and no words


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a template is shown calls: the content of a message without words, and arguments as an object or as text."""

    wordless: Wordless
    as_text: bool


FORMS: tuple[CallForm, ...] = tuple(
    CallForm(wordless, as_text) for as_text in (False, True) for wordless in ("empty", "absent", "null")
)


class TemplateValues:
    """Hands the values of one conversation to a template, each with its owner, and counts their characters."""

    def __init__(self) -> None:
        self.owners: list[Owner] = []
        self.characters = 0
        self._numbers: dict[Owner, int] = {}

    def number(self, owner: Owner) -> int:
        """What stands for the owner in runs."""
        if owner not in self._numbers:
            self.owners.append(owner)
            self._numbers[owner] = len(self.owners)
        return self._numbers[owner]

    def text(self, text: str, owner: Owner) -> OwnedText:
        self.characters += len(text)
        return whole(text, self.number(owner))

    def value(self, value: Any, owner: Owner, depth: int = 0) -> Any:
        """A JSON value with everything in it the owner's. Raises ChatError for what JSON cannot say."""
        self.characters += 1
        if depth > DEEPEST_JSON:
            raise ChatError(
                f"writing a prompt: a tool's parameters or a call's arguments are lists and objects within each other, "
                f"more than {DEEPEST_JSON} deep; expected what a model can read. Make them flatter."
            )
        match value:
            case str():
                return self.text(value, owner)
            case Mapping():
                return {self.text(str(key), owner): self.value(each, owner, depth + 1) for key, each in value.items()}
            case list() | tuple():
                return [self.value(each, owner, depth + 1) for each in value]
            case None | bool():
                return value
            case int():
                return OwnedInt(value, self.number(owner))
            case float():
                return OwnedFloat(value, self.number(owner))
        raise ChatError(
            f"writing a prompt: a tool's schema holds {type(value).__name__}, expected what JSON can say; "
            "convert it first."
        )


class TemplateFormat:
    """A chat format made of a Jinja template and a tokenizer.

    Templates see what `transformers` shows them: messages (developer appears as system), tools, the texts of bos and
    eos, add_generation_prompt, and where the template asks for them enable_thinking, reasoning_effort, date_string
    and strftime_now.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        template: str,
        *,
        name: str = "template",
        bos_token: str | None = None,
        eos_token: str | None = None,
        extra: Mapping[str, Any] | None = None,
        calls_like: str | None = None,
    ) -> None:
        """`bos_token` and `eos_token` default to the tokenizer's. `extra` are further variables. `calls_like` shows how
        the template writes calls, where its text does not tell. Raises ChatError if the template cannot be used.
        """
        template = template.removeprefix(BYTE_ORDER_MARK)
        try:
            self._renderer = Renderer(template)
        except TemplateError as problem:
            raise ChatError(str(problem)) from problem
        self.name = name
        self._tokenizer = tokenizer
        self._control = OwnControl(tokenizer)
        self._special = {
            "bos_token": text_of(tokenizer, tokenizer.bos) if bos_token is None else bos_token,
            "eos_token": text_of(tokenizer, tokenizer.eos) if eos_token is None else eos_token,
        }
        self._extra = dict(extra or {})
        self._calls_like = calls_like or template
        self._syntax = syntax_of(template, tokenizer.control_tokens)
        self._thinks = OPEN_THINKING in template or CLOSE_THINKING in template
        self._thinks |= OPEN_THINKING in tokenizer.control_tokens
        # A model's own template is shown what callers sent, as transformers shows it: it cuts thoughts off by itself.
        self._splits_thoughts = self._thinks and name.startswith("builtin")
        self._turn_ends = tuple(text_of(tokenizer, token) for token in tokenizer.end_ids)
        facts = json.dumps([VERSION, name, template, self._special, self._extra], sort_keys=True)
        self.digest = "sha256:" + hashlib.sha256(facts.encode()).hexdigest()

    @property
    def variants(self) -> tuple[ChatFormat, ...]:
        return (self,)

    def for_conversation(self, conversation: Conversation) -> ChatFormat:
        return self

    @property
    def stop_ids(self) -> frozenset[int]:
        return self._tokenizer.end_ids

    @property
    def abilities(self) -> Abilities:
        variables = self._renderer.variables
        return Abilities(
            thinks=self._thinks,
            optional=self._thinks and not variables.isdisjoint(THINKING_SWITCHES),
            efforts=EFFORTS if EFFORT_SWITCH in variables else (),
            tools="tools" in variables,
        )

    def render(self, conversation: Conversation) -> Rendered:
        """Raises ChatError if the template refuses the conversation, or cannot honour what it asks for."""
        text, supply = self._written(conversation)
        parts = list(self._control.parts(text))
        ids = self._tokenizer.encode_parts([part.content for part in parts])
        pieces = pieces_of(text, supply.owners, self._turn_ends)
        begun = self._control.blotted(text).rstrip()
        return Rendered(
            ids=tuple(ids),
            spans=token_spans(text, pieces, parts, ids, self._tokenizer.token_bytes),
            text=plain(text),
            tools={tool.name: tool.parameters for tool in conversation.tools},
            thinking=self._thinks and begun.endswith(OPEN_THINKING),
            thoughtless=self._thinks and begun.endswith(CLOSE_THINKING),
        )

    def _written(self, conversation: Conversation, *, asks: bool = True) -> tuple[OwnedText, TemplateValues]:
        """The text, and whose the values in it are. `asks`: with the header of the answer to come."""
        refuse_what_the_template_ignores(conversation, self._renderer.variables, thinks=self._thinks)
        supply = TemplateValues()
        variables = self._variables(conversation, supply) | {"add_generation_prompt": asks}
        try:
            return self._renderer.render(variables, supply.characters), supply
        except TemplateError as problem:
            raise ChatError(str(problem)) from problem

    def answer(self, conversation: Conversation, rendered: Rendered, message: Message) -> WrittenAnswer:
        if message.reasoning and (not self._thinks or rendered.thoughtless):
            why = "the prompt ends them at once" if self._thinks else "this model's chat template has no place for any"
            raise ChatError(f"writing an answer: the message has thoughts, and {why}. Leave them out.")
        prompt, _ = self._written(conversation)
        place = Place(rendered.ids, list(self._control.parts(prompt)))
        shown = self._shown_answer(conversation, prompt, message, thinking=rendered.thinking)
        closing = partial(self._closing, conversation, message)
        return written_answer(shown, place, self._control, self._tokenizer, closing)

    def _shown_answer(
        self, conversation: Conversation, prompt: OwnedText, message: Message, *, thinking: bool
    ) -> AnswerText:
        """As the template shows the message, or by its words alone where it shows it in no way that could be an answer
        to the prompt. Raises ChatError for calls that are shown so."""
        with nullcontext() if message.tool_calls else suppress(ChatError):
            past, blotted = self._past(conversation, message), self._control.blotted
            if found := shown_answer(prompt, past, message.reasoning, thinking=thinking, blotted=blotted):
                return self._as_written(found, (*conversation.messages, message))
        if message.tool_calls:
            raise ChatError(
                "writing an answer: the chat template shows calls of earlier turns in a way that does not continue its "
                "prompts, so what the model would have to write is not known. Leave the calls out, or choose another "
                "template."
            )
        return with_thought(whole(message.content, SAID), message.reasoning, thinking=thinking)

    def _as_written(self, shown: AnswerText, answered: Sequence[Message]) -> AnswerText:
        """Without the ids of calls, where models of this syntax write none."""
        if not answered[-1].tool_calls or self._syntax is None or self._syntax.id_form != "short":
            return shown
        ids = ids_in_prompt(answered, self._syntax.id_form)
        return replace(shown, text=without_ids(shown.text, [ids[call.id] for call in answered[-1].tool_calls]))

    def _past(self, conversation: Conversation, message: Message, *following: Message) -> Past:
        """The conversation as it is shown once the message is part of it. Raises ChatError as `render` does."""
        index = len(conversation.messages)
        messages = (*conversation.messages, message, *following)
        text, supply = self._written(replace(conversation, messages=messages), asks=False)
        mine = [(n, owner) for n, owner in enumerate(supply.owners, 1) if owner.message == index]
        thoughts = frozenset(n for n, owner in mine if owner.channel == "analysis")
        return Past(text, thoughts, frozenset(n for n, _ in mine) - thoughts)

    def _closing(self, conversation: Conversation, message: Message) -> int | None:
        """The token that ends an answer because it begins the next turn, if there is one."""
        results = [
            Message(role="tool", content="r", tool_call_id=each.id, name=each.name) for each in message.tool_calls
        ]
        with suppress(ChatError):
            past = self._past(conversation, message, *(results or [Message(role="user", content="u")]))
            return following_stop(past, self._control, self.stop_ids)
        return None

    def parser(self, rendered: Rendered) -> AnswerParser:
        return AnswerParser(self._tokenizer, rendered, thinks=self._thinks, syntax=self._syntax)

    guides = False  # a template tells how prompts are written; of answers it says too little

    def outline(
        self, conversation: Conversation, rendered: Rendered, *, calls: Calls = "auto", shaped: bool = False
    ) -> Outline:
        """Raises ChatError for calls in a syntax that cannot be held to a form, or of a tool whose name has none."""
        return template_outline(
            self._tokenizer,
            self._calls_like,
            self._syntax,
            conversation.tools,
            called=sum(len(message.tool_calls) for message in conversation.messages),
            thinks=self._thinks and conversation.thinking is not False,
            thinking=rendered.thinking,
            cut=self.end_of_thinking(),
            calls=calls,
            shaped=shaped,
        )

    def end_of_thinking(self) -> tuple[int, ...]:
        if not self._thinks:
            return ()
        parts = self._tokenizer.split_control(f"\n{CLOSE_THINKING}\n\n")
        return tuple(self._tokenizer.encode_parts(parts))

    @cached_property
    def _call_form(self) -> CallForm:
        """As the template can write it: arguments are text where it fails with an object (DeepSeek's join them to
        text); no words as it writes something else than for empty words, and no None."""
        call = ToolCall("call00000", "f", "{}")
        talk = Conversation(
            messages=(
                Message(role="user", content="u"),
                Message(role="assistant", tool_calls=(call,)),
                Message(role="tool", content="r", tool_call_id=call.id, name="f"),
            ),
            tools=(Tool(name="f"),),
        )
        written = {form: self._tried(self._variables(talk, TemplateValues(), form)) for form in FORMS}
        possible = [form for form in FORMS if written[form] is not None]
        as_text = bool(possible) and possible[0].as_text
        first, *others = (form for form in FORMS if form.as_text == as_text)
        empty = written[first] or ""
        for form in others:
            text = written[form]
            if text is not None and text != empty and text.count("None") <= empty.count("None"):
                return form
        return first

    def _tried(self, variables: dict[str, Any]) -> str | None:
        """The prompt, or None if there is none."""
        try:
            return self._renderer.render(variables, 0)
        except TemplateError:
            return None

    def _variables(
        self, conversation: Conversation, supply: TemplateValues, form: CallForm | None = None
    ) -> dict[str, Any]:
        """`form`: how calls are shown; left out, as the template wants it."""
        variables: dict[str, Any] = {
            **self._extra,
            **self._special,
            "messages": self._messages(conversation.messages, supply, form),
            "tools": [tool_dict(tool, supply) for tool in conversation.tools] or None,
            "documents": None,
            "add_generation_prompt": True,
        }
        if conversation.thinking is not None:
            variables |= dict.fromkeys(THINKING_SWITCHES, conversation.thinking)
        if conversation.effort is not None:
            variables[EFFORT_SWITCH] = conversation.effort
        if (date := conversation.date) is not None:
            variables["strftime_now"] = DateFormatter(date)
            variables["date_string"] = f"{date:%d %b %Y}"
        return {name: templates_own(value) for name, value in variables.items()}

    def _messages(
        self, messages: Sequence[Message], supply: TemplateValues, form: CallForm | None
    ) -> list[dict[str, Any]]:
        ids = ids_in_prompt(messages, None if self._syntax is None else self._syntax.id_form)
        found: list[dict[str, Any]] = []
        called: dict[str, str] = {}  # id of a call -> the tool's name
        for index, message in enumerate(messages):
            name = message.name
            if name is None and message.role == "tool" and message.tool_call_id is not None:
                name = called.get(message.tool_call_id)  # if the caller left it out
            shown = self._message(index, message, name, supply, ids)
            if message.tool_calls:
                form = form or self._call_form
                shown["tool_calls"] = calls_of(index, message, supply, ids, as_text=form.as_text)
                if message.role == "assistant" and not message.content:
                    shown = without_words(shown, form.wordless)
            found.append(shown)
            called.update((call.id, call.name) for call in message.tool_calls)
        return found

    def _message(
        self, index: int, message: Message, name: str | None, supply: TemplateValues, ids: Mapping[str, str]
    ) -> dict[str, Any]:
        """One message as templates know them. Keys without a value are left out. `ids`: of calls, as `ids_in_prompt`
        gives them."""
        says = message.role == "assistant"
        said, reasoning = message.content, message.reasoning
        if says and self._splits_thoughts and reasoning is None and (tagged := TAGGED.match(said)):
            said, reasoning = said[tagged.end() :], tagged[1].strip("\n")
        content = Owner(index, "final" if says else None, "chosen" if says else "supplied")
        thought = Owner(index, "analysis", "chosen")
        found: dict[str, Any] = {
            "role": "system" if message.role == "developer" else message.role,
            "content": supply.text(said, content),
        }
        if reasoning is not None:
            found["reasoning_content"] = found["thinking"] = supply.text(reasoning, thought)
        if message.tool_call_id is not None:
            found["tool_call_id"] = supply.text(ids[message.tool_call_id], content)
        if name is not None:
            found["name"] = supply.text(name, content)
        return found


def without_words(shown: dict[str, Any], wordless: Wordless) -> dict[str, Any]:
    """A message with calls and an empty text as the template wants it."""
    if wordless == "empty":
        return shown
    rest = {key: value for key, value in shown.items() if key != "content"}
    return rest if wordless == "absent" else rest | {"content": None}


def calls_of(
    index: int, message: Message, supply: TemplateValues, ids: Mapping[str, str], *, as_text: bool
) -> list[dict[str, Any]]:
    """The calls of a message as templates know them."""
    call = Owner(index, "commentary", "chosen")
    return [
        {
            "id": supply.text(ids[each.id], call),
            "type": "function",
            "function": {
                "name": supply.text(each.name, call),
                "arguments": supply.value(each.arguments if as_text else arguments_of(each.arguments), call),
            },
        }
        for each in message.tool_calls
    ]


def refuse_what_the_template_ignores(conversation: Conversation, variables: frozenset[str], *, thinks: bool) -> None:
    asked: list[tuple[bool, str, str]] = [
        (
            bool(conversation.tools) and "tools" not in variables,
            "tools",
            "leave them out, choose a model with tools, or a template with them (`--template builtin`)",
        ),
        (conversation.effort is not None and EFFORT_SWITCH not in variables, "an effort", "leave it out"),
        (
            conversation.thinking is False and thinks and not set(THINKING_SWITCHES) & variables,
            "thinking=False",
            "leave it out: this model always thinks",
        ),
        (conversation.thinking is True and not thinks, "thinking=True", "leave it out: this model does not think"),
        (bool(conversation.builtin_tools), "builtin_tools", "declare them as functions"),
    ]
    for refused, what, remedy in asked:
        if refused:
            raise ChatError(
                f"writing a prompt: the conversation asks for {what}, which the model's chat template has no place for "
                f"(it reads {', '.join(sorted(variables))}); {remedy}."
            )


def text_of(tokenizer: "Tokenizer", token: int | None) -> str:
    return "" if token is None else tokenizer.token_bytes(token).decode(errors="replace")


def tool_dict(tool: Tool, supply: TemplateValues) -> dict[str, Any]:
    owner = Owner(None, None, "supplied")
    parameters = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    return {
        "type": "function",
        "function": {
            "name": supply.text(tool.name, owner),
            "description": supply.text(tool.description, owner),
            "parameters": supply.value(parameters, owner),
        },
    }


def templates_own(value: Any) -> Any:
    """Strings that nobody supplied (keys of messages, roles) are as good as the template's own."""
    match value:
        case OwnedText():
            return value
        case str():
            return own(value)
        case dict():
            return {templates_own(key): templates_own(each) for key, each in value.items()}
        case list():
            return [templates_own(each) for each in value]
    return value


def arguments_of(written: str) -> Any:
    """A call's arguments as templates want them, an object; text that is none stays text."""
    value = as_object(written)
    return value if isinstance(value, dict) else written
