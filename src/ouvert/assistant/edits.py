"""Edits as they are asked for: what of the model is changed, and where in a conversation. docs/formats/edits.md."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from ouvert.assistant.error import AssistantError
from ouvert.chat import Rendered
from ouvert.engine import Edit as EditOfTokens
from ouvert.engine import Variant

Where = Literal["all", "prompt", "answer", "last"]
MOST_RUNS = 256  # of tokens that follow each other, which become an edit each
WHERE: tuple[Where, ...] = get_args(Where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of a named value of the model while it reads and writes. `Edit.add` and its like make one.

    `tap`, `values`, `strength`, `heads` and `experts` are those of `ouvert.engine.Edit`. `positions`: the tokens where
    it happens, "all", those of the "prompt", those of the "answer", the "last" of the prompt, or their numbers from 0.
    `message`: the tokens of this message of the conversation, counted from 0, in place of `positions`.

    Raises AssistantError for positions that make no sense, and ValueError as `ouvert.engine.Edit` does.
    """

    operation: str
    tap: str
    values: tuple[float, ...] = ()
    strength: float = 1.0
    positions: Where | tuple[int, ...] = "all"
    message: int | None = None
    heads: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._at(0, None)
        named = isinstance(self.positions, str) and self.positions in WHERE
        if not named and not (self.positions and is_numbers(self.positions)):
            raise AssistantError(
                f"editing {self.tap}: positions={self.positions!r:.80}, expected all, prompt, answer, last, or numbers "
                "of tokens from 0 on. Leave it out for all."
            )
        if self.message is not None and (self.positions != "all" or not is_numbers([self.message])):
            raise AssistantError(
                f"editing {self.tap}: message={self.message!r:.80} and positions={self.positions!r:.80}, expected the "
                "number of a message, from 0 on, and no positions beside it."
            )

    @classmethod
    def add(cls, tap: str, vector: Iterable[float], strength: float = 1.0, **where: Any) -> "Edit":
        """`strength` times `vector` is added. `where`: the other fields. Raises what `Edit` raises."""
        return cls(operation="add", tap=tap, values=numbers(vector), strength=strength, **tuples(where))

    @classmethod
    def project_out(cls, tap: str, direction: Iterable[float], strength: float = 1.0, **where: Any) -> "Edit":
        """The part along `direction` is taken away. `where`: the other fields. Raises what `Edit` raises."""
        return cls(operation="project_out", tap=tap, values=numbers(direction), strength=strength, **tuples(where))

    @classmethod
    def replace(cls, tap: str, values: Iterable[float], **where: Any) -> "Edit":
        """`values` take the value's place. `where`: the other fields. Raises what `Edit` raises."""
        return cls(operation="replace", tap=tap, values=numbers(values), **tuples(where))

    @classmethod
    def scale(cls, tap: str, factor: float, **where: Any) -> "Edit":
        """The value is multiplied by `factor`. `where`: the other fields. Raises what `Edit` raises."""
        return cls(operation="scale", tap=tap, values=(float(factor),), **tuples(where))

    @classmethod
    def zero(cls, tap: str, **where: Any) -> "Edit":
        """The value becomes 0. `where`: the other fields. Raises what `Edit` raises."""
        return cls(operation="zero", tap=tap, **tuples(where))

    def of_tokens(self, prompt: Rendered) -> Iterator[EditOfTokens]:
        """The edits of tokens that this comes to behind this prompt, one for each run of tokens.

        Raises AssistantError for a message that the prompt has no tokens of.
        """
        for start, stop in self._runs(prompt):
            yield self._at(start, stop)

    def _at(self, start: int, stop: int | None) -> EditOfTokens:
        return EditOfTokens(
            operation=self.operation,  # type: ignore[arg-type]  # checked by what it makes
            tap=self.tap,
            values=self.values,
            strength=self.strength,
            start=start,
            stop=stop,
            heads=self.heads,
            experts=self.experts,
        )

    def _runs(self, prompt: Rendered) -> list[tuple[int, int | None]]:
        count = len(prompt.ids)
        if self.message is not None:
            runs = joined((span.start, span.stop) for span in prompt.spans if span.message == self.message)
            if not runs:
                raise AssistantError(
                    f"editing {self.tap}: message={self.message}, but the prompt has no tokens of such a message. "
                    "They are counted from 0, as they were sent."
                )
            return self._few(runs)
        if not isinstance(self.positions, str):
            return self._few(joined((position, position + 1) for position in sorted(set(self.positions))))
        named: dict[str, tuple[int, int | None]] = {
            "all": (0, None),
            "prompt": (0, count),
            "answer": (count, None),
            "last": (count - 1, count),
        }
        return [named[self.positions]]

    def _few(self, runs: list[tuple[int, int]]) -> list[tuple[int, int | None]]:
        """Raises AssistantError where there are so many that each answer's variant would be a book."""
        if len(runs) > MOST_RUNS:
            raise AssistantError(
                f"editing {self.tap}: its positions are {len(runs)} runs of tokens, expected {MOST_RUNS} at most. "
                "Name tokens that follow each other, or a part of the conversation."
            )
        return [*runs]


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that come in order, those that touch made one."""
    runs: list[tuple[int, int]] = []
    for start, stop in ranges:
        if runs and runs[-1][1] == start:
            start = runs.pop()[0]
        runs.append((start, stop))
    return runs


def is_numbers(positions: Sequence[Any]) -> bool:
    return all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in positions)


def numbers(values: Iterable[float]) -> tuple[float, ...]:
    """The numbers of a sequence, or of an array of any shape, row after row. Raises AssistantError for what is none."""
    try:
        return tuple(float(value) for value in (values.ravel() if hasattr(values, "ravel") else values))
    except (TypeError, ValueError):
        raise AssistantError(
            f"editing: {values!r:.80} is given for a vector, expected numbers: a list, or an array."
        ) from None


def tuples(where: dict[str, Any]) -> dict[str, Any]:
    """Lists of positions, heads and experts as tuples of whole numbers."""
    return {
        name: value if isinstance(value, (str, int, float)) or value is None else tuple(int(each) for each in value)
        for name, value in where.items()
    }


def variant_of(variant: Variant, edits: Iterable[Edit], prompt: Rendered) -> Variant:
    """The variant with these edits behind its own. Raises AssistantError as `Edit.of_tokens` does."""
    return replace(variant, edits=(*variant.edits, *(each for edit in edits for each in edit.of_tokens(prompt))))
