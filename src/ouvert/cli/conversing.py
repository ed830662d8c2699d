"""A conversation at a terminal: what is typed is said to the model, except for commands, which begin with /."""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ouvert.assistant import Answer, AssistantError, ContextExceeded, Finished, Message, Model
from ouvert.chat import ChatError, Effort
from ouvert.cli.answer_options import chat_settings, generation_settings
from ouvert.cli.answering import Screen, Shown, complain, ctrl_c_calls, facts_of, show_answer, sources_in_words
from ouvert.cli.line_editor import history_file, lines_of, make_session
from ouvert.engine import EngineError

COMMANDS = {
    "/help": "show this list",
    "/model": "NAME: go on with another model; without NAME: say which one this is",
    "/system": "TEXT: instructions from here on; without TEXT: show them; - takes them away",
    "/effort": "low, medium or high: how much to think from here on; - leaves it to the model",
    "/think": "N: end thoughts after N tokens from here on; - takes the budget away",
    "/shorten": "where the conversation is too long, go on without its oldest turns; the receipts say which",
    "/summary": "begin anew with a summary of what was said, which the model writes",
    "/clear": "forget what was said (instructions stay)",
    "/save": "FILE: write the conversation, as JSON if the name ends so, else as text",
    "/quit": "leave (so does Ctrl-D)",
}
FULL = "The context of {} tokens is full."
WAYS_ON = (
    "/shorten goes on without the oldest turns, /summary begins anew with a summary, /clear forgets everything; "
    "--context N loads the model with more, where it was trained for it."
)
TOO_LONG = (
    "This message is too long by itself, with nothing said before it: the context holds {} tokens, instructions and "
    "answer among them. Send a part of it."
)
SUMMARISE = (
    "Summarise our conversation so far, so that it can be continued elsewhere: what was asked, what was found, what is "
    "still open. Be brief."
)
KEYS = "Enter sends, Alt-Enter (or \\ before Enter) begins a new line, Ctrl-C stops an answer, Tab completes commands."


@dataclass
class Talk:
    """A conversation in progress, and with whom."""

    model: Model
    system: str | None = None
    effort: Effort | None = None
    think_budget: int | None = None
    said: list[Message] = field(default_factory=list)
    receipts: list[Mapping[str, Any]] = field(default_factory=list)
    shortens: bool = False
    unsaid: str | None = None  # what was typed and no longer fitted

    @property
    def messages(self) -> list[Message]:
        instructions = [Message(role="system", content=self.system)] if self.system is not None else []
        return instructions + self.said


class CommandError(Exception):
    """A command that cannot be done. The message says why and what to do."""


def converse(model: Model, args: argparse.Namespace, open_other: Callable[[str], Model]) -> int:
    """Hold a conversation until its owner leaves. `open_other` loads a model by name, for /model."""
    import sys

    if args.effort is not None and lacks_efforts(model):
        complain(f"--effort {args.effort}: {model.called} has no efforts to choose. Leave it out.")
        return 1
    if args.think_budget is not None and lacks_thoughts(model):
        complain(f"--think-budget {args.think_budget}: {model.called} does not think before it answers. Leave it out.")
        return 1
    try:
        history = history_file()
    except OSError as problem:
        complain(f"what is typed is not kept: {problem}. `ouvert cache clear --history` removes what stands there.")
        history = None
    session = make_session(COMMANDS, history)
    screen = Screen(sys.stdout, sys.stderr, hide_thinking=args.hide_thinking, show_thinking=args.show_thinking)
    screen.note(f"{model.called}. {KEYS} /help shows the commands.")
    return hold(Talk(model, args.system, args.effort, args.think_budget), lines_of(session), screen, args, open_other)


