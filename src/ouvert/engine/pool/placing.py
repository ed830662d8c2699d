"""Which member of a pool answers what. Decisions only: nothing is asked and nothing is changed here.

Prompts that begin alike go to the same member, whose cache then has their beginning. Rendezvous hashing (Thaler and
Ravishankar 1998) ranks the members for each beginning, so that a member that comes or goes moves only its own share.
"""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BEGINNING = 512  # ids of a prompt that decide where it goes


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member as it is now. `open`: it may be asked; `load`: answers that wait for it; `identity`: of what it
    computes, "" where that is not known."""

    open: bool
    load: int
    identity: str = ""


def ranked(members: Sequence[str], ids: Sequence[int], owner: str) -> list[str]:
    """The members for a prompt of this owner, the one it belongs to first. Raises nothing."""
    beginning = array("q", ids[:BEGINNING]).tobytes()
    place = hashlib.blake2b(beginning, digest_size=16, key=hashlib.sha256(owner.encode()).digest()[:32]).digest()

    def weight(member: str) -> bytes:
        return hashlib.blake2b(member.encode(), digest_size=16, key=place).digest()

    return sorted(members, key=lambda member: (weight(member), member), reverse=True)


def placed(
    ranking: Sequence[str],
    states: Mapping[str, MemberState],
    *,
    overflow: int,
    tried: frozenset[str] = frozenset(),
    identity: str = "",
) -> str | None:
    """The member that is asked: the first that may be, or the second, where more than `overflow` answers more wait for
    the first. None where there is none.

    `tried` have failed this request already. An answer that began elsewhere goes on where `identity` is the same, as
    long as there is such a member: only there are its tokens the same.
    """
    able = [member for member in ranking if states[member].open and member not in tried]
    alike = [member for member in able if states[member].identity == identity] if identity else []
    candidates = alike or able
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    first, second, *_ = candidates
    return second if states[first].load - states[second].load > overflow else first


def divided(texts: Sequence[Sequence[int]], members: int) -> list[list[int]]:
    """The numbers of the texts for each of so many members at most: about as many tokens each, and those that begin
    alike side by side."""
    order = sorted(range(len(texts)), key=lambda n: list(texts[n]))
    parts: list[list[int]] = [[] for _ in range(members)]
    whole, tokens = sum(map(len, texts)), 0
    for n in order:
        parts[min(members - 1, tokens * members // max(1, whole))].append(n)
        tokens += len(texts[n])
    return [part for part in parts if part]
