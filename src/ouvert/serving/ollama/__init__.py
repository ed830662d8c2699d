"""Ollama's dialect."""

from ouvert.serving.ollama.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
