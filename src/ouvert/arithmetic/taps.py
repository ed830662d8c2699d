"""Taps: a tap is shown every named value of a forward pass and may replace it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Self


class Tap:
    """A tap that keeps nothing and changes nothing: the one that is used when nobody watches."""

    def __call__(self, name: str, value: Any) -> Any:
        return value

    def wants(self, name: str) -> bool:
        """Whether it wants to see this value, which is computed for it alone. Raises nothing."""
        return False

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part, such as "layers.3". Raises nothing."""
        return self


class Recorder(Tap):
    """Keeps copies of the values asked for, and complains about any that the graph never showed.

    Ask by full name: Recorder("layers.3.attention.q", "logits"). A second forward pass overwrites the first.

    Making one raises nothing.
    """

    def __init__(self, *wanted: str, scope: str = "") -> None:
        self.wanted, self.scope = set(wanted), scope
        self.seen: dict[str, Any] = {}
        self.shown: set[str] = set()  # every name that came

    def __call__(self, name: str, value: Any) -> Any:
        if self.wants(name):
            self.seen[self.scope + name] = value.copy()
        return value

    def wants(self, name: str) -> bool:
        """Whether the name was asked for. Raises nothing."""
        self.shown.add(full_name := self.scope + name)
        return full_name in self.wanted

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part; what it sees is kept here too. Raises nothing."""
        child = type(self)(*self.wanted, scope=f"{self.scope}{scope}.")
        child.seen, child.shown = self.seen, self.shown
        return child

    def values(self) -> dict[str, Any]:
        """What was seen, by full name. Raises LookupError if anything asked for never came: `never_shown`."""
        if never := self.wanted - self.seen.keys():
            raise LookupError(never_shown(never, self.shown))
        return self.seen


def never_shown(asked: Iterable[str], shown: Iterable[str]) -> str:
    """What to say of names that a graph never showed: which, what is like them, and all that it did show.

    Raises nothing.
    """
    known = sorted(shown)
    lines = []
    for name in sorted(asked):
        near = get_close_matches(name, known, 3, 0.7)
        lines.append(name + (f" (near it: {', '.join(near)})" if near else ""))
    layers = sorted({int(name.split(".")[1]) for name in known if name.startswith("layers.")})
    of_layers = sorted({name.split(".", 2)[2] for name in known if name.startswith("layers.")})
    of_model = [name for name in known if not name.startswith("layers.")]
    span = f"layers 0 to {layers[-1]}" if layers else "no layer"
    return (
        f"never computed: {'; '.join(lines)}. This model shows {', '.join(of_model) or 'nothing'}, and of {span} "
        f"{', '.join(of_layers)}. docs/formats/taps.md says what they are; the name of a layer's value begins with "
        "layers.N."
    )
