"""The shapes of data: one table, one detector, a converter each. docs/formats/tuning-data.md shows a line of each."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ouvert.chat import Message, ToolCall
from ouvert.tuning.recipe import Method
from ouvert.tuning.rows import Row
from ouvert.tuning.talk import RowError, Talk, arguments_of, checked_text, message_of, ordered, shown, talk_of, tools_of

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text to be continued as it is, without a conversation."""

    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a conversation."""

    prompt: Talk
    chosen: Message
    rejected: Message


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer to a conversation, and whether it is wanted."""

    prompt: Talk
    answer: Message
    desirable: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation to be answered while training, and the columns that rewards read."""

    prompt: Talk
    columns: Values


Converted = Talk | PlainText | Pair | Judged | Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`required` keys tell it from others, among which no one of `without` may be; `optional` ones are read as well.

    `as_written`: it needs no word that it was converted.
    """

    name: str
    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    convert: Callable[[Values], Converted]
    leaves: frozenset[str] = frozenset()  # keys that change nothing of what is learnt
    columns: bool = False  # whether all other keys are columns for rewards
    as_written: bool = field(default=False)


SETTINGS = frozenset({"tools", "reasoning_effort", "chat_template_kwargs"})


# --- converters ---


def messages(row: Values) -> Talk:
    if "parallel_tool_calls" in row and not isinstance(row["parallel_tool_calls"], bool):
        raise RowError(f"parallel_tool_calls is {shown(row['parallel_tool_calls'])}, expected true or false")
    talk = talk_of(row["messages"], row)
    if not talk.answered:
        raise RowError("the last message is not the assistant's, expected an answer to learn at the end")
    return talk


def completion(row: Values) -> Talk:
    prompt = prompt_of(row)
    return prompt.followed_by(*answer_of(row["completion"], "completion"))


def text(row: Values) -> PlainText:
    return PlainText(text_in(row, "text"))


def alpaca_prompt(row: Values) -> Talk:
    found = [Message(role="system", content=text_in(row, "system"))] if row.get("system") else []
    history = row.get("history") or []
    for n, turn in enumerate(history if isinstance(history, list) else [history]):
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(each, str) for each in turn):
            raise RowError(f"history[{n}] is {shown(turn)}, expected a question and its answer")
        found += [Message(role="user", content=turn[0]), Message(role="assistant", content=turn[1])]
    asks = text_in(row, "instruction")
    if row.get("input"):
        asks += "\n" + text_in(row, "input")
    found.append(Message(role="user", content=asks))
    return ordered(found, [None] * len(found), plain=not (history or row.get("system")))


def alpaca(row: Values) -> Talk:
    return alpaca_prompt(row).followed_by(*answer_of(row["output"], "output"))


ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "call",
    "observation": "tool",
    "tool": "tool",
}


def sharegpt_turn(given: Any, where: str) -> tuple[Message, float | None]:
    if not isinstance(given, dict) or given.keys() - {"from", "value", "weight", "train"}:
        raise RowError(f"{where} is {shown(given)}, expected an object with from and value")
    role = ROLES.get(given.get("from", ""))
    if role is None:
        raise RowError(f"{where}.from is {shown(given.get('from'))}, expected one of {', '.join(ROLES)}")
    weights = {key: given[key] for key in ("weight", "train") if key in given}
    if role != "call":
        return message_of({"role": role, "content": given.get("value"), **weights}, where)
    calls = called_in(given.get("value"), where)
    _, weight = message_of({"role": "assistant", "content": "-", **weights}, where)
    return Message(role="assistant", tool_calls=calls), weight


def called_in(value: Any, where: str) -> tuple[ToolCall, ...]:
    """The calls in the value of a `function_call`: the JSON text of one, or of a list of them."""
    try:
        said = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        said = None
    found = said if isinstance(said, list) else [said]
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in found) or not found:
        raise RowError(f'{where}.value is {shown(value)}, expected JSON such as {{"name": "f", "arguments": {{}}}}')
    return tuple(ToolCall("", each["name"], arguments_of(each.get("arguments"), where)) for each in found)


