"""What an MCP server says of its tools: looked through, and held to what the owner saw. Pure."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

LONGEST_DESCRIPTION, LONGEST_SCHEMA = 4000, 60_000  # characters
MOST_TOOLS = 200
SHOWN_CONTROL = "\n\t\r"
# What a description may carry that nobody sees: formats, private use, unassigned, surrogates; and control characters.
HIDDEN = ("Cf", "Co", "Cn", "Cs", "Cc")


def pin_of(definitions: Sequence[Mapping[str, Any]]) -> str:
    """Of everything that a model or a policy could read of these tools, whatever their order. Raises nothing."""
    ordered = sorted(definitions, key=lambda each: str(each.get("name")))
    whole = json.dumps(ordered, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def faults_of(definition: Mapping[str, Any], names_of_others: Iterable[str]) -> Iterator[str]:
    """What is wrong with the definition of a tool, in words. `names_of_others`: of the agent's other tools."""
    name, description = str(definition.get("name")), str(definition.get("description") or "")
    schema = json.dumps(definition.get("inputSchema"), ensure_ascii=False)
    if len(description) > LONGEST_DESCRIPTION:
        yield f"the description of {name} has {len(description):,} characters"
    if len(schema) > LONGEST_SCHEMA:
        yield f"the schema of {name} has {len(schema):,} characters"
    for text, place in ((description, "description"), (schema, "schema"), (name, "name")):
        hidden = next((each for each in text if is_hidden(each)), None)
        if hidden is not None:
            yield f"the {place} of {name} has an invisible character (U+{ord(hidden):04X})"
    told = (description + schema).casefold()
    for other in names_of_others:
        if other.casefold() in told:
            yield f"the description of {name} speaks of {other}, which is another's tool"


def is_hidden(sign: str) -> bool:
    return sign not in SHOWN_CONTROL and unicodedata.category(sign) in HIDDEN
