"""/ouvert/tune/jobs: adapters that the server's owner lets it train, as jobs. Who trains is registered."""

from ouvert.serving.tunings.jobs import ENDPOINTS, TUNING, Rows

__all__ = ["ENDPOINTS", "TUNING", "Rows"]
