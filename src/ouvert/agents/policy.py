"""Whether a call may happen without asking: by its effect, by what the run has read, by where its destination is from.

Pure, and short on purpose: this is what stands between a hijacked model and the world, so read all of it. No model is
asked anything here, and nothing that a model or a tool wrote can change an answer but by the call itself.
docs/decisions/0022-the-bounds-of-an-agent.md says why it is as it is, and what it does not hold.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

# read: changes nothing. write: changes something of the owner's. send: reaches somebody else; opening an address that
# the model chose is a send, since the address says something.
Effect = Literal["read", "write", "send"]
# From the most questions to the fewest. always: before every call. effects: before every effect. strict: before every
# effect once other people's words were read. default: before such an effect whose destination is neither in the
# owner's words nor trusted. never: nobody is asked, and every effect is refused.
Mode = Literal["always", "effects", "strict", "default", "never"]
MODES: tuple[Mode, ...] = ("always", "effects", "strict", "default", "never")

INSIDE = r"\w@+/:\-"  # characters that go on a name or an address; a point does if a letter stands behind it


@dataclass(frozen=True)
class Authority:
    """What an effect may aim at unasked: `words`, the owner's own and nobody else's, and `trusted`, patterns of
    destinations that the agent's file lists. Its methods raise nothing."""

    words: str
    trusted: tuple[str, ...] = ()

    @cached_property
    def _words(self) -> str:
        return folded(self.words)

    def covers(self, target: str) -> bool:
        """Whether the target stands in the owner's words, whole, or is trusted. An empty one is not."""
        wanted = folded(target).strip()
        if not wanted:
            return False
        if any(fnmatchcase(wanted, folded(pattern)) for pattern in self.trusted):
            return True
        whole = rf"(?<![{INSIDE}.]){re.escape(wanted)}(?![{INSIDE}]|\.\w)"
        return re.search(whole, self._words) is not None


@dataclass(frozen=True, slots=True)
class Decision:
    """`verdict`: allow, ask or refuse; `why`: for whoever is asked, or for the model that is refused."""

    verdict: Literal["allow", "ask", "refuse"]
    why: str


def decide(mode: Mode, effect: Effect, targets: tuple[str, ...], authority: Authority, *, tainted: bool) -> Decision:
    """`tainted`: the run has read words that are not its owner's. Raises nothing."""
    if mode == "always":
        return Decision("ask", "this agent asks before every call")
    if effect == "read":
        return Decision("allow", "it changes nothing")
    if mode == "never":
        return Decision("refuse", "this agent may only read, and nobody is asked")
    if mode == "effects":
        return Decision("ask", "this agent asks before every effect")
    if not tainted:
        return Decision("allow", "nothing but the owner's own words was read so far")
    if mode == "strict":
        return Decision("ask", "words of other people were read, and any of them may have led to this")
    if not targets:
        return Decision("ask", "words of other people were read, and the call names no destination")
    strange = [each for each in targets if not authority.covers(each)]
    if strange:
        shown = ", ".join(repr(each) for each in strange[:3])
        return Decision("ask", f"words of other people were read, and {shown} is neither in your words nor trusted")
    return Decision("allow", "every destination is in the owner's words or trusted")


def targets_of(arguments: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """The destinations of a call: every text and number in the arguments of these names, however deep. Raises
    nothing."""
    return tuple(text for name in names for text in texts_in(arguments.get(name)))


def texts_in(value: Any) -> tuple[str, ...]:
    match value:
        case None | bool():
            return ()
        case Mapping():
            return tuple(text for each in value.items() for part in each for text in texts_in(part))
        case list() | tuple():
            return tuple(text for each in value for text in texts_in(each))
        case _:
            return (str(value),)


def folded(text: str) -> str:
    """As it is compared: one form of each letter, no case, no invisible characters, one space between words."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    seen = "".join(each for each in plain if unicodedata.category(each) != "Cf")
    return " ".join(seen.split())