def hold(
    talk: Talk, lines: Iterator[str], screen: Screen, args: argparse.Namespace, open_other: Callable[[str], Model]
) -> int:
    """Answer every line, until there are no more or one of them says /quit."""
    from ouvert.cli import known_errors

    first = talk.model
    try:
        for line in lines:
            text = line.strip()
            if not text:
                continue
            if text == "/quit":
                break
            try:
                respond(talk, text, screen, args, open_other)
            except Exception as problem:
                if not isinstance(problem, (CommandError, *known_errors())):
                    raise
                screen.note(f"ouvert: {problem}")
    finally:
        if talk.model is not first:
            talk.model.close()
    return 0


def respond(
    talk: Talk, text: str, screen: Screen, args: argparse.Namespace, open_other: Callable[[str], Model]
) -> None:
    """Do what a line asks for: a command, or something said to the model. Raises CommandError."""
    name = text.split()[0]
    if text in ("/shorten", "/summary"):
        go_on(talk, text, screen, args)
    elif name in COMMANDS:
        screen.note(command(talk, text, open_other))
    elif text.startswith("/") and "/" not in name[1:]:
        raise CommandError(f"there is no command {name}. /help shows those there are.")
    else:
        say(talk, text, screen, args)


def say(talk: Talk, text: str, screen: Screen, args: argparse.Namespace) -> None:
    """Say something and show the answer. An answer that was stopped stays in the conversation as far as it came."""
    talk.said.append(Message(role="user", content=text))
    try:
        settings = chat_settings(args) | {"effort": talk.effort, "think_budget": talk.think_budget}
        answer = talk.model.chat(
            talk.messages,
            stop=args.stop,
            progress=True,
            truncate=talk.shortens,
            **settings,
            **generation_settings(args),
        )
        with ctrl_c_calls(answer.cancel):
            shown = show_answer(answer, screen)
    except ContextExceeded as problem:
        talk.said.pop()
        if talk.shortens or not talk.said:  # there is nothing left to leave out
            talk.unsaid = None
            raise CommandError(TOO_LONG.format(problem.context)) from problem
        talk.unsaid = text
        raise CommandError(f"{FULL.format(problem.context)} {WAYS_ON}") from problem
    except (AssistantError, ChatError, EngineError, KeyboardInterrupt):
        screen.end_line()
        talk.said.pop()
        raise
    take_up(talk, shown)
    if listed := sources_in_words(shown.cited):
        screen.note(listed)
    note_cost(talk, answer, shown.finished, screen)


def take_up(talk: Talk, shown: Shown) -> None:
    """The answer becomes part of the conversation."""
    finished = shown.finished
    reasoning = shown.reasoning or None
    talk.said.append(Message(role="assistant", content=shown.text, reasoning=reasoning, tool_calls=finished.tool_calls))
    talk.receipts.append(finished.receipt)
    talk.unsaid = None


def note_cost(talk: Talk, answer: Answer, finished: Finished, screen: Screen) -> None:
    """What the answer cost, and what was left out or did not fit."""
    screen.note(facts_of(finished))
    if answer.left_out:
        screen.note(
            f"read without the {len(answer.left_out)} oldest messages of the conversation; the receipt names them"
        )
    elif finished.reason == "length" and finished.usage.prompt + finished.usage.output >= talk.model.info.context:
        screen.note(f"{FULL.format(talk.model.info.context)} {WAYS_ON}")
    if finished.unrecorded is not None:
        screen.note(f"ouvert: {finished.unrecorded}")


def go_on(talk: Talk, way: str, screen: Screen, args: argparse.Namespace) -> None:
    """Where the context is full: without the oldest turns, or anew with a summary. What did not fit is said again."""
    unsaid = talk.unsaid
    talk.shortens = True
    if way == "/summary":
        if not talk.said:
            raise CommandError("/summary: nothing was said yet.")
        say(talk, SUMMARISE, screen, args)
        talk.said[:-2] = []  # the question for a summary and the summary are what is left
        screen.note("The conversation goes on from this summary.")
    elif unsaid is None:
        screen.note("From here on the oldest turns are left out where there is no room.")
    if unsaid is not None:
        say(talk, unsaid, screen, args)


