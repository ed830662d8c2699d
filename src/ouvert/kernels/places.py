"""Where a program has places for edits."""

from collections.abc import Iterable
from typing import Any, Self

from ouvert.kernels.traced import Traced, TracingError
from ouvert.kernels.tracer import Tracer
from ouvert.kernels.watching import Watch


class Places:
    """A tap for tracing: values of these names are edited before `watch` sees them. Raises if a name never comes."""

    def __init__(self, tracer: Tracer, names: Iterable[str], watch: Watch, scope: str = "") -> None:
        self.tracer, self.names, self.watch, self.scope = tracer, frozenset(names), watch, scope
        self.placed: set[str] = set()
        self.chosen: Traced | None = None  # the layer's experts

    def __call__(self, name: str, value: Any) -> Any:
        if name == "experts.chosen":
            self.chosen = value
        if (full_name := self.scope + name) in self.names:
            if value.value.integers:
                raise TracingError(f"editing {full_name}: it is whole numbers, which may only be looked at.")
            self.placed.add(full_name)
            value = self.tracer.edit(full_name, value, self.chosen if name == "experts.weights" else None)
        return self.watch(name, value)

    def wants(self, name: str) -> bool:
        """Whether the value was asked for. Raises nothing."""
        return self.watch.wants(name)

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part, such as "layers.3". Raises nothing."""
        child = type(self)(self.tracer, self.names, self.watch.inside(scope), f"{self.scope}{scope}.")
        child.placed = self.placed
        return child

    def check(self) -> None:
        """Raises LookupError if a name to watch never came, TracingError for one to edit."""
        self.watch.check()
        if never := sorted(self.names - self.placed):
            raise TracingError(f"editing {', '.join(never)}: this graph does not show that. docs/formats/edits.md")
