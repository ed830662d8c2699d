"""BFCL, the Berkeley Function Calling Leaderboard: single calls of one tool, of one among several, and no call.

Source: Patil et al., The Berkeley Function Calling Leaderboard, ICML 2025. The questions are read out of the wheel of
bfcl-eval, which is never installed: it would bring other versions of NumPy and the clients of 25 companies.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Ask, Chat, Item
from ouvert.evaluation.outcome import Call, Outcome, Score
from ouvert.evaluation.suites.generated import all_or_nothing
from ouvert.evaluation.suites.json_values import NotJsonError, json_value, same_value
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.pinned_files import read_pinned
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns, wording_at

WHEEL = "bfcl_eval-2026.3.23-py3-none-any.whl"
# Group -> the file of its questions, and of its answers where there are any.
PARTS = {
    "simple": (
        "bfcl_eval/data/BFCL_v4_simple_python.json",
        "bfcl_eval/data/possible_answer/BFCL_v4_simple_python.json",
    ),
    "multiple": ("bfcl_eval/data/BFCL_v4_multiple.json", "bfcl_eval/data/possible_answer/BFCL_v4_multiple.json"),
    "irrelevance": ("bfcl_eval/data/BFCL_v4_irrelevance.json", ""),
}
CALL_TOKENS = 256
# Python's names of types, as the files have them, in those of JSON Schema. "any" is a schema without a type.
TYPES = {"dict": "object", "float": "number", "tuple": "array"}
KEPT = ("description", "enum")  # of a parameter; defaults and "optional" are said by `required`
NONE = "none"
OPTIONAL = ""  # among the possible values: the argument may be left out
IGNORED = str.maketrans("", "", " ,./-_*^'\"’")  # within texts, as the leaderboard's own comparison does
ASKS = (
    (
        "You can use these functions:\n{tools}\n\nRequest: {request}\n\nReply with JSON: the function and its "
        'arguments, as {shape}. If no function can do what is asked, the function is "none" with no arguments.'
    ),
    (
        "Functions:\n{tools}\n\n{request}\n\nWhich function has to be called, with which arguments? Answer in JSON: "
        '{shape}, or with the function "none" and no arguments if none fits.'
    ),
    (
        "{request}\n\nAnswer with a function call as JSON: {shape}. There are these functions:\n{tools}\nIf none does "
        'it, call "none" without arguments.'
    ),
)
SHAPE = '{"call": {"function": NAME, "arguments": {...}}}'


@dataclass(frozen=True)
class Bfcl:
    """Each question in two forms: "free", with the functions as tools, and "schema", held to a JSON schema."""

    card: Card
    path: Path

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        language_of(self.card, language)
        content = read_pinned(self.path, self.card.digest, WHEEL)
        entries = in_turns(entries_of(content), seed, lambda entry: entry["id"], lambda entry: entry["group"])
        return tuple(
            item
            for position, entry in enumerate(entries[: max(count, 0)])
            for item in self._both_forms(entry, wording_at(position, len(ASKS), len(PARTS)))
        )

    def _both_forms(self, entry: Mapping[str, Any], wording: int) -> list[Item]:
        return [
            Item(
                suite=self.card.name, id=entry["id"], language="en", ask=ask, expected={"call": entry["call"]},
                form=form, cluster=entry["tools"][0]["function"]["name"], group=entry["group"], wording=wording,
            )
            for form, ask in forms(entry["request"], entry["tools"], wording).items()
        ]  # fmt: skip

    def score(self, item: Item, outcome: Outcome) -> Score:
        if outcome.refused:
            return Score(value=0.0, right=False, note="could not be asked")
        return score_calls(item, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return {
            "never a call": lambda item: _saying(item, NONE, {}) if item.form == "schema" else Outcome(text="No."),
            "the first function without arguments": lambda item: _saying(item, _first(item), {}),
        }

    def describe(self) -> Mapping[str, Any]:
        return {"path": str(self.path), "digest": self.card.digest, "parts": list(PARTS)}


def entries_of(wheel: bytes) -> list[dict[str, Any]]:
    """Every question with its tools and the possible calls. Raises EvaluationError for a wheel without these files."""
    entries = []
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            for group, (questions, answers) in PARTS.items():
                right = {each["id"]: each["ground_truth"][0] for each in _lines(archive, answers)} if answers else {}
                for each in _lines(archive, questions):
                    tools = [as_tool(function) for function in each["function"]]
                    request = each["question"][0][0]["content"]
                    call = right[each["id"]] if answers else None
                    entries.append({"id": each["id"], "group": group, "request": request, "tools": tools, "call": call})
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, ValueError) as problem:
        raise EvaluationError(
            f"reading {WHEEL}: it lacks the questions of the suite 'bfcl' ({problem!r})."
        ) from problem
    return entries


def _lines(archive: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(name).decode("utf-8").splitlines() if line.strip()]


def as_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function in OpenAI's shape. Its name may hold no point there."""
    return {
        "type": "function",
        "function": {
            "name": plain_name(function["name"]),
            "description": function["description"],
            "parameters": as_schema(function["parameters"]),
        },
    }


def plain_name(name: str) -> str:
    """math.factorial -> math_factorial."""
    return name.replace(".", "_")


