"""What the small JSON files of a model folder say about its tokenizer."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ouvert.tokenization.errors import TokenizerError


@dataclass(frozen=True, slots=True)
class NamedToken:
    """An entry of `added_tokens_decoder`."""

    text: str
    special: bool


@dataclass(frozen=True, slots=True)
class Named:
    """`bos`, `eos`: texts, None if nothing names them. `ends`: ids. `adds_bos`: None if nothing says."""

    bos: str | None = None
    eos: str | None = None
    ends: tuple[int, ...] = ()
    adds_bos: bool | None = None
    added: dict[int, NamedToken] = field(default_factory=dict)


def named_tokens(folder: Path) -> Named:
    """Read tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json and, where that
    names no end, config.json: each where present.

    tokenizer_config.json goes before special_tokens_map.json. Raises TokenizerError for a file that is not JSON of the
    expected kind.
    """
    config = _read(folder / "tokenizer_config.json")
    special = _read(folder / "special_tokens_map.json")
    adds_bos = config.get("add_bos_token")
    return Named(
        bos=_text(config.get("bos_token")) or _text(special.get("bos_token")),
        eos=_text(config.get("eos_token")) or _text(special.get("eos_token")),
        ends=_ends(folder),
        adds_bos=None if adds_bos is None else bool(adds_bos),
        added=_added(folder, config),
    )


def _ends(folder: Path) -> tuple[int, ...]:
    """Ids at which an answer ends: generation_config.json's, or config.json's if it names none (as in transformers)."""
    ends = _read(folder / "generation_config.json").get("eos_token_id")
    if ends is None or ends == []:
        ends = _read(folder / "config.json").get("eos_token_id")
    numbers = [_number(token, folder) for token in (ends if isinstance(ends, list) else [ends]) if token is not None]
    return tuple(number for number in numbers if number >= 0)  # below 0 is how some write "none"


def _added(folder: Path, config: dict[str, Any]) -> dict[int, NamedToken]:
    """The tokens of added_tokens.json and, before those, of `added_tokens_decoder` in tokenizer_config.json."""
    added = {}
    for text, token in _read(folder / "added_tokens.json").items():
        added[_number(token, folder)] = NamedToken(text, special=False)
    decoder = config.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise TokenizerError(
            f"reading {folder / 'tokenizer_config.json'}: added_tokens_decoder is {decoder!r:.40}, expected an object "
            "of token ids; fetch the file again."
        )
    for token, entry in decoder.items():
        content = _text(entry)
        if content is None:
            raise TokenizerError(
                f"reading {folder / 'tokenizer_config.json'}: added_tokens_decoder[{token!r}] is {entry!r}, expected "
                "an object with 'content'; fetch the file again."
            )
        special = isinstance(entry, dict) and bool(entry.get("special", False))
        added[_number(token, folder)] = NamedToken(content, special=special)
    return added


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise TokenizerError(
            f"reading {path}: {problem.strerror}, expected a file that you may read; check what it is, and its "
            "permissions."
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise TokenizerError(f"reading {path}: it is not JSON ({problem}); fetch the file again.") from problem
    if not isinstance(value, dict):
        raise TokenizerError(f"reading {path}: it holds a {type(value).__name__}, expected an object; fetch it again.")
    return value


def _text(entry: Any) -> str | None:
    """A token is given as its text, or as an object that has it as `content`."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else None


def _number(token: Any, folder: Path) -> int:
    try:
        return int(token)
    except (TypeError, ValueError, OverflowError) as problem:
        raise TokenizerError(
            f"reading the tokenizer's files in {folder}: a token id is {token!r}, expected a number; "
            "fetch the files again."
        ) from problem
