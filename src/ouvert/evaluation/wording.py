"""The words that people read, in English and in French, from one catalogue: texts/NAME.LANGUAGE.toml.

A test fails if a key lacks a language, or if its places for values differ between the two.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

TEXTS = Path(__file__).parent / "texts"
Language = Literal["en", "fr"]


@cache
def catalogue(name: str, language: Language) -> dict[str, str]:
    """Key -> text with places for values, `{so}`; keys of tables are `table.key`. Raises nothing for a text of ours."""
    stated = tomllib.loads((TEXTS / f"{name}.{language}.toml").read_text(encoding="utf-8"))
    flat: dict[str, str] = {}
    for key, value in stated.items():
        flat |= {f"{key}.{inner}": text for inner, text in value.items()} if isinstance(value, dict) else {key: value}
    return flat


class Wording:
    """Texts and numbers in one language. Numbers have the separators of that language, and no others.

    Making one raises FileNotFoundError for a catalogue that there is not.
    """

    def __init__(self, name: str, language: Language) -> None:
        self.language: Language = language
        self._texts = catalogue(name, language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of that key. Raises KeyError for a key that there is not, or a value that is missing."""
        return self._texts[key].format(**values)

    def number(self, value: float, digits: int = 0) -> str:
        """1,234.5 in English; 1 234,5 in French, with narrow spaces that do not break. Raises nothing."""
        text = f"{value:,.{digits}f}"
        return text if self.language == "en" else text.translate(str.maketrans(",.", "\u202f,"))

    def percent(self, share: float, digits: int = 0) -> str:
        """A share of 1 as a percentage: 38% in English, 38 % in French. Raises nothing."""
        return self.number(100 * share, digits) + ("%" if self.language == "en" else "\u202f%")