def sharegpt_talk(row: Values) -> Talk:
    given = row["conversations"]
    if not isinstance(given, list) or not given:
        raise RowError(f"conversations is {shown(given)}, expected a list of turns")
    pairs = [sharegpt_turn(each, f"conversations[{n}]") for n, each in enumerate(given)]
    if row.get("system"):
        pairs.insert(0, (Message(role="system", content=text_in(row, "system")), None))
    turns, weights = [message for message, _ in pairs], [weight for _, weight in pairs]
    return ordered(turns, weights, tools=tools_of(row.get("tools")))


def sharegpt(row: Values) -> Talk:
    talk = sharegpt_talk(row)
    if not talk.answered:
        raise RowError("the last turn is not the assistant's, expected an answer to learn at the end")
    return talk


def sharegpt_preference(row: Values) -> Pair:
    chosen, rejected = (sharegpt_turn(row[key], key)[0] for key in ("chosen", "rejected"))
    return pair(asking(sharegpt_talk(row)), chosen, rejected)


def sharegpt_judged(row: Values) -> Judged:
    return judged(sharegpt(row), row["kto_tag"], "kto_tag")


def alpaca_preference(row: Values) -> Pair:
    chosen, rejected = (answer_of(row[key], key)[0] for key in ("chosen", "rejected"))
    return pair(alpaca_prompt(row), chosen, rejected)


def alpaca_judged(row: Values) -> Judged:
    return judged(alpaca(row), row["kto_tag"], "kto_tag")


def preference(row: Values) -> Pair:
    chosen, rejected = (answer_of(row[key], key)[0] for key in ("chosen", "rejected"))
    return pair(prompt_of(row), chosen, rejected)


def implicit_preference(row: Values) -> Pair:
    """The prompt is what both conversations begin with."""
    chosen, rejected = (talk_of(row[key], row, key) for key in ("chosen", "rejected"))
    for key, talk in (("chosen", chosen), ("rejected", rejected)):
        if not talk.answered or len(talk.messages) < 2:
            raise RowError(
                f"{key} is no prompt with an answer behind it, expected both, or the prompt in a key of its own"
            )
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise RowError(
            "chosen and rejected differ before their last messages, expected the same prompt and two answers"
        )
    return pair(without_last(chosen), chosen.messages[-1], rejected.messages[-1])


def openai_preference(row: Values) -> Pair:
    given = row["input"]
    if not isinstance(given, dict) or (given.keys() - {"messages", "tools", "parallel_tool_calls"}):
        raise RowError(f"input is {shown(given)}, expected an object with messages, and perhaps tools")
    chosen, rejected = (answer_of(row[key], key)[0] for key in ("preferred_output", "non_preferred_output"))
    return pair(asking(talk_of(given.get("messages"), given, "input.messages")), chosen, rejected)


def labelled(row: Values) -> Judged:
    return judged(completion(row), row["label"], "label")


def correction(row: Values) -> Pair:
    """An answer that the owner corrected (store.Corrections): what is wanted is chosen, what was given rejected."""
    if row["ouvert_correction"] != 1:
        raise RowError(f"ouvert_correction is {shown(row['ouvert_correction'])}, expected 1: of a newer program?")
    wanted, given = (answer_of(row[key], key)[0] for key in ("wanted", "given"))
    return pair(asking(talk_of(row["messages"], row)), wanted, given)


def prompt(row: Values) -> Asked:
    columns = {name: value for name, value in row.items() if name not in {"prompt", *SETTINGS}}
    return Asked(prompt_of(row), columns)


def asking_messages(row: Values) -> Asked:
    columns = {name: value for name, value in row.items() if name not in {"messages", *SETTINGS}}
    return Asked(asking(talk_of(row["messages"], row)), columns)


# --- their parts ---


def text_in(row: Values, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise RowError(f"{key} is {shown(value)}, expected a text")
    return checked_text(value, key)


def prompt_of(row: Values) -> Talk:
    given = row["prompt"]
    if isinstance(given, str):
        talk = talk_of([{"role": "user", "content": text_in(row, "prompt")}], row, "prompt")
        return Talk(messages=talk.messages, weights=talk.weights, tools=talk.tools, effort=talk.effort, plain=True)
    return asking(talk_of(given, row, "prompt"))


def answer_of(given: Any, key: str) -> tuple[Message, float | None]:
    """One message of the assistant: as a text, as a message, or as a list of one."""
    if isinstance(given, str):
        given = {"role": "assistant", "content": given}
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, dict):
        raise RowError(f"{key} is {shown(given)}, expected a text or one message of the assistant")
    message, weight = message_of(given, key)
    if message.role != "assistant":
        raise RowError(f"{key} is the {message.role}'s, expected the assistant's")
    answer = ordered([message], [weight])
    return answer.messages[0], weight


