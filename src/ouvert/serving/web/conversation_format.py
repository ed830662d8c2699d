"""What a conversation of the page is: its fields, and the check that everything read or written passes.

A conversation is a tree of messages, so that editing a question or asking for another answer loses nothing. The format
is docs/formats/conversations.md.
"""

import re
from collections.abc import Mapping
from typing import Any

ID = re.compile(r"[a-z0-9]{16,32}")
MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST_TITLE = 200
FORMAT = "ouvert_conversation"
VERSION = 1
Conversation = dict[str, Any]


class ConversationError(Exception):
    """A conversation cannot be kept or handed out. The message says what was given, what is expected and what to do."""


# What a conversation and its messages may hold: name -> the types of its value, and whether it must be there.
# `created`, `updated` and `revision` are the store's to set.
CONVERSATION_FIELDS: dict[str, tuple[tuple[type, ...], bool]] = {
    FORMAT: ((int,), True),
    "id": ((str,), True),
    "title": ((str,), True),
    "created": ((str,), False),
    "updated": ((str,), False),
    "revision": ((int,), True),
    "settings": ((dict,), False),  # model, effort, system prompt and sampling, as the page last used them
    "messages": ((list,), True),
    "leaf": ((str, type(None)), True),  # the last message of the branch in view
}
MESSAGE_FIELDS: dict[str, tuple[tuple[type, ...], bool]] = {
    "id": ((str,), True),
    "parent": ((str, type(None)), True),
    "role": ((str,), True),
    "text": ((str,), True),
    "created": ((str,), True),
    "attachments": ((list,), False),  # of {name, text}
    "reasoning": ((str,), False),
    "thinking_seconds": ((int, float), False),
    "model": ((str,), False),
    "ended": ((str,), False),  # stop, length, cancelled or error
    "error": ((str,), False),
    "receipt": ((dict,), False),
    "usage": ((dict,), False),
    "documents": ((list,), False),  # names of the collections that were asked
    "citations": ((list,), False),  # of {mark, start, stop, collection, document, name, page, first, last}
    "run": ((str,), False),  # of the agent that answered
}
ROLES = ("user", "assistant")


def check(stated: object) -> Conversation:
    """A copy of `stated`, if it is a conversation: known fields only, and every parent before its children."""
    if not isinstance(stated, Mapping):
        raise ConversationError(f"A conversation is a JSON object, not {type(stated).__name__}. See docs/formats.")
    if stated.get(FORMAT) != VERSION:
        raise ConversationError(
            f"A conversation states {FORMAT}: {VERSION}; this one states {stated.get(FORMAT)!r}. "
            "Export it again with this version of Ouvert."
        )
    check_fields(stated, CONVERSATION_FIELDS, "conversation")
    conversation = dict(stated)
    if not ID.fullmatch(conversation["id"]):
        raise ConversationError(
            f"A conversation's id is 16 to 32 letters a-z and digits, not {conversation['id'][:80]!r}."
        )
    if len(conversation["title"]) > LONGEST_TITLE:
        raise ConversationError(
            f"A title has at most {LONGEST_TITLE} characters; this one has {len(conversation['title'])}. Shorten it."
        )
    if conversation["revision"] < 0:
        raise ConversationError(f"A revision counts from 0; this one is {conversation['revision']}.")
    if conversation["leaf"] not in ids_of(conversation["messages"]):
        raise ConversationError(f"leaf {conversation['leaf']!r} is none of the messages' ids. Name one, or null.")
    return conversation


def ids_of(messages: list[Any]) -> set[str | None]:
    """The ids of these messages, and None. Raises ConversationError where one of them is not as it should be."""
    known: set[str | None] = {None}
    for message in messages:
        if not isinstance(message, Mapping):
            raise ConversationError(f"A message is a JSON object, not {type(message).__name__}.")
        check_fields(message, MESSAGE_FIELDS, "message")
        if not MESSAGE_ID.fullmatch(message["id"]) or message["id"] in known:
            raise ConversationError(
                f"Message id {message['id'][:80]!r}: expected 1 to 64 letters, digits, - or _, each id once."
            )
        if message["role"] not in ROLES:
            raise ConversationError(f"Message {message['id']}: role {message['role']!r}, expected one of {ROLES}.")
        if message["parent"] not in known:
            raise ConversationError(
                f"Message {message['id']}: its parent {message['parent']!r} does not stand before it. "
                "List parents before children."
            )
        known.add(message["id"])
    return known


def check_fields(stated: Mapping[str, Any], fields: Mapping[str, tuple[tuple[type, ...], bool]], what: str) -> None:
    if unknown := sorted(map(str, stated.keys() - fields.keys())):
        raise ConversationError(f"A {what} has no field {', '.join(unknown)}. Known: {', '.join(fields)}.")
    for name, (kinds, must) in fields.items():
        if name not in stated:
            if must:
                raise ConversationError(f"A {what} needs the field {name}.")
        elif not isinstance(stated[name], kinds) or isinstance(stated[name], bool):
            raise ConversationError(
                f"{name} of a {what} is {type(stated[name]).__name__}, expected "
                f"{' or '.join('null' if kind is type(None) else kind.__name__ for kind in kinds)}."
            )


def questions_of(conversation: Conversation) -> list[str]:
    """What its user said, or all that was said if that is nothing: every prompt with some of it has some of that, and
    many answers begin and end alike."""
    questions = [message for message in conversation["messages"] if message["role"] == "user"]
    said = [text for text in texts_of({"messages": questions}) if text.strip()]
    return said or texts_of(conversation)


def texts_of(conversation: Conversation) -> list[str]:
    """All that was said in it: messages, thoughts, attachments."""
    texts: list[str] = []
    for message in conversation["messages"]:
        texts += [message["text"], message.get("reasoning", "")]
        attached = (each.get("text") for each in message.get("attachments", ()) if isinstance(each, Mapping))
        texts += [text for text in attached if isinstance(text, str)]
    return texts


def summary(conversation: Conversation) -> dict[str, Any]:
    """What a list shows of a conversation."""
    return {
        "id": conversation["id"],
        "title": conversation["title"],
        "created": conversation.get("created", ""),
        "updated": conversation.get("updated", ""),
        "revision": conversation["revision"],
        "messages": len(conversation["messages"]),
    }
