"""What of the documents a run has shown its model: the lines that an answer may cite, read from what the model read.

A function of the messages alone, so that a replay asks for the same. An agent whose every step is held (`held`) ends
with statements, each with the lines it stands on: the engine lets it name only lines that are there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ouvert.agents.builtin import BROWSER
from ouvert.chat import Message

PAGE = re.compile(r"\[(\d+)\] .*\n\*\*viewing lines \[\d+ - \d+\] of \d+\*\*\n\n")
LINE = re.compile(r"L(\d+): (.*)")
LINK = re.compile(r"【(\d+)†")
ITEM, MATCH = "  * 【", "# 【"  # what begins a result, and a place that was found
HEADS = ("URL: ", "# Search Results", MATCH, "  * No document")
NOWHERE = "none"  # the source of what the documents do not say
MOST_STATEMENTS = 4
LONGEST_QUERY = 200  # characters
LONGEST_STATEMENT = 400  # characters


def citable(messages: Sequence[Message]) -> tuple[str, ...]:
    """The places an answer may cite, as `0†L4-L7`: results, and the paragraphs of pages. Raises nothing."""
    shown = [message.content or "" for message in messages if message.role == "tool" and message.name in BROWSER]
    return tuple(dict.fromkeys(mark for text in shown for mark in marks_of(text)))


def browser_calls(messages: Sequence[Message], asked: str) -> dict[str, dict[str, Any]]:
    """What calls of the browser can be now: a search, the first one with the owner's words, which find more than those
    a small model makes of them; a link of the page that was read last; a text to find in a document that is open.

    The rest of what they take means something to the models that were trained on it; small ones fill it in as they
    please. Raises nothing."""
    search, open_, find = BROWSER
    first = not any(message.role == "tool" for message in messages)
    query = asked if first and len(asked) <= LONGEST_QUERY else None
    calls = {
        search: only(
            query={"enum": [query]} if query else {"type": "string", "minLength": 1, "maxLength": LONGEST_QUERY}
        )
    }
    shown = [message for message in messages if message.role == "tool" and message.name in BROWSER]
    page = PAGE.match(shown[-1].content or "") if shown else None
    links = [int(each) for each in LINK.findall(shown[-1].content or "")] if page else []
    if page and links:
        calls[open_] = only(id={"enum": links}, cursor={"enum": [int(page[1])]})
    if any(opened(message) for message in shown):
        calls[find] = only(pattern={"type": "string", "minLength": 1, "maxLength": LONGEST_QUERY})
    return calls


def only(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object that has these and nothing else."""
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def opened(message: Message) -> bool:
    """Whether it shows a page of a document. Raises nothing."""
    return message.name in BROWSER[1:] and bool(PAGE.match(message.content or ""))


def marks_of(text: str) -> Iterator[str]:
    """The places of one page, from its numbered lines."""
    page = PAGE.match(text)
    if page is None:
        return
    first = last = None
    for number, line in (*LINE.findall(text[page.end() :]), ("", "")):
        if first is not None and (not line.strip() or line.startswith((ITEM, MATCH))):
            yield f"{page[1]}†L{first}-L{last}"
            first = None
        if line.strip() and not line.startswith(HEADS):
            first, last = first if first is not None else number, number


def statements_schema(places: Sequence[str] | None = None) -> dict[str, Any]:
    """What the call that ends the run takes; `places`: only these may be named. Raises nothing."""
    source: dict[str, Any] = {
        "type": "string",
        "description": f"the lines that say it, as 0†L4-L7: page 0, lines 4 to 7; {NOWHERE} where no lines do",
    }
    text: dict[str, Any] = {"type": "string", "description": "a short sentence that answers the question"}
    statements: dict[str, Any] = {"type": "array"}
    if places is not None:
        source = {"enum": [*places, NOWHERE]}
        text = {"type": "string", "minLength": 1, "maxLength": LONGEST_STATEMENT}
        statements |= {"minItems": 1, "maxItems": MOST_STATEMENTS}
    statements["items"] = only(text=text, source=source)
    return only(statements=statements)


def cited_text(statements: Sequence[Mapping[str, Any]]) -> str:
    """The statements as one text, each with its mark behind it. Raises KeyError for one that lacks a part."""
    said = []
    for each in statements:
        text, source = str(each["text"]).strip(), str(each["source"])
        said.append(text if source == NOWHERE else f"{text}【{source}】")
    return " ".join(said)


def statements_in(arguments: str) -> str | None:
    """The text of a call that ends a run with statements; None where it has none. Raises nothing."""
    try:
        return cited_text(json.loads(arguments)["statements"])
    except (ValueError, KeyError, TypeError):
        return None
