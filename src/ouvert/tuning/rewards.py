"""What an answer is worth, by name: what a recipe's `reward.use` lists. docs/formats/recipe.md."""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Item, Prompt
from ouvert.tuning.reinforce import Judge, Sampled
from ouvert.tuning.reward_files import FUNCTION, file_of
from ouvert.tuning.reward_schema import Follows, schema_in, validator_of

NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")


def stops(answer: Sampled, prompt: Prompt) -> float:
    """1 where the answer ended by itself."""
    return float(answer.stopped)


def is_json(answer: Sampled, prompt: Prompt) -> float:
    """1 where the whole answer is one JSON value."""
    return float(json_in(answer.text) is not NO_JSON)


def exact(column: str) -> Judge:
    """1 where the answer is the column's text, but for white space around it."""
    return lambda answer, prompt: float(answer.text.strip() == text_of(prompt, column).strip())


def number(column: str) -> Judge:
    """1 where the last number in the answer is the column's."""

    def judge(answer: Sampled, prompt: Prompt) -> float:
        wanted = last_number(text_of(prompt, column))
        if wanted is None:
            raise TuningError(
                f"rewarding the prompt of {prompt.where}: its column {column!r} is {prompt.columns[column]!r:.80}, "
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
                f"rewarding the prompt of {prompt.where}: its column {column!r} is no pattern: {problem}."
            ) from None

    return judge


def matches(pattern: str) -> Judge:
    """1 where this pattern (Python's re) fits the whole answer: one form for all prompts."""
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as problem:
        raise TuningError(f"the reward matches:{pattern}: expected a pattern of Python's re: {problem}.") from None
    return lambda answer, prompt: float(compiled.fullmatch(answer.text.strip()) is not None)


def schema(where: str) -> Judge:
    """1 where the whole answer is JSON that follows a JSON Schema: one for all prompts in a file (`form.json`), or each
    prompt's own in a column."""
    if (file := file_of(f"schema:{where}")) is not None:
        follows = schema_in(file)
        return lambda answer, prompt: worth_of_form(answer, follows)
    known: dict[str, Follows] = {}

    def judge(answer: Sampled, prompt: Prompt) -> float:
        text = text_of(prompt, where)
        if text not in known:
            known[text] = validator_of(text, f"column {where!r} of {prompt.where}")
        return worth_of_form(answer, known[text])

    return judge


def worth_of_form(answer: Sampled, follows: Follows) -> float:
    value = json_in(answer.text)
    return float(value is not NO_JSON and follows(value))


def shorter(tokens: str) -> Judge:
    """From 0 down to -1 as an answer grows from so many tokens to twice as many."""
    if not tokens.isdecimal() or int(tokens) == 0:
        raise TuningError(f"the reward shorter:{tokens}: expected a number of tokens, such as shorter:80.")
    most = int(tokens)
    return lambda answer, prompt: -min(max(len(answer.ids) / most - 1.0, 0.0), 1.0)


PLAIN: Mapping[str, Judge] = {"stops": stops, "json": is_json}
WITH_VALUE: Mapping[str, Callable[[str], Judge]] = {
    "exact": exact, "number": number, "regex": regex, "matches": matches, "schema": schema, "shorter": shorter,
}  # fmt: skip
EVERY = (
    "stops", "json", "exact:COLUMN", "number:COLUMN", "regex:COLUMN", "matches:PATTERN", "schema:FILE.json",
    "schema:COLUMN", "shorter:TOKENS", "./FILE.py:FUNCTION",
)  # fmt: skip
# What people of the field look for and is not here -> what to do instead.
NOT_HERE = {
    "tests": "programs that a model writes are not run here while it learns",
    "judge": "no other model gives marks here while this one learns",
}


def judges_of(names: Sequence[str], *, owns_files: bool) -> dict[str, Judge]:
    """The judges that a recipe names. `owns_files`: whether files of the owner's own may be read and run
    (`schema:form.json`, `./reward.py:score`), as on the command line and never over HTTP.

    Raises TuningError for a name that there is not, and for a file that cannot be used.
    """
    judges: dict[str, Judge] = {}
    for name in names:
        kind, _, value = name.partition(":")
        if not owns_files and file_of(name) is not None:
            raise TuningError(
                f"the reward {name} is a file of this machine, and such are used only where their owner types the "
                "command: not over HTTP. Use `ouvert tune` on the command line, or a column of the data."
            )
        if name in PLAIN:
            judges[name] = PLAIN[name]
        elif value and kind in WITH_VALUE:
            judges[name] = WITH_VALUE[kind](value)
        elif (function := FUNCTION.fullmatch(name)) is not None:
            judges[name] = of_file(Path(function[1]), function[2])
        else:
            why = f" ({NOT_HERE[kind]}: ./FILE.py:FUNCTION can)" if kind in NOT_HERE else ""
            raise TuningError(f"there is no reward {name!r:.80}{why}: expected some of {', '.join(EVERY)}.")
    return judges


def require_columns(names: Sequence[str], items: Iterable[Item]) -> None:
    """Raises TuningError, before anything is computed, for a prompt that lacks what a reward reads, or has no number,
    pattern or schema there. The owner's own functions are not asked."""
    judges = {name: judge for name, judge in judges_of(names, owns_files=True).items() if not FUNCTION.fullmatch(name)}
    silent = Sampled(ids=np.zeros(0, np.int32), log_probabilities=np.zeros(0), stopped=True, text="")
    for prompt in (item for item in items if isinstance(item, Prompt)):
        for judge in judges.values():
            judge(silent, prompt)


def of_file(path: Path, function: str) -> Judge:
    """`function(text, columns)` of a file of the owner's, which returns a number."""
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
                f"the reward {path}:{function} fails at an answer to the prompt of {prompt.where}: {problem!r}."
            ) from problem
        if isinstance(worth, bool | int | float) and math.isfinite(worth):
            return float(worth)
        raise TuningError(
            f"the reward {path}:{function} gives {worth!r:.80} for an answer to the prompt of {prompt.where}, "
            "expected a finite number."
        )

    return judge


def text_of(prompt: Prompt, column: str) -> str:
    """Raises TuningError where a prompt lacks the column."""
    if column not in prompt.columns:
        raise TuningError(
            f"rewarding the prompt of {prompt.where}: it has no column {column!r}, but "
            f"{', '.join(map(repr, prompt.columns)) or 'none'}. Add the column, or name another in reward.use."
        )
    value = prompt.columns[column]
    return value if isinstance(value, str) else json.dumps(value)


NO_JSON = object()


def json_in(text: str) -> Any:
    """The value, or NO_JSON. NaN and infinities, which Python reads, are none."""
    try:
        return json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return NO_JSON


def no_constant(name: str) -> Any:
    raise ValueError(name)


def last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
