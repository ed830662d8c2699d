"""From evidence to what may be said: `analyse`. Reads; asks nobody anything, and writes nothing."""

from ouvert.evaluation.analysis.analyse import analyse

__all__ = ["analyse"]
