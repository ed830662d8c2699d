"""/ouvert/comparison: answers side by side without names, votes, and one model's answer as another one reads it.
/ouvert/comparisons: comparisons that the server's owner asks for, as jobs.

Only a server that `ouvert compare open` starts has the first. What is compared, and where votes go, is handed in; so is
who does the jobs.
"""

from ouvert.serving.comparisons.endpoints import ENDPOINTS as ROUNDS_ENDPOINTS
from ouvert.serving.comparisons.jobs import COMPARISON, comparison_folder
from ouvert.serving.comparisons.jobs import ENDPOINTS as JOB_ENDPOINTS
from ouvert.serving.comparisons.opened import Competitor, OpenComparison, Question, Recorded
from ouvert.serving.comparisons.rounds import Rounds

ENDPOINTS = (*ROUNDS_ENDPOINTS, *JOB_ENDPOINTS)

__all__ = [
    "COMPARISON",
    "ENDPOINTS",
    "Competitor",
    "OpenComparison",
    "Question",
    "Recorded",
    "Rounds",
    "comparison_folder",
]
