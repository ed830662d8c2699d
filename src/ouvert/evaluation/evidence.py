"""The folder of a comparison: its plan, every answer with its receipt, scores, speed, damage.

docs/formats/comparison.md. What is written is never changed; a line counts until a later one says it anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.field_types import require_field_types
from ouvert.evaluation.item import Item
from ouvert.evaluation.lines import Appender, Claim, read_lines
from ouvert.evaluation.outcome import Answered, Call, Cost, Outcome, Score
from ouvert.evaluation.plan import Plan, PlannedRow, digest_of
from ouvert.evaluation.suites.catalog import open_suite
from ouvert.evaluation.suites.suite import Suite
from ouvert.store import read_regular, write_whole

PLAN, ANSWERS, SCORES, PRIVATE, MANIFEST = (
    "plan.toml", "answers.jsonl", "scores.jsonl", "private.jsonl", "manifest.json",
)  # fmt: skip
# Files of lines whose form belongs to those who measure: `Evidence.lines` and `append`.
MEASURES = ("speed", "damage", "held_out", "examples")
WITHHELD = "withheld"  # the `reason` of an outcome whose words are not here


class Key(NamedTuple):
    """Which answer: everything is paired by the last three."""

    contestant: str
    row: str
    item: str
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A score as it stands in scores.jsonl. `scorer`: name and version."""

    contestant: str
    row: str
    item: str
    sample: int
    scorer: str
    score: Score


