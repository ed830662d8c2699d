"""Where a conversation does not fit: its oldest turns are left out, if the caller asked for that."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

from ouvert.chat import ChatFormat, Conversation

# Tokens left free for an answer whose length nobody limited, or a quarter of the context where that is less.
ANSWER_ROOM = 1024
INSTRUCTIONS = frozenset({"system", "developer"})


# Messages that are not sent: place in the conversation as it was given -> role, and tokens it would have taken.
LeftOut = dict[int, tuple[str, int]]


def answer_room(max_tokens: int | None, context: int) -> int:
    """Tokens that a conversation leaves free for its answer."""
    return max(1, min(ANSWER_ROOM if max_tokens is None else max_tokens, context // 4))


def without_oldest_turns(
    conversation: Conversation, chat: ChatFormat, context: int, room: int
) -> tuple[Conversation, LeftOut]:
    """The newest turns that fit with `room` tokens to spare; else with one to spare; else all of them, for the error.

    A turn begins with what the user says, so that no tool's result loses its call. Instructions stay. From the
    sizes of the messages follows nearly where to begin, so that little more than what is sent is rendered, a few times.
    """
    whole = chat.render(conversation)
    if len(whole.ids) + room <= context:
        return conversation, {}
    sizes = [0] * len(conversation.messages)
    for span in whole.spans:
        if span.message is not None:
            sizes[span.message] += span.stop - span.start
    starts = [n for n, message in enumerate(conversation.messages) if message.role == "user"] or [0]

    def fits(start: int, room: int) -> bool:
        return len(chat.render(since(conversation, start)).ids) + room <= context

    for spare in (room, 1):
        if not fits(starts[-1], spare):
            continue
        start = starts[first_that_fits(starts, sizes, context - spare, lambda each: fits(each, spare))]  # noqa: B023
        if len(since(conversation, start).messages) == len(conversation.messages):
            break  # whatever is in the way, it is not the older turns
        before = enumerate(conversation.messages[:start])
        left_out: LeftOut = {n: (each.role, sizes[n]) for n, each in before if each.role not in INSTRUCTIONS}
        return since(conversation, start), left_out
    return conversation, {}


def first_that_fits(starts: list[int], sizes: list[int], room: int, fits: Callable[[int], bool]) -> int:
    """Index of the first of `starts` that fits; the last does. Looked for around the one that `sizes` tell, in longer
    and longer strides, then by halving."""
    behind = list(accumulate(reversed(sizes)))[::-1]  # tokens from each message on
    guess = min(bisect_left(starts, True, key=lambda start: behind[start] <= room), len(starts) - 1)
    low, high, stride = 0, len(starts) - 1, 1  # it is at `low` or later, at `high` or earlier
    while low < high:
        middle = guess if low <= guess < high else (low + high) // 2
        if fits(starts[middle]):
            high, guess = middle, middle - stride
        else:
            low, guess = middle + 1, middle + stride
        stride *= 2
    return low


def since(conversation: Conversation, start: int) -> Conversation:
    """The messages from `start` on, and the instructions before them."""
    kept = (each for n, each in enumerate(conversation.messages) if n >= start or each.role in INSTRUCTIONS)
    return replace(conversation, messages=tuple(kept))
