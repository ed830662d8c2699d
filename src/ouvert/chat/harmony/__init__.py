"""Harmony, the format of gpt-oss: tokens, prompts, answers, outline. Knows nothing of other formats."""

from ouvert.chat.harmony.format import HarmonyFormat
from ouvert.chat.harmony.messages import HarmonyMessage, without_old_analysis
from ouvert.chat.harmony.parser import HarmonyParser
from ouvert.chat.harmony.tokens import PUBLISHED_IDS, HarmonyTokens

__all__ = [
    "PUBLISHED_IDS",
    "HarmonyFormat",
    "HarmonyMessage",
    "HarmonyParser",
    "HarmonyTokens",
    "without_old_analysis",
]
