"""Which other programs a process may start: a list, as that of its hosts."""

from collections.abc import Iterable, Iterator, Sequence


class Programs:
    """Commands that may be started: a whole command word for word, or any that begins with certain words."""

    def __init__(self, whole: Iterable[Sequence[str]] = (), beginnings: Iterable[Sequence[str]] = ()) -> None:
        """Raises ValueError for a beginning without words: it would allow everything."""
        self._whole = frozenset(tuple(each) for each in whole)
        self._beginnings = frozenset(tuple(each) for each in beginnings)
        if () in self._beginnings:
            raise ValueError(
                "allowing a program: no words are given, and every command begins with none. Expected the program and "
                "what always follows it."
            )

    def __contains__(self, command: Sequence[str]) -> bool:
        """Whether that command may be started. Raises nothing."""
        words = tuple(command)
        return words in self._whole or any(words[: len(each)] == each for each in self._beginnings)

    def __or__(self, other: "Programs") -> "Programs":
        both = Programs()
        both._whole = self._whole | other._whole
        both._beginnings = self._beginnings | other._beginnings
        return both

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({each[0] for each in self._whole | self._beginnings}))
