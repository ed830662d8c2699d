"""/ouvert/traces: answers and texts looked into, for the owner of this server. docs/formats/trace.md is the JSON."""

from ouvert.serving.traces.endpoints import ENDPOINTS
from ouvert.serving.traces.kept import Traces

__all__ = ["ENDPOINTS", "Traces"]