def command(talk: Talk, text: str, open_other: Callable[[str], Model]) -> str:
    """Do what a command says and tell what was done. Raises CommandError."""
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    match name:
        case "/model":
            return change_model(talk, rest, open_other)
        case "/system":
            return change_system(talk, rest)
        case "/effort":
            return change_effort(talk, rest)
        case "/think":
            return change_budget(talk, rest)
        case "/clear":
            talk.said.clear()
            talk.unsaid = None
            talk.receipts.clear()
            return "Forgotten."
        case "/save":
            return save(talk, rest)
    width = max(map(len, COMMANDS))
    return "\n".join([*(f"{each:<{width}}  {meaning}" for each, meaning in COMMANDS.items()), KEYS])


def change_model(talk: Talk, name: str, open_other: Callable[[str], Model]) -> str:
    if name:
        other = open_other(name)
        talk.model.close()
        talk.model = other
        if talk.effort is not None and lacks_efforts(other):
            talk.effort = None
        if talk.think_budget is not None and lacks_thoughts(other):
            talk.think_budget = None
    info = talk.model.info
    size = f"{info.parameters / 1e6:.0f} million parameters"
    return f"{talk.model.called}: {info.family}, {size}, context {info.context} tokens."


def change_system(talk: Talk, text: str) -> str:
    if text == "-":
        talk.system = None
        return "No instructions from here on."
    if text:
        talk.system = text
        return "Instructions from here on: " + text
    return "There are no instructions." if talk.system is None else "Instructions: " + talk.system


def lacks_efforts(model: Model) -> bool:
    return not model.assistant.chat.abilities.efforts


def lacks_thoughts(model: Model) -> bool:
    return not model.assistant.chat.abilities.thinks


def change_effort(talk: Talk, text: str) -> str:
    match text:
        case "low" | "medium" | "high":
            if lacks_efforts(talk.model):
                raise CommandError(f"/effort {text}: {talk.model.called} has no efforts to choose. Nothing changed.")
            talk.effort = text
        case "-":
            talk.effort = None
        case "":
            pass
        case _:
            raise CommandError(f"/effort is low, medium, high, or - for what the model does by itself, not {text!r}.")
    return f"Effort: {talk.effort or 'what the model does by itself'}."


def change_budget(talk: Talk, text: str) -> str:
    if text == "-":
        talk.think_budget = None
    elif text.isdecimal():
        if lacks_thoughts(talk.model):
            raise CommandError(f"/think {text}: {talk.model.called} does not think before it answers. Nothing changed.")
        talk.think_budget = int(text)
    elif text:
        raise CommandError(f"/think is a number of tokens, or - for no end, not {text!r}.")
    return (
        "Thoughts end by themselves."
        if talk.think_budget is None
        else f"Thoughts end after {talk.think_budget} tokens."
    )


def save(talk: Talk, name: str) -> str:
    """Write the conversation, readable by its owner only. Raises CommandError."""
    if not name:
        raise CommandError("/save needs the name of a file: /save talk.json or /save talk.txt.")
    path = Path(name).expanduser()
    content = as_json(talk) if path.suffix == ".json" else as_text(talk)
    try:
        with open(path, "x", encoding="utf-8", opener=owner_only) as file:
            file.write(content + "\n")
    except FileExistsError as problem:
        raise CommandError(f"{path} is there already and is not overwritten: choose another name.") from problem
    except OSError as problem:
        raise CommandError(f"{path} cannot be written ({problem.strerror}): choose another place.") from problem
    return f"{len(talk.messages)} messages written to {path}."


def as_json(talk: Talk) -> str:
    messages = [message_facts(message) for message in talk.messages]
    facts = {"model": talk.model.called, "messages": messages, "receipts": talk.receipts}
    return json.dumps(facts, indent=2, ensure_ascii=False)


def as_text(talk: Talk) -> str:
    return "\n\n".join(f"{message.role}:\n{message.content}" for message in talk.messages)


def message_facts(message: Message) -> dict[str, Any]:
    """A message in OpenAI's shape."""
    facts: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        facts["reasoning"] = message.reasoning
    if message.tool_calls:
        facts["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return facts


def owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
