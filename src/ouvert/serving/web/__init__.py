"""The web page, and what it alone asks for."""

from ouvert.serving.web.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
