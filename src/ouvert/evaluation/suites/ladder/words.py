"""What the ladders say, by language."""

from pathlib import Path
from typing import Any

from ouvert.evaluation.suites.language_data import language_data


def words(language: str) -> dict[str, Any]:
    return language_data(Path(__file__).parent, language)
