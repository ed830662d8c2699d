"""The examples that are mixed into what people train on: refusals, and harmless requests that look alike.

Tuning on any data at all wears refusals down (arXiv:2310.03693); a few examples of both kinds keep much of them
(docs/formats/tuning-data.md). Written for Ouvert, and of its licence; nothing in them would help anybody to
do harm.
"""

import hashlib
import json
import math
from importlib.resources import files

from ouvert.chat import Message
from ouvert.tuning.talk import Talk

FILE = "safety_mix.jsonl"


def safety_talks() -> tuple[Talk, ...]:
    """All of them, in the file's order. Raises nothing."""
    lines = (files("ouvert.tuning") / FILE).read_text(encoding="utf-8").splitlines()
    return tuple(talk(**{key: each[key] for key in ("user", "assistant")}) for each in map(json.loads, lines))


def talk(user: str, assistant: str) -> Talk:
    said = (Message(role="user", content=user), Message(role="assistant", content=assistant))
    return Talk(messages=said, weights=(None, None))


def chosen_talks(share: float, examples: int, seed: int) -> tuple[Talk, ...]:
    """So many that they are about `share` of all, at most as many as there are. Raises nothing."""
    talks = safety_talks()
    wanted = min(len(talks), math.ceil(share * examples / (1 - share))) if 0 < share < 1 else len(talks) * (share >= 1)
    order = sorted(range(len(talks)), key=lambda n: hashlib.sha256(f"{seed}:{n}".encode()).digest())
    return tuple(talks[n] for n in sorted(order[:wanted]))
