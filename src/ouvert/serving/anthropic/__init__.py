"""Anthropic's dialect: Messages."""

from ouvert.serving.anthropic.messages import ENDPOINTS

__all__ = ["ENDPOINTS"]