def asking(talk: Talk) -> Talk:
    if talk.answered:
        raise RowError("the prompt ends with the assistant's message, expected it to end before the answer")
    return talk


def without_last(talk: Talk) -> Talk:
    return Talk(
        messages=talk.messages[:-1],
        weights=talk.weights[:-1],
        tools=talk.tools,
        effort=talk.effort,
        thinking=talk.thinking,
        plain=talk.plain,
    )


def pair(asked: Talk, chosen: Message, rejected: Message) -> Pair:
    if chosen == rejected:
        raise RowError("the two answers are the same, expected one that is better than the other")
    return Pair(asked, chosen, rejected)


def judged(talk: Talk, label: Any, key: str) -> Judged:
    said = (
        {"true": True, "false": False}.get(label.lower(), label) if isinstance(label, str) else label
    )  # CSV has texts
    if not isinstance(said, bool):
        raise RowError(f"{key} is {shown(label)}, expected true or false")
    return Judged(without_last(talk), talk.messages[-1], said)


# --- the table ---


def shape(
    name: str,
    required: str,
    convert: Callable[[Values], Converted],
    *,
    optional: str = "",
    without: str = "",
    leaves: str = "",
    **more: bool,
) -> Shape:
    words = {"required": required, "optional": optional, "without": without, "leaves": leaves}
    keys = {which: frozenset(each.split()) for which, each in words.items()}
    return Shape(
        name=name,
        required=keys["required"],
        optional=keys["optional"],
        without=keys["without"],
        leaves=keys["leaves"],
        convert=convert,
        **more,
    )


# What public data has beside a conversation, and what changes nothing of it: ids and where it comes from (ShareGPT and
# its copies, OpenHermes 2.5, SmolTalk, Tulu 3, UltraChat, No Robots), marks that were given (UltraFeedback).
FROM_WHERE = frozenset({
    "id", "idx", "index", "hash", "conversation_id", "prompt_id", "source", "dataset", "category", "topic", "title",
    "language", "url", "views", "avatarUrl", "model", "model_name",
})  # fmt: skip
MARKS = "score_chosen score_rejected chosen-rating rejected-rating chosen-model rejected-model"
# Texts that others made of a row: Stanford Alpaca's `text`, `prompt` in copies of it, in UltraChat and No Robots.
SAID_AGAIN = frozenset({"text", "prompt"})
ALPACA = "input system history"
CHAT = " ".join(sorted(SETTINGS))
# What each method learns from. Read from the top: the first that fits a row is its shape.
LEARNT: tuple[Shape, ...] = (
    shape("messages", "messages", messages, optional=f"{CHAT} parallel_tool_calls", without="ouvert_correction",
          as_written=True),
    shape("prompt and completion", "prompt completion", completion, optional=CHAT, without="label", as_written=True),
    shape("Alpaca", "instruction output", alpaca, optional=ALPACA, without="kto_tag"),
    shape("ShareGPT", "conversations", sharegpt, optional="system tools", without="chosen kto_tag"),
    shape("text", "text", text, as_written=True),
)  # fmt: skip
PREFERRED: tuple[Shape, ...] = (
    shape("correction", "ouvert_correction messages given wanted", correction, as_written=True,
          optional=f"{CHAT} id created model receipt"),
    shape("preference", "prompt chosen rejected", preference, optional=CHAT, leaves=MARKS, as_written=True),
    shape("OpenAI's preference", "input preferred_output non_preferred_output", openai_preference),
    shape("ShareGPT preference", "conversations chosen rejected", sharegpt_preference, optional="system tools"),
    shape("Alpaca preference", "instruction chosen rejected", alpaca_preference, optional=ALPACA, leaves=MARKS),
    shape("preference without a prompt of its own", "chosen rejected", implicit_preference, optional=CHAT,
          leaves=MARKS),
)  # fmt: skip
LABELLED: tuple[Shape, ...] = (
    shape("labelled answer", "prompt completion label", labelled, optional=CHAT, as_written=True),
    shape("labelled Alpaca", "instruction output kto_tag", alpaca_judged, optional=ALPACA),
    shape("labelled ShareGPT", "conversations kto_tag", sharegpt_judged, optional="system tools"),
)
ASKED: tuple[Shape, ...] = (
    shape("prompt", "prompt", prompt, columns=True, as_written=True, without="chosen rejected completion"),
    shape("prompt as messages", "messages", asking_messages, columns=True, as_written=True,
          without="ouvert_correction"),
)  # fmt: skip
CORRECTION = PREFERRED[:1]
SHAPES: Mapping[Method, tuple[Shape, ...]] = {
    "sft": CORRECTION + LEARNT,
    "dpo": PREFERRED,
    "orpo": PREFERRED,
    "kto": LABELLED + PREFERRED,
    "grpo": ASKED,
}
ALL_SHAPES = PREFERRED + LABELLED + LEARNT + ASKED