class Evidence:
    """The folder of one comparison. `create` or `open` it; close it, or use it as a context manager.

    Who writes has it alone; any number may read meanwhile.
    """

    def __init__(self, folder: Path, toml: bytes, claim: Claim | None) -> None:
        """`create` and `open` make one. Raises EvaluationError for what is no plan."""
        self.folder = folder
        self.plan_digest = digest_of(toml)
        self._claim = claim
        self._appenders: dict[str, Appender] = {}
        self._suites: dict[str, Suite] = {}
        self._items: dict[str, tuple[Item, ...]] = {}
        self._by_id: dict[str, dict[str, Item]] = {}
        try:
            self.plan = Plan.read(toml)
        except EvaluationError:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path | str, plan: Plan | bytes) -> Self:
        """A new folder with this plan (a value, or the bytes of another folder's plan.toml), to be written to.

        Raises EvaluationError for a folder that has something in it, or cannot be made.
        """
        folder, toml = Path(folder), plan if isinstance(plan, bytes) else plan.toml
        try:
            folder.mkdir(parents=True, exist_ok=True)
            require_empty(folder)
            write_whole(folder / PLAN, [toml])
            (folder / PLAN).chmod(0o644)
        except OSError as problem:
            raise EvaluationError(
                f"beginning a comparison in {folder}: {problem.strerror}, expected a folder that can be written. Name "
                "another with --out."
            ) from None
        return cls.open(folder, writing=True)

    @classmethod
    def open(cls, folder: Path | str, *, writing: bool = False) -> Self:
        """The folder as it is. `writing`: to append; nobody else may then.

        Raises EvaluationError for a folder that holds no comparison, one that another process writes to, answers that
        were given under another plan, and a plan that cannot be read.
        """
        folder = Path(folder)
        try:
            claim = Claim(folder / PLAN) if writing else None
            toml = read_regular(folder / PLAN)
        except OSError as problem:
            raise EvaluationError(
                f"opening the comparison {folder}: {PLAN}: {problem.strerror}, expected the folder that `ouvert "
                "compare` wrote. Name that one."
            ) from None
        evidence = cls(folder, toml, claim)
        try:
            evidence._require_own_answers()
            if writing:
                evidence._begin_answers()
        except EvaluationError:
            evidence.close()
            raise
        return evidence

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder. May be called twice. Raises nothing but OSError."""
        for appender in self._appenders.values():
            appender.close()
        self._appenders = {}
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    # --- what was asked -----------------------------------------------------------------------------------------------

    def suite(self, name: str) -> Suite:
        """A suite of the plan, made again. Raises EvaluationError where it cannot be, or is another one by now."""
        if name not in self._suites:
            planned = self.plan.suite(name)
            suite = open_suite(name, **planned.settings)
            if canonical_json(made := dict(suite.describe())) != canonical_json(planned.made):
                changed = sorted(key for key in {*made, *planned.made} if made.get(key) != planned.made.get(key))
                raise EvaluationError(
                    f"opening the suite {name!r} of {self.folder}: {', '.join(changed)} changed since the plan was "
                    f"written (first: {made.get(changed[0])!r:.80}, expected {planned.made.get(changed[0])!r:.80}). "
                    "Put back what was there, or compare anew."
                )
            self._suites[name] = suite
        return self._suites[name]

    def items(self, row: str) -> tuple[Item, ...]:
        """The items of a row, in the order in which they are asked. Raises what `suite` raises, and EvaluationError
        where the suite makes other ones than the plan says."""
        if row not in self._items:
            planned = self.plan.row(row)
            items = items_of_row(self.suite(planned.suite), planned)
            if (digest := digest_of_items(items)) != planned.items:
                raise EvaluationError(
                    f"making the items of {row} again: they have the digest {digest}, expected {planned.items}. The "
                    "suite makes other ones by now: use the version of Ouvert that the plan names, or compare anew."
                )
            self._items[row] = items
        return self._items[row]

    def item(self, row: str, name: str) -> Item:
        """The item that an answer is to. Raises what `items` raises, and EvaluationError where the plan has none."""
        if row not in self._by_id:
            self._by_id[row] = {item.id: item for item in self.items(row)}
        try:
            return self._by_id[row][name]
        except KeyError:
            raise EvaluationError(
                f"reading {self.folder}: there is an answer to {row} {name!r:.60}, which is no item of the plan. The "
                "folder is damaged: take it from a copy, or compare again."
            ) from None

    # --- what was answered --------------------------------------------------------------------------------------------

    def answers(self) -> tuple[Answered, ...]:
        """Every answer once, as it was last given, in the order in which they first came. Outcomes whose words are not
        here have "withheld" as their reason. Raises EvaluationError for lines that are no answers."""
        private = self._private_outcomes()
        last: dict[Key, Answered] = {}
        for number, line in enumerate(read_lines(self.folder / ANSWERS)[1:], 2):
            try:
                answered = answered_of(line, private)
            except (TypeError, KeyError, AttributeError) as problem:
                raise EvaluationError(
                    f"reading {self.folder / ANSWERS}, line {number}: {problem!s:.120}, expected an answer as "
                    "docs/formats/comparison.md has it. The file is damaged: take it from a copy, or compare again."
                ) from None
            last[key_of_answer(answered)] = answered
        return tuple(last.values())

    def _private_outcomes(self) -> dict[Key, Mapping[str, Any]]:
        try:
            return {key_of(line): line["outcome"] for line in read_lines(self.folder / PRIVATE)}
        except (TypeError, KeyError) as problem:
            raise EvaluationError(
                f"reading {self.folder / PRIVATE}: {problem!s:.120}, expected outcomes as docs/formats/comparison.md "
                "has them. The file is damaged: take it from a copy, or compare again."
            ) from None

    def append_answer(self, answered: Answered) -> None:
        """Raises EvaluationError where it cannot be written: then it is as if it had not come."""
        line = asdict(answered)
        if not answered.known:
            del line["known"]
        if self.plan.suite(self.plan.row(answered.row).suite).withheld:
            key = key_of_answer(answered)._asdict()
            self._appender(PRIVATE).append({**key, "outcome": line["outcome"]})
            line["outcome"] = {"digest": outcome_digest(answered.outcome)}
        self._appender(ANSWERS).append(line)

    def receipts(self) -> Iterator[Mapping[str, Any]]:
        """The receipt of every answer. Raises what `answers` raises."""
        return (answered.receipt for answered in self.answers() if answered.receipt)

    # --- what it is worth ---------------------------------------------------------------------------------------------

    def scores(self, scorer: str | None = None) -> dict[Key, Score]:
        """The score of every answer: by the scorer that scored last, or by this one (name and version). Raises
        EvaluationError for lines that are no scores."""
        return {
            Key(each.contestant, each.row, each.item, each.sample): each.score
            for each in self.all_scores()
            if scorer in (None, each.scorer)
        }

    def all_scores(self) -> list[Scored]:
        """Every line of scores.jsonl. Raises EvaluationError for lines that are no scores."""
        try:
            return [scored_of(line) for line in read_lines(self.folder / SCORES)]
        except (TypeError, KeyError) as problem:
            raise EvaluationError(
                f"reading {self.folder / SCORES}: {problem!s:.120}, expected scores as docs/formats/comparison.md has "
                "them. Score again: `ouvert compare score`."
            ) from None

    def append_score(self, scored: Scored) -> None:
        """Raises EvaluationError where it cannot be written."""
        self._appender(SCORES).append(asdict(scored))

    # --- other measures -----------------------------------------------------------------------------------------------

    def lines(self, measure: str) -> list[dict[str, Any]]:
        """The lines of one of `MEASURES`; VoteFile has those of votes. Raises EvaluationError for what
        is no line."""
        return read_lines(self.folder / f"{require_measure(measure)}.jsonl")

    def append(self, measure: str, line: Mapping[str, Any]) -> None:
        """Raises EvaluationError where it cannot be written."""
        self._appender(f"{require_measure(measure)}.jsonl").append(line)

    def seal(self) -> None:
        """Write manifest.json: the digest of every other file that is not private. Raises EvaluationError where it
        cannot be written."""
        files = sorted(
            path
            for path in self.folder.rglob("*")
            if path.is_file() and path.name not in (MANIFEST, PRIVATE) and not path.name.startswith(".")
        )
        manifest = {
            path.relative_to(self.folder).as_posix(): "sha256:" + sha256(path.read_bytes()).hexdigest()
            for path in files
        }
        try:
            write_whole(self.folder / MANIFEST, [canonical_json(manifest), b"\n"])
            (self.folder / MANIFEST).chmod(0o644)
        except OSError as problem:
            raise EvaluationError(
                f"writing {self.folder / MANIFEST}: {problem.strerror}, expected room for it. Make some, and score "
                "again."
            ) from None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _appender(self, name: str) -> Appender:
        if self._claim is None:
            raise EvaluationError(
                f"writing to {self.folder}: it was opened to be read. Open it with writing=True."
            )  # fmt: skip
        if name not in self._appenders:
            self._appenders[name] = Appender(self.folder / name, private=name == PRIVATE)
        return self._appenders[name]

    def _require_own_answers(self) -> None:
        begun = read_lines(self.folder / ANSWERS)
        if begun and begun[0].get("plan") != self.plan_digest:
            raise EvaluationError(
                f"opening the comparison {self.folder}: its answers were given under the plan "
                f"{begun[0].get('plan')!r:.80}, and {PLAN} is {self.plan_digest}. A plan stays as it was written: put "
                "it back, or compare anew."
            )

    def _begin_answers(self) -> None:
        answers = self._appender(ANSWERS)
        if not read_lines(self.folder / ANSWERS):
            answers.append({"comparison": 1, "plan": self.plan_digest})


def require_empty(folder: Path) -> None:
    """Raises EvaluationError for a folder that has something in it, and OSError for a file. One that is not there is
    empty, too."""
    if folder.exists() and any(folder.iterdir()):
        raise EvaluationError(
            f"beginning a comparison in {folder}: something is there, expected an empty folder. Go on with "
            f"`ouvert compare resume {folder}`, or name another with --out."
        )


def items_of_row(suite: Suite, planned: PlannedRow) -> tuple[Item, ...]:
    """The items of a row, in order. Raises what `Suite.items` raises."""
    asked = suite.items(planned.language, planned.count, planned.seed)
    return tuple(item for item in asked if item.row == planned.row)


def digest_of_items(items: tuple[Item, ...]) -> str:
    """Over the items' digests, in order. Raises nothing."""
    return "sha256:" + sha256("\n".join(item.digest for item in items).encode("ascii")).hexdigest()