def as_schema(stated: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's description as JSON Schema."""
    kind = TYPES.get(stated.get("type", "any"), stated.get("type", "any"))
    schema: dict[str, Any] = {name: stated[name] for name in KEPT if name in stated}
    if kind != "any":
        schema["type"] = kind
    if kind == "array" and isinstance(stated.get("items"), Mapping):
        schema["items"] = as_schema(stated["items"])
    if kind == "object" and "properties" in stated:
        schema["properties"] = {name: as_schema(each) for name, each in stated["properties"].items()}
        schema["required"] = [name for name in stated.get("required", ()) if name in stated["properties"]]
        schema["additionalProperties"] = False
    return schema


def forms(request: str, tools: Sequence[Mapping[str, Any]], wording: int) -> dict[str, Ask]:
    """The request with its functions, in both forms."""
    listed = "\n".join(
        f"- {each['function']['name']}: {each['function']['description']} Arguments: "
        f"{json.dumps(each['function']['parameters'].get('properties', {}), ensure_ascii=False)}"
        for each in tools
    )
    said = ASKS[wording].replace("{shape}", SHAPE).replace("{tools}", listed).replace("{request}", request)
    calls = [_call_schema(each["function"]["name"], each["function"]["parameters"]) for each in tools]
    calls.append(_call_schema(NONE, {"type": "object", "properties": {}, "additionalProperties": False}))
    schema = {
        "type": "object",
        "properties": {"call": {"anyOf": calls}},
        "required": ["call"],
        "additionalProperties": False,
    }
    return {
        "free": Chat(messages=({"role": "user", "content": request},), max_tokens=CALL_TOKENS, tools=tuple(tools)),
        "schema": Chat(messages=({"role": "user", "content": said},), max_tokens=CALL_TOKENS, schema=schema),
    }


def _call_schema(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"function": {"type": "string", "enum": [name]}, "arguments": parameters},
        "required": ["function", "arguments"],
        "additionalProperties": False,
    }


def score_calls(item: Item, outcome: Outcome) -> Score:
    """1 for one call of the right function with possible arguments, or for none where none fits. Raises nothing."""
    try:
        made = calls_made(item, outcome)
    except (NotJsonError, KeyError, TypeError) as problem:
        return all_or_nothing(False, f"no call can be read: {type(problem).__name__}", malformed=True)
    wanted = item.expected["call"]
    if wanted is None:
        silent = not made and bool(outcome.text.strip())
        return all_or_nothing(silent, "calls, and no function fits" if made else "says nothing", malformed=not made)
    ((name, possible),) = wanted.items()
    if [called for called, _ in made] != [plain_name(name)]:
        return all_or_nothing(False, f"calls {[called for called, _ in made]}, not {plain_name(name)}"[:200])
    return all_or_nothing(possible_arguments(made[0][1], possible), f"arguments {made[0][1]!r}"[:200])


def calls_made(item: Item, outcome: Outcome) -> list[tuple[str, Any]]:
    """Names and arguments. Raises NotJsonError, KeyError or TypeError for what is no call."""
    if item.form == "free":
        return [(call.name, json_value(call.arguments)) for call in outcome.calls]
    call = json_value(outcome.text)["call"]
    return [] if call["function"] == NONE else [(call["function"], call["arguments"])]


def possible_arguments(given: Any, possible: Mapping[str, Sequence[Any]]) -> bool:
    """Whether every argument is one of the possible ones, and none is missing that may not be. Raises nothing."""
    if not isinstance(given, dict) or not given.keys() <= possible.keys():
        return False
    return all(
        any(matches(given[name], each) for each in values) if name in given else OPTIONAL in values
        for name, values in possible.items()
    )


def matches(given: Any, wanted: Any) -> bool:
    """The same value; within texts, spaces, capitals and some marks count for nothing. Raises nothing."""
    if isinstance(wanted, str):
        return isinstance(given, str) and plain(given) == plain(wanted)
    if isinstance(wanted, list):
        return isinstance(given, list) and len(given) == len(wanted) and all(map(matches, given, wanted))
    if isinstance(wanted, dict):  # of possible values again
        return possible_arguments(given, {name: v if isinstance(v, list) else [v] for name, v in wanted.items()})
    return same_value(given, wanted)


def plain(text: str) -> str:
    """Raises nothing."""
    return text.translate(IGNORED).casefold()


def _first(item: Item) -> str:
    """The name of the function that is offered first."""
    schema = item.ask.schema if isinstance(item.ask, Chat) else None
    if schema is None:
        return str(item.ask.tools[0]["function"]["name"]) if isinstance(item.ask, Chat) else NONE
    return str(schema["properties"]["call"]["anyOf"][0]["properties"]["function"]["enum"][0])


def _saying(item: Item, name: str, arguments: Mapping[str, Any]) -> Outcome:
    if item.form == "free":
        return Outcome(calls=(Call(name=name, arguments=json.dumps(arguments)),), reason="tool_calls")
    return Outcome(text=json.dumps({"call": {"function": name, "arguments": arguments}}), reason="stop")


def suite(card: Card, *, path: str | Path) -> Bfcl:
    """`path`: the wheel. Raises nothing; `items` reads."""
    return Bfcl(card, Path(path))
