"""What an answer is worth, by name: what a recipe's `reward.use` lists. docs/formats/recipe.md."""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Prompt
from ouvert.tuning.reinforce import Judge, Sampled

NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
FUNCTION = re.compile(r"(.+\.py):(\w+)")


def stops(answer: Sampled, prompt: Prompt) -> float:
    """1 where the answer ended by itself."""
    return float(answer.stopped)


def is_json(answer: Sampled, prompt: Prompt) -> float:
    """1 where the whole answer is one JSON value."""
    try:
        json.loads(answer.text)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def exact(column: str) -> Judge:
    """1 where the answer is the column's text, but for white space around it."""
    return lambda answer, prompt: float(answer.text.strip() == text_of(prompt, column).strip())


def number(column: str) -> Judge:
    """1 where the last number in the answer is the column's."""

    def judge(answer: Sampled, prompt: Prompt) -> float:
        wanted = last_number(text_of(prompt, column))
        if wanted is None:
            raise TuningError(
                f"rewarding the prompt of line {prompt.line}: its column {column!r} is {prompt.columns[column]!r:.80}, "
                "expected a number."
            )
        found = last_number(answer.text)
        return float(found is not None and math.isclose(found, wanted, rel_tol=1e-9))

    return judge


def regex(column: str) -> Judge:
    """1 where the column's pattern (Python's re) fits the whole answer."""

    def judge(answer: Sampled, prompt: Prompt) -> float:
        try:
            return float(re.fullmatch(text_of(prompt, column), answer.text.strip(), re.DOTALL) is not None)
        except re.error as problem:
            raise TuningError(
                f"rewarding the prompt of line {prompt.line}: its column {column!r} is no pattern: {problem}."
            ) from None

    return judge


def shorter(tokens: str) -> Judge:
    """From 0 down to -1 as an answer grows from so many tokens to twice as many."""
    if not tokens.isdecimal() or int(tokens) == 0:
        raise TuningError(f"the reward shorter:{tokens}: expected a number of tokens, such as shorter:80.")
    most = int(tokens)
    return lambda answer, prompt: -min(max(len(answer.ids) / most - 1.0, 0.0), 1.0)


PLAIN: Mapping[str, Judge] = {"stops": stops, "json": is_json}
WITH_VALUE: Mapping[str, Callable[[str], Judge]] = {
    "exact": exact, "number": number, "regex": regex, "shorter": shorter,
}  # fmt: skip
# Names of the design that need what is not here yet.
LATER = {"tests": "a box for code that models write"}


def judges_of(
    names: Sequence[str], *, owns_code: bool, others: Mapping[str, Callable[[str], Judge]] | None = None
) -> dict[str, Judge]:
    """The judges that a recipe names. `owns_code`: whether a file of the owner's own (`./reward.py:score`) may be run,
    as on the command line and never over HTTP. `others`: more of those with a value.

    Raises TuningError for a name that there is not, and for a file that cannot be used.
    """
    known = {**WITH_VALUE, **(others or {})}
    judges: dict[str, Judge] = {}
    for name in names:
        kind, colon, value = name.partition(":")
        if (function := FUNCTION.fullmatch(name)) is not None:
            judges[name] = of_file(Path(function[1]), function[2], owns_code=owns_code)
        elif name in PLAIN:
            judges[name] = PLAIN[name]
        elif colon and value and kind in known:
            judges[name] = known[kind](value)
        elif kind in LATER:
            raise TuningError(f"the reward {name!r} needs {LATER[kind]}, which this version does not have.")
        else:
            every = [
                *PLAIN,
                *(f"{each}:COLUMN" for each in known if each != "shorter"),
                "shorter:TOKENS",
                "./file.py:function",
            ]
            raise TuningError(f"there is no reward {name!r:.80}: expected some of {', '.join(every)}.")
    return judges


def of_file(path: Path, function: str, *, owns_code: bool) -> Judge:
    """`function(text, columns)` of a file of the owner's, which returns a number."""
    if not owns_code:
        raise TuningError(
            f"the reward {path}:{function} is a program, and programs are run only where their owner types the "
            "command: not over HTTP. Use `ouvert tune` on the command line."
        )
    spec = importlib.util.spec_from_file_location("reward", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise TuningError(f"the reward {path}:{function}: there is no such file, expected Python.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        raise TuningError(f"the reward {path}:{function}: reading it fails: {problem!r}.") from problem
    score = getattr(module, function, None)
    if not callable(score):
        raise TuningError(f"the reward {path}:{function}: the file has no function of that name.")

    def judge(answer: Sampled, prompt: Prompt) -> float:
        try:
            worth: Any = score(answer.text, dict(prompt.columns))
        except Exception as problem:
            raise TuningError(
                f"the reward {path}:{function} fails at an answer to the prompt of line {prompt.line}: {problem!r}."
            ) from problem
        if isinstance(worth, bool | int | float) and math.isfinite(worth):
            return float(worth)
        raise TuningError(
            f"the reward {path}:{function} gives {worth!r:.80} for an answer to the prompt of line {prompt.line}, "
            "expected a finite number."
        )

    return judge


def text_of(prompt: Prompt, column: str) -> str:
    """Raises TuningError where a prompt lacks the column."""
    if column not in prompt.columns:
        raise TuningError(
            f"rewarding the prompt of line {prompt.line}: it has no column {column!r}, but "
            f"{', '.join(map(repr, prompt.columns)) or 'none'}. Add the column, or name another in reward.use."
        )
    value = prompt.columns[column]
    return value if isinstance(value, str) else json.dumps(value)


def last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
