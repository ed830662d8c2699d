"""A served model, cut between its layers: so that what passes from one to the next can be changed.

Every layer is a native program of its own, traced from the same graph over the same packed weights. Its input is a
table of rows, which is written before each step. A fused instruction computes the same bits as its parts, and a row
does not depend on what shares its step: so layer after layer gives the bits that the whole program gives, and tests
hold this for every family. What lies below a changed row is never computed again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ouvert import kernels
from ouvert.arithmetic import Tap
from ouvert.inspection.error import InspectionError
from ouvert.inspection.head import Head
from ouvert.inspection.subject import Array, Subject, adapted_weights, adapters_within, steps_of

MOST_BYTES = 1 << 30  # of values and logits that one run leaves
ROWS_AT_ONCE = 512  # of a step: kernels cut longer ones


class Table:
    """Rows of float32 that a program reads as it reads embeddings: row i for the token with the id i."""

    def __init__(self, width: int) -> None:
        self._rows = np.zeros((ROWS_AT_ONCE, width), np.float32)
        packed, _ = kernels.pack("F32", self._rows.view(np.uint8).ravel(), ROWS_AT_ONCE, width)
        self.packed = kernels.Packed("F32", ROWS_AT_ONCE, width, packed)

    def write(self, rows: Array) -> None:
        """`rows` are (ROWS_AT_ONCE at most, width) and stand at the beginning from now on."""
        self._rows[: len(rows)] = rows
        # Whole groups of rows are packed by themselves, and those that are needed lie at the beginning.
        count = -(-len(rows) // kernels.ROW_GROUP) * kernels.ROW_GROUP
        encoded = self._rows[:count].view(np.uint8).ravel()
        size = kernels.packed_bytes("F32", count, self.packed.columns)
        kernels.pack("F32", encoded, count, self.packed.columns, out=self.packed.data[:size])


class ReplacingTap(Tap):
    """For tracing: in the place of each value that has a table stand the table's rows."""

    def __init__(self, tracer: kernels.Tracer, ids: Any, tables: Mapping[str, Table], scope: str = "") -> None:
        self.tracer, self.ids, self.tables, self.scope = tracer, ids, tables, scope

    def __call__(self, name: str, value: Any) -> Any:
        if self.scope + name not in self.tables:
            return value
        rows = self.tracer.embed(self.ids, self.tables[self.scope + name].packed)
        return rows if value.head_dim is None else self.tracer.heads(rows, value.head_dim)

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part, such as "layers.3"."""
        return type(self)(self.tracer, self.ids, self.tables, f"{self.scope}{scope}.")


@dataclass(frozen=True, slots=True)
class LayerProgram:
    """The program of one layer, the table of its input, the tables of the values that it has replaced, and what
    adapters add to its weights."""

    program: kernels.Program
    input: Table
    tables: Mapping[str, Table]
    adapters: tuple[kernels.Adapters, ...] = ()

    def new_sequence(self, capacity: int) -> kernels.Sequence:
        """For `run`. Raises MemoryError if there is no memory for it."""
        sequence = self.program.new_sequence(capacity)
        sequence.adapters = self.adapters
        return sequence

    def run(self, sequences: Sequence[kernels.Sequence], rows: Array, replaced: Mapping[str, Array]) -> Array:
        """What the layer makes of `rows`, (sequences, tokens, hidden), which are appended to the sequences.

        `replaced` has (sequences, tokens, width) for each value with a table. Raises MemoryError if caches cannot grow.
        """
        together = max(1, ROWS_AT_ONCE // rows.shape[1])
        made = [
            self._run(sequences[at : at + together], rows[at : at + together], lanes(replaced, at, together))
            for at in range(0, len(rows), together)
        ]
        return np.concatenate(made)

    def _run(self, sequences: Sequence[kernels.Sequence], rows: Array, replaced: Mapping[str, Array]) -> Array:
        """The same for as many sequences as one step takes, or one that takes several steps."""
        made, tokens = [], rows.shape[1]
        for start in range(0, tokens, ROWS_AT_ONCE):
            piece = slice(start, start + ROWS_AT_ONCE)
            for table, values in [(self.input, rows), *((self.tables[name], replaced[name]) for name in self.tables)]:
                table.write(values[:, piece].reshape(-1, values.shape[-1]))
            count = rows[:, piece].shape[1]
            work = [
                (sequence, np.arange(n * count, (n + 1) * count, dtype=np.int32))
                for n, sequence in enumerate(sequences)
            ]
            made.append(self.program.step(work, "all").reshape(len(sequences), count, -1))
        return np.concatenate(made, axis=1)


def require_shown(subject: Subject, kind: str, what: str) -> None:
    """Raises InspectionError, for `what`, if no layer of the model has a value called `kind` that may be replaced."""
    of_layers = [(name.split(".", 2)[-1], value) for name, value in subject.names.items() if name.startswith("layers.")]
    can = sorted({own for own, value in of_layers if value.editable and not value.integers})
    if kind not in can:
        raise InspectionError(
            f"{what}: {subject.name} is of the family {subject.family}, whose layers have no {kind} that may be "
            f"replaced; they have {', '.join(can)}. Choose one of these: docs/formats/taps.md."
        )


def check_bytes(subject: Subject, names: Sequence[str], tokens: int, *, logits: bool) -> None:
    """Raises InspectionError, with both numbers, where a run of so many tokens would keep more than MOST_BYTES."""
    width = sum(subject.width(name, tokens) for name in names) + logits * int(subject.model.config.vocab_size)
    if 4 * tokens * width > MOST_BYTES:
        raise InspectionError(
            f"looking for causes in {subject.name}: {tokens} tokens leave {4 * tokens * width} bytes of values and "
            f"logits, expected at most {MOST_BYTES}. Give a prompt of {MOST_BYTES // (4 * width)} tokens or fewer."
        )


def lanes(values: Mapping[str, Array], start: int, count: int) -> dict[str, Array]:
    """Some of the sequences' values."""
    return {name: each[start : start + count] for name, each in values.items()}


