"""The ids of tool calls: what clients get, and what stands in prompts.

A client's id is random, so no two calls of any answers share one. What a model writes itself is none (Kimi's first call
is functions.NAME:0 in every conversation) and goes no further; where a template shows ids to the model, they are put
into the form that it was trained on.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Literal

from ouvert.chat.conversation import Message

# "short": nine letters and digits, and Mistral's templates refuse all else. "numbered": functions.NAME:NUMBER, the
# number counting the calls of a conversation (docs/formats/templates.md).
IdForm = Literal["short", "numbered"]
OURS = "call_"  # how ids begin that are no model's: this server's, and those that most others make
SHORT_LENGTH = 9
SHORT = re.compile(rf"[0-9A-Za-z]{{{SHORT_LENGTH}}}")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_call_id(form: IdForm | None = None) -> str:
    """An id that no other call has."""
    if form == "short":
        return "".join(secrets.choice(ALPHABET) for _ in range(SHORT_LENGTH))
    return f"{OURS}{secrets.token_hex(12)}"


def ids_in_prompt(messages: Iterable[Message], form: IdForm | None) -> Mapping[str, str]:
    """What stands in a prompt for each call's id; the same for the same conversation. A result whose call is not there
    has an id, too."""
    said = tuple(messages)
    found: dict[str, str] = {}
    taken: set[str] = set()
    for number, call in enumerate(call for message in said for call in message.tool_calls):
        if call.id not in found:
            found[call.id] = written = unused(call.id, call.name, number, form, taken)
            taken.add(written)
    for message in said:
        if (alone := message.tool_call_id) is not None and alone not in found:
            found[alone] = short_form(alone) if form == "short" else alone
    return found


def unused(identity: str, name: str, number: int, form: IdForm | None, taken: set[str]) -> str:
    if form is None:
        return identity
    if form == "numbered":
        if not identity.startswith(OURS):
            return identity
        while (written := f"functions.{name}:{number}") in taken:
            number += 1
        return written
    return short_form(identity)


def short_form(identity: str) -> str:
    if SHORT.fullmatch(identity):
        return identity
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:SHORT_LENGTH])
