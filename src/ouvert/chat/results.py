"""Which call each tool's message answers: told by its id, never by its place."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ouvert.chat.conversation import Message, ToolCall
from ouvert.chat.format import ChatError

Place = tuple[int, int]  # of a call: its message, and which of the calls of that message it is


def in_the_order_of_calls(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with the results that follow each other in the order of the calls they answer.

    Many formats write results without an id, so a model can tell them apart by their order only. A result without an
    id answers the oldest open call of its name, or the only one there is.

    Raises ChatError for an id that no call before it has, that two calls of a message have or that has been answered
    already; for a result that names no call where several are open; and for calls of which only some are answered.
    """
    matcher = Matcher()
    ordered: list[Message] = []
    for n, message in enumerate(messages):
        if message.role == "tool":
            matcher.answer(n, message)
            continue
        ordered += matcher.results()
        matcher.call(n, message)
        ordered.append(message)
    return (*ordered, *matcher.results())


class Matcher:
    def __init__(self) -> None:
        self._calls: dict[str, tuple[Place, ToolCall]] = {}  # the last of every id
        self._open: dict[Place, ToolCall] = {}  # of the last message, without a result so far
        self._done: set[Place] = set()
        self._answered: list[tuple[Place, Message]] = []  # since the last message that is no result
        self._nobodys = 0

    def call(self, n: int, message: Message) -> None:
        self._open = {}
        for k, call in enumerate(message.tool_calls):
            known = self._calls.get(call.id)
            if known is not None and known[0][0] == n:
                raise ChatError(
                    f"matching results with calls: messages[{n}] has two calls with the id {call.id!r:.80}, expected "
                    "one: nobody could tell whose result is whose. Give every call an id of its own."
                )
            self._calls[call.id] = (n, k), call
            self._open[n, k] = call

    def answer(self, n: int, message: Message) -> None:
        place = self._place(n, message)
        call = self._open.pop(place, None)
        if message.tool_call_id is None and call is not None:  # said for the formats that write it
            message = replace(message, tool_call_id=call.id)
        self._done.add(place)
        self._answered.append((place, message))

    def results(self) -> Iterator[Message]:
        """The results since the last message of another role, in the order of their calls."""
        begun = {place[0] for place, _ in self._answered}
        if missing := [call.id for place, call in self._open.items() if place[0] in begun]:
            answered = ", ".join(repr(message.tool_call_id) for _, message in self._answered)
            raise ChatError(
                f"matching results with calls: the calls {', '.join(map(repr, missing))[:200]} have no result, while "
                f"others of the same message have ({answered[:200]}). Send a result for every call; say in it if a "
                "tool failed or was not run."
            )
        yield from (message for _, message in sorted(self._answered, key=lambda each: each[0]))
        self._answered = []

    def _place(self, n: int, message: Message) -> Place:
        identity = message.tool_call_id
        if identity is None:
            return self._by_name(n, message)
        if identity not in self._calls:
            known = ", ".join(map(repr, self._calls)) or "none"
            raise ChatError(
                f"matching results with calls: messages[{n}] answers {identity!r:.80}, a call that no message before "
                f"it made (calls: {known[:200]}). Send the message with the call, and its id as it was given."
            )
        place, call = self._calls[identity]
        if place in self._done:
            raise ChatError(
                f"matching results with calls: messages[{n}] is a second result for the call {identity!r:.80} of "
                f"{call.name!r:.80}, expected one. Leave one out."
            )
        return place

    def _by_name(self, n: int, message: Message) -> Place:
        fitting = [place for place, call in self._open.items() if message.name in (None, call.name)]
        if fitting and (message.name is not None or len(self._open) == 1):
            return fitting[0]
        if not self._calls and message.name is not None:  # what was before it has been left out
            self._nobodys += 1
            return n, self._nobodys
        raise ChatError(
            f"matching results with calls: messages[{n}] is a tool's and has no tool_call_id, while "
            f"{len(self._open)} calls are open{'' if message.name is None else f', none of {message.name!r:.80}'}. "
            "Give it the id of the call it answers."
        )
