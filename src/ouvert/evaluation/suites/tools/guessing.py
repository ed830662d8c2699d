"""What calling without understanding gets."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.outcome import Call, Outcome
from ouvert.evaluation.suites.generated import copies_the_question
from ouvert.evaluation.suites.suite import Guess
from ouvert.evaluation.suites.tools.catalogue import Tool, said, tools

QUOTED = re.compile(r"[\"«]\s*([^\"»]+?)\s*[\"»]")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    return {
        "never calls": never,
        "calls the first tool, with what it finds": calls(lambda offered, request: offered[0]),
        "calls the tool that shares most words, with what it finds": calls(closest),
        "copies the question": copies_the_question,
    }


def never(item: Item) -> Outcome:
    none = {"call": {"tool": said(item.language)["none"], "arguments": {}}}
    return Outcome(text=json.dumps(none) if item.form == "schema" else "?", reason="stop")


def calls(choice: Callable[[Sequence[Tool], str], Tool]) -> Guess:
    """The strategy that calls the tool of that choice, with arguments from the request's surface."""

    def guess(item: Item) -> Outcome:
        offered = offered_in(item)
        request = item.expected["request"]
        tool = choice(offered, request)
        arguments = {each.name: surface_value(each.schema, request) for each in tool.parameters}
        if item.form == "free":
            return Outcome(calls=(Call(name=tool.name, arguments=json.dumps(arguments)),), reason="tool_calls")
        return Outcome(text=json.dumps({"call": {"tool": tool.name, "arguments": arguments}}), reason="stop")

    return guess


def offered_in(item: Item) -> list[Tool]:
    """The tools that an item offers, as it lists them."""
    by_name = {each.name: each for each in tools(item.language)}
    ask = cast("Chat", item.ask)
    if ask.schema is None:
        return [by_name[each["function"]["name"]] for each in ask.tools]
    alternatives = ask.schema["properties"]["call"]["anyOf"][:-1]
    return [by_name[each["properties"]["tool"]["enum"][0]] for each in alternatives]


def closest(offered: Sequence[Tool], request: str) -> Tool:
    """The tool whose name and description share most words with the request."""
    words = set(long_words(request))
    return max(offered, key=lambda tool: len(words.intersection(long_words(f"{tool.name} {tool.description}"))))


def long_words(text: str) -> list[str]:
    return re.findall(r"[^\W_]{4,}", text.casefold())


def surface_value(schema: Mapping[str, Any], request: str) -> str | int:
    """The first number; the listed value that is mentioned; what stands in quotes; the last word with a capital."""
    if schema["type"] == "integer":
        found = re.search(r"\d+", request)
        return int(found.group()) if found else 1
    if listed := schema.get("enum"):
        return next((str(each) for each in listed if each in request), str(listed[0]))
    quoted = QUOTED.search(request)
    return quoted.group(1) if quoted else (re.findall(r"\b[A-ZÉÀ]\w+", request) or [""])[-1]
