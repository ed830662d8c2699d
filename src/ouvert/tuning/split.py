"""What is only measured and never trained: chosen by content, so that nothing stands on both sides."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ouvert.chat import Message
from ouvert.tuning.shapes import Asked, Converted, Judged, Pair, PlainText
from ouvert.tuning.talk import Talk

FEWEST = 8  # rows of which some are held out: fewer say nothing


def whole_of(value: Converted) -> str:
    """A digest of a row's content: two rows that have it are duplicates. Raises nothing."""
    match value:
        case PlainText(text):
            return digest_of(text)
        case Pair(prompt, chosen, rejected):
            return digest_of(talk_facts(prompt), said(chosen), said(rejected))
        case Judged(prompt, answer, desirable):
            return digest_of(talk_facts(prompt), said(answer), desirable)
        case Asked(prompt, columns):
            return digest_of(talk_facts(prompt), dict(columns))
    return digest_of(talk_facts(value), value.weights)


def question_of(value: Converted) -> str:
    """A digest of what a row asks, whatever it answers. Raises nothing."""
    match value:
        case PlainText():
            return whole_of(value)
        case Pair(prompt) | Judged(prompt) | Asked(prompt):
            return digest_of(talk_facts(prompt))
    asked = [said(message) for message in value.messages if message.role != "assistant"]
    return digest_of(asked, [asdict(tool) for tool in value.tools])


def talk_facts(talk: Talk) -> list[Any]:
    tools = [asdict(tool) for tool in talk.tools]
    return [[said(message) for message in talk.messages], tools, talk.effort, talk.thinking]


def said(message: Message) -> list[Any]:
    """A message without the ids of its calls, which are anybody's."""
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return [message.role, message.content, message.reasoning, calls, message.name]


def digest_of(*facts: Any) -> str:
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def held_out_places(values: Sequence[Converted], share: float) -> frozenset[int]:
    """Places of about `share` of the values: all that ask the same stand on one side, and which side it is depends on
    what they ask, not on their order. Raises nothing."""
    if share <= 0 or len(values) < FEWEST:
        return frozenset()
    keys = [question_of(value) for value in values]
    if len(set(keys)) == 1:  # one question with many answers: then the answers tell them apart
        keys = [whole_of(value) for value in values]
    sizes = Counter(keys)
    wanted = max(1, round(share * len(values)))
    chosen: set[str] = set()
    filled = 0
    for key in sorted(sizes):
        if filled < wanted and filled + sizes[key] <= min(2 * wanted, len(values) - 1):
            chosen.add(key)
            filled += sizes[key]
    return frozenset(place for place, key in enumerate(keys) if key in chosen)
