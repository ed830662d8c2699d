"""The web page, and what it alone asks for."""

from ouvert.serving.web.page import ENDPOINTS

__all__ = ["ENDPOINTS"]
