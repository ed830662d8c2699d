"""Which values of a graph a program keeps for whoever looks."""

from collections.abc import Iterable
from typing import Any, Self

from ouvert.arithmetic import never_shown
from ouvert.kernels.traced import Traced, TracingError
from ouvert.kernels.tracer import Tracer


class Watch:
    """A tap for tracing: the values named are kept, for `Program.seen`. Raises if a name never comes."""

    def __init__(self, tracer: Tracer, names: Iterable[str], scope: str = "") -> None:
        self.tracer, self.scope = tracer, scope
        self.names = frozenset(names)
        self.shown: set[str] = set()  # every name that came

    def __call__(self, name: str, value: Any) -> Any:
        if self.wants(name):
            full_name = self.scope + name
            if not isinstance(value, Traced):
                raise TracingError(
                    f"watching {full_name}: it is {type(value).__name__}, expected a value of the graph."
                )
            self.tracer.watch(full_name, value)
        return value

    def wants(self, name: str) -> bool:
        """Whether the name was asked for. Raises nothing."""
        self.shown.add(full_name := self.scope + name)
        return full_name in self.names

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part, such as "layers.3". Raises nothing."""
        child = type(self)(self.tracer, self.names, f"{self.scope}{scope}.")
        child.shown = self.shown
        return child

    def check(self) -> None:
        """Raises LookupError if a name never came."""
        if never := self.names - self.shown:
            raise LookupError(never_shown(never, self.shown))
