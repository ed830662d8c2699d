"""Evidence about weights, adapters or a remote endpoint: one runner, one store of it, and comparison.

May import assistant, agents, sandbox, safety, chat, tokenization and store.
"""

from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.checking.check import ToCheck, check
from ouvert.evaluation.checking.check_report import CheckReport, Finding, Integrity, Observation, SideBySide
from ouvert.evaluation.checking.held_out import HeldOut, Prompted
from ouvert.evaluation.checking.questions import check_seconds
from ouvert.evaluation.checking.writing import line_of_finding, page_of_check, said_of_state, write_check
from ouvert.evaluation.comparing import (
    Compared,
    compare,
    entrants_again,
    entrants_of,
    free_folder,
    new_folder,
    rerun,
    resume,
    settings_of,
)
from ouvert.evaluation.comparison import Comparison, as_json
from ouvert.evaluation.contestants.contestant import Contestant, ContestantFacts
from ouvert.evaluation.contestants.entrants import Entrant, LoadedOnce, fit_together
from ouvert.evaluation.contestants.here import THOUGHT_TOKENS
from ouvert.evaluation.contestants.local import open_local
from ouvert.evaluation.contestants.notation import names_another_server, place_of
from ouvert.evaluation.contestants.other_servers import OtherServers
from ouvert.evaluation.contestants.remote import Remote, key_variable, remote
from ouvert.evaluation.contestants.sending import Sending, require_may_leave, sending
from ouvert.evaluation.contestants.server_contestant import ServerContestant
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence, Key, Scored
from ouvert.evaluation.item import Chat, Item, Likelihood, Text
from ouvert.evaluation.lessons.writing import Lessons, write_lessons
from ouvert.evaluation.measures.measuring import damage_to_measure, measure, said_of_reference
from ouvert.evaluation.outcome import Answered, Call, Cost, Outcome, Score
from ouvert.evaluation.plan import Plan, PlannedRow, PlannedSuite
from ouvert.evaluation.planning import Planned, Wanted, make_plan
from ouvert.evaluation.price_list import (
    Price,
    answers_to_break_even,
    cost_elsewhere,
    cost_of_answers,
    price_for,
    read_prices,
)
from ouvert.evaluation.prices import prices
from ouvert.evaluation.purposes import PURPOSES
from ouvert.evaluation.report.write import report
from ouvert.evaluation.rerun import Again, Difference, compare_outcomes
from ouvert.evaluation.run import Progress, run, score
from ouvert.evaluation.standings import Standings, standings
from ouvert.evaluation.suites.catalog import cards, open_suite
from ouvert.evaluation.suites.suite import Card, Suite
from ouvert.evaluation.votes import Vote, VoteFile, VoteVerdict
from ouvert.evaluation.wording import Language, Wording

__all__ = [
    "PURPOSES",
    "THOUGHT_TOKENS",
    "Again",
    "Answered",
    "Call",
    "Card",
    "Chat",
    "CheckReport",
    "Compared",
    "Comparison",
    "Contestant",
    "ContestantFacts",
    "Cost",
    "Difference",
    "Entrant",
    "EvaluationError",
    "Evidence",
    "Finding",
    "HeldOut",
    "Integrity",
    "Item",
    "Key",
    "Language",
    "Lessons",
    "Likelihood",
    "LoadedOnce",
    "Observation",
    "OtherServers",
    "Outcome",
    "Plan",
    "Planned",
    "PlannedRow",
    "PlannedSuite",
    "Price",
    "Progress",
    "Prompted",
    "Remote",
    "Score",
    "Scored",
    "Sending",
    "ServerContestant",
    "SideBySide",
    "Standings",
    "Suite",
    "Text",
    "ToCheck",
    "Vote",
    "VoteFile",
    "VoteVerdict",
    "Wanted",
    "Wording",
    "analyse",
    "answers_to_break_even",
    "as_json",
    "cards",
    "check",
    "check_seconds",
    "compare",
    "compare_outcomes",
    "cost_elsewhere",
    "cost_of_answers",
    "damage_to_measure",
    "entrants_again",
    "entrants_of",
    "fit_together",
    "free_folder",
    "key_variable",
    "line_of_finding",
    "make_plan",
    "measure",
    "names_another_server",
    "new_folder",
    "open_local",
    "open_suite",
    "page_of_check",
    "place_of",
    "price_for",
    "prices",
    "read_prices",
    "remote",
    "report",
    "require_may_leave",
    "rerun",
    "resume",
    "run",
    "said_of_reference",
    "said_of_state",
    "score",
    "sending",
    "settings_of",
    "standings",
    "write_check",
    "write_lessons",
]
