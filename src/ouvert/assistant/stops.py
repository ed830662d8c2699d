"""Stop strings in streamed text."""

from collections.abc import Sequence


class StopStrings:
    """Lets text through until a stop string appears, and never a piece of one.

    What might be the start of a stop string is held back until it is clear whether it is. Where several stop strings
    match, the one that starts first counts.

    Its methods raise nothing.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises ValueError if one of them is empty."""
        if "" in stops:
            raise ValueError("stop strings: one of them is empty and would end every answer at once. Leave it out.")
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The text that may be shown now. After a stop string was found: none."""
        if self.found is not None:
            return ""
        self._held += text
        starts = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        undecided = min((self._start_of(stop) for stop in self._stops), default=len(self._held))
        if starts:
            at, stop = min(starts, key=lambda each: each[0])
            # An undecided stop string that starts earlier can still win; wait for it.
            if at <= undecided:
                self.found = stop
                shown, self._held = self._held[:at], ""
                return shown
        shown, self._held = self._held[:undecided], self._held[undecided:]
        return shown

    def flush(self) -> str:
        """What was held back, at the end of the text: it was no stop string after all, unless a later one was whole."""
        if self.found is not None:
            return ""
        starts = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        shown, self._held = self._held, ""
        if starts:
            at, self.found = min(starts, key=lambda each: each[0])
            return shown[:at]
        return shown

    def _start_of(self, stop: str) -> int:
        """The offset at which the held text ends with a beginning of `stop`; the held text's length if it does not."""
        held = self._held
        for start in range(max(0, len(held) - len(stop) + 1), len(held)):
            if stop.startswith(held[start:]):
                return start
        return len(held)
