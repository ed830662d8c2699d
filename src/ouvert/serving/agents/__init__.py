"""Agents over HTTP: as the model name `agent/NAME` in every dialect, and their runs below /ouvert/agents."""

from ouvert.serving.agents.endpoints import ENDPOINTS
from ouvert.serving.agents.runs import Runs

__all__ = ["ENDPOINTS", "Runs"]