def outcome_digest(outcome: Outcome) -> str:
    """What stands in place of an outcome whose words are withheld. Raises nothing."""
    return "sha256:" + sha256(canonical_json(outcome)).hexdigest()


def key_of(line: Mapping[str, Any]) -> Key:
    """Raises TypeError and KeyError where a line does not say which answer it is about."""
    key = Key(line["contestant"], line["row"], line["item"], line["sample"])
    if not all(isinstance(each, str) for each in key[:3]) or type(key.sample) is not int:
        raise TypeError(f"the answer is {tuple(key)!r:.80}, expected three texts and a number")
    return key


def key_of_answer(answered: Answered) -> Key:
    """Which answer it is. Raises nothing."""
    return Key(answered.contestant, answered.row, answered.item, answered.sample)


def answered_of(line: Mapping[str, Any], private: Mapping[Key, Mapping[str, Any]]) -> Answered:
    """Raises TypeError, KeyError and AttributeError for what is no answer."""
    require_key(line)
    stated = line["outcome"]
    if "digest" in stated:
        outcome = withheld(stated["digest"], private.get(key_of(line)))
    else:
        outcome = outcome_of(stated)
    answered = Answered(**{**line, "outcome": outcome, "cost": Cost(**line["cost"])})
    require_field_types(answered)
    return answered


def scored_of(line: Mapping[str, Any]) -> Scored:
    """Raises TypeError and KeyError for what is no score."""
    scored = Scored(**{**line, "score": Score(**line["score"])})
    require_field_types(scored)
    for share in (scored.score.value, scored.score.confidence or 0.0):
        if not 0 <= share <= 1:
            raise TypeError(f"a score or confidence is {share}, expected 0 to 1")
    return scored


def require_key(line: Mapping[str, Any]) -> None:
    """Raises TypeError for an answer to no question: names are texts, and samples are counted."""
    if (
        not all(isinstance(line[name], str) for name in ("contestant", "row", "item"))
        or type(line["sample"]) is not int
    ):
        raise TypeError("contestant, row and item are texts, and sample is a whole number")


def withheld(digest: str, words: Mapping[str, Any] | None) -> Outcome:
    """The outcome that the owner keeps apart, if it is here and is the one that was given."""
    outcome = None if words is None else outcome_of(words)
    return outcome if outcome is not None and outcome_digest(outcome) == digest else Outcome(reason=WITHHELD)


def outcome_of(stated: Mapping[str, Any]) -> Outcome:
    """Raises TypeError and AttributeError for what is none."""
    outcome = Outcome(**stated)
    outcome = replace(
        outcome,
        calls=tuple(Call(**call) for call in stated.get("calls", ())),
        ids=tuple(outcome.ids),
        logprobs=tuple(outcome.logprobs),
    )
    require_field_types(outcome)
    return outcome


def require_measure(name: str) -> str:
    if name not in MEASURES:
        raise EvaluationError(f"a comparison has no file of {name!r:.40}; it has {', '.join(MEASURES)}.")
    return name
