"""Which conversations have some words in them, and where: capitals and accents aside."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from ouvert.serving.web.conversation_format import Conversation

EXCERPT = 60  # characters to each side of what was found


def fold(text: str) -> str:
    """The text without capitals and accents: a search treats `Événement` and `evenement` alike."""
    return "".join(map(fold_character, text))


def fold_character(character: str) -> str:
    if character.isascii():
        return character.lower()
    decomposed = unicodedata.normalize("NFKD", character)
    return "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()


def matches(conversation: Conversation, words: list[str]) -> dict[str, Any] | None:
    """None if some word is nowhere; else where the first word of a message was found: {"excerpt", "message"}."""
    if not words:
        return {}
    title = fold(conversation["title"])
    missing = {word for word in words if word not in title}
    place: dict[str, Any] = {}
    for message in conversation["messages"]:
        text = message["text"] + "".join(
            "\n" + str(each.get("text", "")) for each in message.get("attachments", ()) if isinstance(each, Mapping)
        )
        folded = fold(text)
        here = [word for word in words if word in folded]
        missing.difference_update(here)
        if here and not place:
            place = {"excerpt": excerpt(text, here[0]), "message": message["id"]}
    return None if missing else place


def excerpt(text: str, word: str) -> str:
    """The neighbourhood of the first occurrence of a folded word, on one line."""
    folded = ""
    origin: list[int] = []  # index into text of each folded character
    for index, character in enumerate(text):
        piece = fold_character(character)
        folded += piece
        origin.extend([index] * len(piece))
        if word in folded[-len(word) - len(piece) :]:
            break
    begin = origin[folded.find(word)]
    end = origin[-1] + 1
    before, after = max(0, begin - EXCERPT), min(len(text), end + EXCERPT)
    line = " ".join(text[before:after].split())
    return ("…" if before else "") + line + ("…" if after < len(text) else "")
