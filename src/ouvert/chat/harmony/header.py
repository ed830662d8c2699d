"""What the header of a message says, however badly it is put.

Between <|start|> and <|message|> a model writes its role, a channel, a recipient and a type:
`assistant<|channel|>commentary to=functions.weather <|constrain|>json`. The recipient may stand before or behind the
channel, the space before <|constrain|> may be missing, so may `to=`, the role, or the end of it all.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from ouvert.chat.harmony.sections import CHANNELS, FUNCTIONS

# How the tokens stand in the text of a header: as lone surrogates, which no token's bytes can spell.
CHANNEL_MARK, CONSTRAIN_MARK = "\ud801", "\ud802"
MARKS = re.compile(f"[{CHANNEL_MARK}{CONSTRAIN_MARK}]")
KNOWN_CHANNEL = re.compile(r"\s*(analysis|commentary|final)(?![\w.])|\s*(analysis|commentary|final)(?=to=)")
RECIPIENT = re.compile(r"to=\s*([^\s{\ud801\ud802]+)")
FOREIGN_ROLES = (["user"], ["system"], ["developer"], ["tool"])
LONGEST_ROLE_PART = 4  # words; "assistant to= functions.name json" is the longest that can be meant
CONTENT_TYPES = frozenset({"json", "code", "text"})
HEADER_WORDS = frozenset({"assistant", "to=", *CHANNELS, *CONTENT_TYPES})


@dataclass(frozen=True, slots=True)
class Header:
    """`call` is the name of the declared tool that is called; `rest` is text behind the header's own words.

    `foreign` says that the message is not the assistant's: a model went on to write a tool's or a user's part.
    """

    channel: str | None
    recipient: str | None
    call: str | None
    rest: str
    foreign: bool = False


def called(recipient: str, tools: Collection[str]) -> str | None:
    """The declared tool a recipient names, with or without the namespace of functions."""
    name = recipient.removeprefix(f"{FUNCTIONS}.")
    return name if name in tools else None


def read_header(text: str, tools: Collection[str]) -> Header:
    """Reads all that can be read; nothing makes it raise."""
    role_part, *channel_parts = text.split(CHANNEL_MARK)
    words = role_part.split()
    if not MARKS.search(text) and len(words) > LONGEST_ROLE_PART:
        return Header(None, None, None, text)
    role = re.match(r"\s*assistant(?![\w.])", role_part)
    foreign = role is None and (words[:1] in FOREIGN_ROLES or "to=assistant" in words[1:])

    channel = None
    unread = [role_part[role.end() :] if role else role_part]
    for part in channel_parts:
        known = KNOWN_CHANNEL.match(part)
        if known:
            channel = channel or known[1] or known[2]
            part = part[known.end() :]
        elif (word := re.match(r"\s*([\w-]+)(?=\s|$|[\ud802])", part)) and not called(word[1], tools):
            channel = channel or word[1]
            part = part[word.end() :]
        unread.append(part)

    recipient = None
    for number, part in enumerate(unread):
        in_a_sentence = len(part.split()) > LONGEST_ROLE_PART
        if match := (RECIPIENT.match(part.lstrip()) if in_a_sentence else RECIPIENT.search(part)):
            part = part.lstrip() if in_a_sentence else part
            recipient = recipient or match[1]
            unread[number] = part[: match.start()] + part[match.end() :]
    if recipient is None or called(recipient, tools) is None:
        standing = [word for part in unread for word in MARKS.sub(" ", part).split()]
        # A bare name counts where nothing but a type stands beside it: in a sentence it is a word.
        likely = standing if len(standing) <= 2 else [word for word in standing if "." in word]
        named = next((word for word in likely if called(word, tools)), None)
        if named is not None:
            recipient = named
            unread = [part.replace(named, "", 1) for part in unread]
    if foreign:
        return Header(channel, None, None, "", foreign=True)
    return Header(channel, recipient, None if recipient is None else called(recipient, tools), rest_of(unread[-1]))


def rest_of(part: str) -> str:
    """Text behind the last words a header may have: what the model said without ending the header."""
    text = part.rpartition(CONSTRAIN_MARK)[2].lstrip(" ")
    for kind in CONTENT_TYPES:
        if text == kind or text.startswith((f"{kind}{{", f"{kind} {{")):
            return text.removeprefix(kind).lstrip(" ")
    return text