class LayerPrograms:
    """The layers of one model, as the served program computes them. Not for use from several threads at once.

    Each is built when it is first used. Making them raises InspectionError for a model that writes no text,
    and for an edited one.
    """

    def __init__(self, subject: Subject) -> None:
        if subject.edited:
            raise InspectionError(
                f"looking for causes in {subject.name}: it is edited at {', '.join(subject.edited)}, expected the "
                "model as it is. Take the subject without edits: inspection.subject_of(model)."
            )
        self.subject = subject
        self._tables: dict[tuple[str, int], Table] = {}  # programs share them: one runs at a time
        self._built: dict[tuple[int, tuple[str, ...]], LayerProgram] = {}
        self._head = Head(subject)

    def record(
        self, ids: Sequence[int], names: Sequence[str], *, logits: bool = True
    ) -> tuple[dict[str, Array], Array]:
        """({name: (tokens, width)} of values, and the logits of every token), by the whole program.

        Raises InspectionError for a value that this model does not show, and for more than MOST_BYTES.
        """
        self.require(names)
        check_bytes(self.subject, names, len(ids), logits=logits)
        steps = list(steps_of(self.subject, tuple(dict.fromkeys(names)), ids, logits=logits))
        values = {name: np.concatenate([step.values[name] for step in steps]) for name in names}
        scores = [step.logits for step in steps if step.logits is not None]
        return values, np.concatenate(scores) if scores else np.empty((0, 0), np.float32)

    def layer(self, n: int, replaced: Sequence[str] = ()) -> LayerProgram:
        """Layer `n`, in which the values with these full names are replaced.

        Raises InspectionError for one that it does not have, or that may not be replaced."""
        key = (n, tuple(sorted(replaced)))
        if key not in self._built:
            self.require(replaced, replaceable=True)
            self._built[key] = self._layer(n, key[1])
        return self._built[key]

    def logits(self, stream: Array) -> Array:
        """The served logits, (rows, vocabulary), of rows of the stream after the last layer. Raises nothing."""
        return self._head.all_logits(stream)

    def require(self, names: Sequence[str], *, replaceable: bool = False) -> None:
        """Raises InspectionError for a value that this model does not show, or that may not be replaced."""
        known = self.subject.names
        for name in names:
            if name not in known:
                same_layer = name.split(".")[:2]
                shown = sorted(each for each in known if each.split(".")[:2] == same_layer) or sorted(
                    {each.split(".", 2)[-1] for each in known}
                )
                raise InspectionError(
                    f"{name}: {self.subject.name} ({self.subject.family}, {self.subject.layers} layers) has no such "
                    f"value. Choose one of {', '.join(shown)}; docs/formats/taps.md says what they are."
                )
            if replaceable and (known[name].integers or not known[name].editable):
                raise InspectionError(
                    f"{name} cannot be replaced: it is a choice that the next step reads, expected a value of floats. "
                    "Replace experts.weights to change what the chosen experts do."
                )

    def close(self) -> None:
        """Let go of the programs. Raises nothing."""
        for each in self._built.values():
            each.program.close()
        self._built = {}
        self._head.close()

    def _layer(self, n: int, replaced: tuple[str, ...]) -> LayerProgram:
        tracer = kernels.Tracer(exact=self.subject.exact, cache=self.subject.cache_type)
        tracer.adapt(adapted_weights(self.subject, f"layers.{n}."))
        batch = tracer.begin([self.subject.model.memories[n]])
        batch = replace(batch, caches=batch.caches * (n + 1))  # the layer looks for its own cache under its number
        table = self._table("input", f"layers.{n}.out")
        tables = {name: self._table(name.split(".", 2)[-1], name) for name in replaced}
        tap = ReplacingTap(tracer, batch.ids, tables)
        x = self.subject.model.layers(batch, tracer, tap)[n](tracer.embed(batch.ids, table.packed))
        program = tracer.finish(tracer.select(x, batch.wanted), threads=self.subject.threads)
        return LayerProgram(program, table, tables, adapters_within(self.subject, f"layers.{n}."))

    def _table(self, role: str, name: str) -> Table:
        key = (role, self.subject.width(name, 1))
        if key not in self._tables:
            self._tables[key] = Table(key[1])
        return self._tables[key]
