"""Taps: a tap is shown every named value of a forward pass and may replace it."""

from typing import Any, Self


class Tap:
    """A tap that keeps nothing and changes nothing: the one that is used when nobody watches."""

    def __call__(self, name: str, value: Any) -> Any:
        return value

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

    def __call__(self, name: str, value: Any) -> Any:
        if (full_name := self.scope + name) in self.wanted:
            self.seen[full_name] = value.copy()
        return value

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part; what it sees is kept here too. Raises nothing."""
        child = type(self)(*self.wanted, scope=f"{self.scope}{scope}.")
        child.seen = self.seen
        return child

    def values(self) -> dict[str, Any]:
        """What was seen, by full name. Raises LookupError if anything asked for never came."""
        if never := sorted(self.wanted - self.seen.keys()):
            raise LookupError(
                f"never computed: {never}. Is the name in docs/formats/taps.md, for this family and this many layers? "
                "Fused kernels do not show everything; arithmetic.Ops does."
            )
        return self.seen