def shape_of(row: Values, method: Method) -> Shape:
    """Raises RowError for a row of no shape that the method learns from, and for a key that its shape does not have."""
    fitting = [each for each in SHAPES[method] if each.required <= row.keys() and not each.without & row.keys()]
    if not fitting:
        raise RowError(nothing_fits(row, method))
    found = fitting[0]
    unknown = sorted(row.keys() - found.required - found.optional - left_in(found, row))
    if unknown and not found.columns:
        raise RowError(
            f"unknown keys {', '.join(unknown)[:200]} in the shape {found.name}, expected only "
            f"{', '.join(sorted(found.required | found.optional))}. Remove them, or name them in the recipe: "
            f"[data] ignore = {json.dumps(unknown)[:200]}"
        )
    return found


def left_in(shape: Shape, row: Values) -> frozenset[str]:
    """Keys of a row that are left: they say where it comes from, or say again what it says. Raises nothing."""
    others = {key for key, value in row.items() if value is not None} - shape.required - shape.optional
    if shape.columns:
        return frozenset()
    return frozenset(
        key
        for key in others
        if key in FROM_WHERE or key in shape.leaves or (key in SAID_AGAIN and says_again(key, row))
    )


def says_again(key: str, row: Values) -> bool:
    """Whether it is a text in which the instruction stands, or one of the messages."""
    text, instruction, given = row[key], row.get("instruction"), row.get("messages")
    if not isinstance(text, str):
        return False
    if isinstance(instruction, str):
        return instruction in text
    turns = given if isinstance(given, list) else []
    return any(isinstance(each, dict) and each.get("content") == text for each in turns)


def nothing_fits(row: Values, method: Method) -> str:
    keys = ", ".join(sorted(row))[:200] or "no keys"
    other = next((each for each in ALL_SHAPES if each.required <= row.keys() and not each.without & row.keys()), None)
    if other is not None and not other.columns:
        methods = [name for name, shapes in SHAPES.items() if other in shapes]
        return f"the shape {other.name}, which {method} does not learn from. Choose --method {' or '.join(methods)}"
    expected = "; ".join(", ".join(sorted(each.required)) for each in SHAPES[method])
    return f"{keys}, expected the keys of a shape: {expected}. docs/formats/tuning-data.md"


def converted(rows: Sequence[Row], method: Method, ignore: Sequence[str]) -> tuple[list[tuple[int, Converted]], Shape]:
    """Each row as a value, with its line, and the one shape of all. Raises RowsError."""
    found: list[tuple[int, Converted]] = []
    faults: list[tuple[int, str]] = []
    first: tuple[str, Shape] | None = None
    for row in rows:
        values = {key: value for key, value in row.values.items() if value is not None and key not in ignore}
        try:
            its = shape_of(values, method)
            first = first or (f"{row.unit} {row.line}", its)
            if its is not first[1]:
                raise RowError(f"the shape {its.name}, while {first[0]} is {first[1].name}: one shape a file")
            found.append((row.line, its.convert(values)))
        except RowError as fault:
            faults.append((row.line, str(fault)))
    if faults or first is None:
        raise RowsError(faults)
    return found, first[1]


class RowsError(Exception):
    """All that is wrong with the rows of a file, by line."""

    def __init__(self, found: Sequence[tuple[int, str]]) -> None:
        self.found = tuple(found)
        super().__init__(f"{len(found)} rows cannot be used")
