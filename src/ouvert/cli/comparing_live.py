"""`ouvert compare open DIR` and `votes DIR`: a comparison in the page, side by side without names; what votes show."""

import asyncio
import ipaddress
import json
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from ouvert.evaluation import Answered, ContestantFacts, Evidence, Item, Standings, VoteFile
    from ouvert.serving import Competitor, OpenComparison, Question, Recorded, Refusal, Service, Settings
    from ouvert.store import Store

ADDRESS = "/#/compare"
LOOK_AGAIN_SECONDS = 0.02
PAUSE = 9  # times what counting took: with thousands of votes that is seconds
WHAT_VOTES_SHOW = "Where intervals overlap, the order is not shown. 300 votes tell about 100 points apart."


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Where the page is served and what the models may take. `computing`: options of `ouvert.load`."""

    host: str
    port: int
    names: tuple[str, ...]
    browser: bool
    memory: int | None
    computing: Mapping[str, Any]

    @property
    def is_private(self) -> bool:
        """Whether only this machine can ask. Raises nothing."""
        from ouvert.cli.commands.serve import LOOPBACK

        return self.host in LOOPBACK


def open_in_page(folder: Path, live: Live) -> int:
    """Serve a comparison until told to stop. 0: stopped as it was told to. 1: it could not start; stderr says why.

    Raises EvaluationError for a folder that holds no comparison.
    """
    from ouvert.cli.answering import complain
    from ouvert.cli.commands.serve import bound
    from ouvert.cli.environment import open_store
    from ouvert.evaluation import Evidence
    from ouvert.serving import allow_more_files

    store = open_store()
    with closing(Evidence.open(folder)) as evidence:
        shown = Shown(evidence, store, keeps_withheld=live.is_private)
        comparison = shown.comparison()
        for line in shown.notes:
            complain(line)
        if not any(len(comparison.able(each)) >= 2 for each in comparison.questions) and len(comparison.live) < 2:
            complain(
                f"{folder} has nothing to show side by side: fewer than two of its contestants are models of this "
                "machine, and no question has the answers of two. Compare models that are here."
            )
            return 1
        settings = settings_of(live, shown.models, store)
        listening = bound(settings)
        if listening is None:
            return 1
        allow_more_files()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when all is done
        try:
            with listening:
                return asyncio.run(serve(settings, listening, comparison, shown, live.browser))
        finally:
            shown.seal()


def settings_of(live: Live, models: Sequence[str], store: "Store") -> "Settings":
    """A server of these models and no others, that keeps no receipt and no prefix: what voters type is theirs."""
    from ouvert.cli.commands.serve import SHARE_OF_MEMORY
    from ouvert.cli.environment import guard_asked_for
    from ouvert.engine import memory_bytes
    from ouvert.serving import Settings

    machine = memory_bytes()
    return Settings(
        host="127.0.0.1" if live.host == "localhost" else live.host,
        port=live.port,
        models=tuple(models),
        only_these=True,
        keep=None,
        memory=int(machine * SHARE_OF_MEMORY) if live.memory is None and machine is not None else live.memory,
        load_options={**live.computing, "receipts": False, "prefixes": False, "guard": guard_asked_for()},
        names=live.names,
        key_required=not live.is_private,
        state=store.home / "server",
    )


async def serve(
    settings: "Settings", listening: "socket.socket", comparison: "OpenComparison", shown: "Shown", browser: bool
) -> int:
    """Serve until told to stop; 1 where a model cannot be loaded, or is not the one that the plan names."""
    from ouvert.cli.answering import complain
    from ouvert.cli.commands.serve import leave_within
    from ouvert.cli.environment import open_store
    from ouvert.cli.progress import show_progress
    from ouvert.serving import make_app, make_server

    host, port = listening.getsockname()[:2]
    status = 0

    async def ready(service: "Service", refusals: "Sequence[Refusal]") -> None:
        nonlocal status
        faults = [each.message for each in refusals] or await asyncio.to_thread(shown.changed, service)
        if faults:
            status = 1
            for fault in faults:
                complain(fault)
            while not server.started:  # until then it does not look whether it is to end
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            server.should_exit = True
            return
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}{ADDRESS}"
        print(f"Open {address}", file=sys.stderr)
        if ipaddress.ip_address(host).is_unspecified:
            print(f"From other machines: this one's name or address in place of {host}, and a key.", file=sys.stderr)
        sys.stderr.flush()
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    app = make_app(settings, open_store(), progress=show_progress(sys.stderr), comparison=comparison, ready=ready)
    server = make_server(app, settings, leave_within)
    await server.serve([listening])
    return status


class Shown:
    """A folder as a server shows it. `models`: what is loaded for it; `notes`: what is not shown, and why; `names`:
    what each contestant is called, by its label.
    """

    def __init__(self, evidence: "Evidence", store: "Store", *, keeps_withheld: bool) -> None:
        """`keeps_withheld`: words that stay with their owner are shown. Raises nothing."""
        self.evidence, self._store, self._keeps_withheld = evidence, store, keeps_withheld
        self.names = shown_names(evidence.plan.labels)
        self.models: list[str] = []
        self.notes: list[str] = []
        self._weights: dict[str, tuple[str, str]] = {}  # own name -> (label, the weights of the plan)
        self._votes_before = 0

    def comparison(self) -> "OpenComparison":
        """For a server. Raises EvaluationError for answers and votes that cannot be read."""
        from ouvert.evaluation import VoteFile
        from ouvert.serving import OpenComparison

        facts = self.evidence.plan.contestants
        votes = VoteFile(self.evidence.folder)
        self._votes_before = len(votes.votes())
        kept = Votes(votes, self.names)
        return OpenComparison(
            competitors=[self._competitor(each) for each in facts],
            questions=self._questions(),
            cast=kept.cast,
            standings=kept.standings,
        )

    def changed(self, service: "Service") -> list[str]:
        """A sentence for each model whose weights are not those of the plan. Takes its time. Raises nothing."""
        found = []
        for called, (label, planned) in self._weights.items():
            model = service.loaded_models.model_of(called)
            now = None if model is None else model.engine.facts.weights_digest
            if now is not None and now != planned:
                found.append(
                    f"{label}: the weights on this machine are {now}, and the comparison was made with {planned}. Pull "
                    "that revision again, or compare anew."
                )
        return found

    def seal(self) -> None:
        """Write the manifest again, where there is one and votes have come. Raises EvaluationError where it cannot be
        written."""
        from ouvert.evaluation import VoteFile

        folder = self.evidence.folder
        if (folder / "manifest.json").exists() and len(VoteFile(folder).votes()) > self._votes_before:
            self.evidence.seal()

    def _competitor(self, facts: "ContestantFacts") -> "Competitor":
        from ouvert.evaluation import THOUGHT_TOKENS
        from ouvert.serving import Competitor
        from ouvert.store import StoreError

        shown = self.names[facts.label]
        if facts.where != "here":
            return Competitor(label=shown, model=None)
        name, effort = name_and_effort(facts)
        try:
            installed = self._store.resolve(name)
        except StoreError as problem:
            self.notes.append(f"{facts.label} is not asked here, only its recorded answers are shown: {problem}")
            return Competitor(label=shown, model=None)
        adapters = {each: self._store.adapters.record(each).digest for each in installed.adapters}
        if adapters != facts.about.get("adapters", {}):
            self.notes.append(
                f"{facts.label} is not asked here, only its recorded answers are shown: its adapters have other "
                f"numbers now, {', '.join(adapters.values()) or 'none'}."
            )
            return Competitor(label=shown, model=None)
        if name not in self.models:
            self.models.append(name)
        if weights := facts.about.get("weights"):
            self._weights[installed.base.called] = (facts.label, str(weights))
        sampling = dict(facts.identity.get("sampling", {}))
        return Competitor(
            label=shown, model=installed.called, effort=effort, thought_tokens=THOUGHT_TOKENS.get(effort, 0),
            sampling=sampling,
        )  # fmt: skip

    def _questions(self) -> list["Question"]:
        from ouvert.evaluation import EvaluationError

        recorded = self._recorded()
        found = []
        for row in self.evidence.plan.rows:
            if row.kind != "chat":
                continue
            if self.evidence.plan.suite(row.suite).withheld and not self._keeps_withheld:
                self.notes.append(f"{row.row} is not shown to other machines: its words stay with their owner.")
                continue
            try:
                items = self.evidence.items(row.row)
            except EvaluationError as problem:
                self.notes.append(f"{row.row} is not shown: {problem}")
                continue
            found += [question_of(each, recorded.get((each.row, each.id), {})) for each in items if is_plain(each)]
        return found

    def _recorded(self) -> dict[tuple[str, str], dict[str, "Recorded"]]:
        """By row and item, then by label: the first sample of every answer whose words are here."""
        found: dict[tuple[str, str], dict[str, Recorded]] = {}
        for answered in self.evidence.answers():
            if answered.sample == 0 and is_text(answered):
                name = self.names.get(answered.contestant, answered.contestant)
                found.setdefault((answered.row, answered.item), {})[name] = recorded_of(answered)
        return found


class Votes:
    """The votes of a folder, as a server keeps and counts them. May be used from several threads."""

    def __init__(self, file: "VoteFile", names: Mapping[str, str]) -> None:
        """`names`: what each contestant is called in the page, by its label. Raises nothing."""
        self._file, self._names = file, names
        self._labels = {name: label for label, name in names.items()}
        self._lock = threading.Lock()
        self._counted: tuple[int, dict[str, Any]] | None = None
        self._not_before = 0.0  # on the monotonic clock: counting takes no more than a share of the time

    def cast(self, vote: Mapping[str, Any]) -> bool:
        """Whether it counts. Raises Refusal where it cannot be kept."""
        from ouvert.evaluation import EvaluationError, Vote

        try:
            shown = [self._labels[name] for name in vote["shown"]]
            return self._file.add(Vote.from_json({**vote, "shown": shown}))
        except EvaluationError as problem:
            raise refusal("This vote could not be kept", problem) from problem

    def standings(self) -> Mapping[str, Any]:
        """What the page shows; computed again when there are more votes, but a tenth of the time at most. Raises
        Refusal where they cannot be read."""
        from ouvert.evaluation import EvaluationError

        try:
            votes = self._file.votes()
        except EvaluationError as problem:
            raise refusal("The votes cannot be read", problem) from problem
        with self._lock:
            began = time.monotonic()
            if self._counted is None or (self._counted[0] != len(votes) and began >= self._not_before):
                from ouvert.evaluation import standings

                self._counted = len(votes), for_page(standings(votes, tuple(self._names)), self._names)
                now = time.monotonic()
                self._not_before = now + PAUSE * (now - began)
            return self._counted[1]


def refusal(what: str, problem: Exception) -> "Refusal":
    """For the voter; the reason has a path, and is for the owner."""
    from ouvert.cli.answering import complain
    from ouvert.serving import Refusal

    complain(str(problem))
    return Refusal(507, f"{what}; the owner of this server reads why. Try again later.", code="no_room")


def for_page(found: "Standings", names: Mapping[str, str]) -> dict[str, Any]:
    """docs/formats/comparison.md, "Rounds over HTTP". `names`: what each contestant is called there."""
    ranking = [
        {"label": names[each.contestant], "votes": each.votes, "rating": round(each.rating, 1),
         "low": round(each.interval.low, 1), "high": round(each.interval.high, 1)}
        for each in found.ranking
    ]  # fmt: skip
    return {**asdict(found), "ranking": ranking}


def shown_names(labels: Sequence[str]) -> dict[str, str]:
    """What each contestant is called in the page: its label; of a path the last name alone, where no other has it."""
    short = {label: Path(label).name if os.sep in label and Path(label).exists() else label for label in labels}
    names = list(short.values())
    return {
        label: name if names.count(name) == 1 else f"{name} ({number})"
        for number, (label, name) in enumerate(short.items(), 1)
    }


def name_and_effort(facts: "ContestantFacts") -> tuple[str, str]:
    """What the model is called here, and the effort that it was asked for: a label is `NAME[:EFFORT][#COPY]`."""
    effort = str(facts.identity.get("effort", ""))
    name = facts.label.removesuffix(f"#{facts.identity.get('copy', '')}")
    return (name.removesuffix(f":{effort}") if effort else name), effort


def is_plain(item: "Item") -> bool:
    """Whether it is a conversation that is answered in words. Raises nothing."""
    from ouvert.evaluation import Chat

    return isinstance(item.ask, Chat) and not item.ask.tools and item.ask.schema is None


def question_of(item: "Item", answers: Mapping[str, "Recorded"]) -> "Question":
    from ouvert.evaluation import Chat
    from ouvert.serving import Question

    assert isinstance(item.ask, Chat)  # noqa: S101 - `is_plain` said so
    return Question(
        id=item.digest, messages=tuple(item.ask.messages), max_tokens=item.ask.max_tokens, row=item.row, item=item.id,
        language=item.language, answers=answers,
    )  # fmt: skip


def is_text(answered: "Answered") -> bool:
    outcome = answered.outcome
    return not outcome.refused and not outcome.calls and outcome.reason != "withheld"


def recorded_of(answered: "Answered") -> "Recorded":
    from ouvert.serving import Recorded

    outcome = answered.outcome
    return Recorded(text=outcome.text, reason=outcome.reason, ids=tuple(outcome.ids))


# --- what the votes show ---


def show_votes(folder: Path, *, as_json: bool) -> int:
    """Print the standings. 0, also where there is no rank yet. Raises EvaluationError for a folder without a plan."""
    from ouvert.evaluation import Evidence, VoteFile, standings

    with closing(Evidence.open(folder)) as evidence:
        labels = evidence.plan.labels
    file = VoteFile(folder)
    found = standings(file.votes(), labels)
    if file.damaged:
        print(f"ouvert: {file.damaged} lines of {file.path} are no votes, and are left out.", file=sys.stderr)
    print(json.dumps(for_page(found, dict(zip(labels, labels, strict=True)))) if as_json else in_words(found))
    return 0


def in_words(found: "Standings") -> str:
    lines = [f"{found.votes} votes, with {found.voters} labels of voters."]
    if not found.ranking:
        why = (
            "no rank: some were never compared with the others"
            if found.fewest >= found.minimum
            else f"no rank before {found.minimum} votes for each model; the one with the fewest has {found.fewest}"
        )
        return "\n".join([*lines, why[0].upper() + why[1:] + ". `ouvert compare open` takes votes."])
    width = max(len(each.contestant) for each in found.ranking)
    lines += [
        f"{each.contestant.ljust(width)}  {points(each.rating):>5}  "
        f"[{points(each.interval.low)}, {points(each.interval.high)}]  "
        f"{each.votes} votes"
        for each in found.ranking
    ]
    return "\n".join([*lines, f"Elo points (Bradley-Terry with ties), 95 % intervals. {WHAT_VOTES_SHOW}"])


def points(rating: float) -> str:
    """With its sign, but for a zero."""
    return f"{round(rating):+d}" if round(rating) else "0"
