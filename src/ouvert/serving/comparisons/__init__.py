"""/ouvert/comparison: answers side by side without names, votes, and one model's answer as another one reads it.

Only a server that `ouvert compare open` starts has one. What is compared, and where votes go, is handed in.
"""

from ouvert.serving.comparisons.endpoints import ENDPOINTS
from ouvert.serving.comparisons.opened import Competitor, OpenComparison, Question, Recorded
from ouvert.serving.comparisons.rounds import Rounds

__all__ = ["ENDPOINTS", "Competitor", "OpenComparison", "Question", "Recorded", "Rounds"]
