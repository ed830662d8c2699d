"""Where a run stands between two steps, and the one file that keeps it: written beside and renamed, so that a run that
is killed at any moment finds the step before, whole."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.packed import Adapter
from ouvert.tuning.error import TuningError
from ouvert.tuning.learner import Array
from ouvert.weights import Checkpoint, CheckpointError, SafetensorsWriter, UnwritableError, open_checkpoint

FORM = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a run is, in numbers.

    `step`: how many are done; `measured`: after how many of them the held-out loss was measured last (-1: never).
    `held_out`: what it was before the first step. `best`: the lowest since, after `best_step` steps; `worse`: how many
    measurements there were since then. `stopped`: these were too many. `seconds` that it took, in all its processes.
    """

    step: int = 0
    measured: int = -1
    held_out: float | None = None
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    stopped: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunState:
    """Everything that the next step depends on, beside recipe and data. The order of examples and every draw follow
    from the seed and the number of the step, so that there is no generator to keep.

    now      the parameters, float32, by name
    moments  AdamW's: "mean.<parameter>", "square.<parameter>"
    best     the parameters after `standing.best_step` steps; empty where these are the last, or nothing is held out
    """

    standing: Standing
    now: Mapping[str, Array]
    moments: Mapping[str, Array]
    best: Mapping[str, Array] = field(default_factory=dict)

    @property
    def answer(self) -> Mapping[str, Array]:
        """What a run that ends here has learnt: the best, if there is one. Raises nothing."""
        return self.best or self.now


def first_state(adapter: Adapter) -> RunState:
    """Of a run that has done nothing yet. Raises nothing."""
    now = parameters_of(adapter)
    moments = {f"{of}.{name}": np.zeros_like(each) for of in ("mean", "square") for name, each in now.items()}
    return RunState(standing=Standing(), now=now, moments=moments)


def parameters_of(adapter: Adapter) -> dict[str, Array]:
    """The numbers of an adapter as a learner calls them: "layers.3.q.a", "layers.3.q.b". Raises nothing."""
    return {
        f"{name}.{of}": np.asarray(matrix, "f4")
        for name, pair in adapter.pairs.items()
        for of, matrix in (("a", pair.a), ("b", pair.b))
    }


def adapter_of(parameters: Mapping[str, Array], pairs: Mapping[str, Mapping[str, Any]]) -> Adapter:
    """The other way round. `pairs`: scale and experts of each, as `pairs_of` has them. Raises KeyError for a parameter
    that is missing."""
    return Adapter({
        name: LowRank(
            np.array(parameters[f"{name}.a"]),
            np.array(parameters[f"{name}.b"]),
            float.fromhex(pair["scale"]),
            None if pair["experts"] is None else tuple(pair["experts"]),
        )
        for name, pair in pairs.items()
    })  # fmt: skip


def pairs_of(adapter: Adapter) -> dict[str, dict[str, Any]]:
    """What an adapter has beside its numbers, as JSON. Raises nothing."""
    return {
        name: {"scale": float(pair.scale).hex(), "experts": None if pair.experts is None else list(pair.experts)}
        for name, pair in adapter.pairs.items()
    }


def write_state(path: Path, state: RunState) -> None:
    """Keep it in the place of the one before. Raises TuningError if it cannot be written: the one before stays."""
    arrays = {
        **{f"now.{name}": each for name, each in state.now.items()},
        **state.moments,
        **{f"best.{name}": each for name, each in state.best.items()},
    }
    metadata = {"ouvert tuning": FORM, "standing": json.dumps(asdict(state.standing))}
    try:
        shapes = {name: ("F32", each.shape) for name, each in arrays.items()}
        with SafetensorsWriter(path, shapes, metadata) as writer:
            for name, each in arrays.items():
                writer.write(name, each)
    except (UnwritableError, OSError) as problem:
        run = path.parent.parent.name
        before = "Nothing was begun, and nothing is left" if run.startswith(".") else "What was kept before is whole"
        after = "begin again" if run.startswith(".") else f"`ouvert tune resume {run}` goes on from there"
        raise TuningError(
            f"keeping the run at step {state.standing.step}: {problem} {before}. Make room, or make the folder "
            f"writable; then {after}."
        ) from problem


def read_standing(path: Path) -> Standing:
    """How far a kept state is, without its arrays. Raises TuningError as `read_state` does."""
    with understood(path), open_checkpoint(path) as file:
        return standing_of(file)


def read_state(path: Path) -> RunState:
    """Raises TuningError for a file that is none of ours."""
    with understood(path), open_checkpoint(path) as file:
        standing = standing_of(file)
        arrays = {name: np.array(tensor.decode()) for name, tensor in file.tensors.items()}

    def called(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)}

    moments = {name: each for name, each in arrays.items() if name.startswith(("mean.", "square."))}
    return RunState(standing=standing, now=called("now."), moments=moments, best=called("best."))


def standing_of(file: Checkpoint) -> Standing:
    if file.metadata.get("ouvert tuning") != FORM:
        raise ValueError(f"it is of another form than {FORM}")
    return Standing(**json.loads(file.metadata["standing"]))


@contextmanager
def understood(path: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, OSError, ValueError, TypeError, KeyError) as problem:
        raise TuningError(
            f"reading {path}: {problem} Expected what a run of this version wrote. Remove the run (`ouvert tune remove "
            f"{path.parent.parent.name}`) and begin it again."
        ) from problem
