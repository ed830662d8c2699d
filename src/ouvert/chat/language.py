"""How a model's files say that it reads and writes: its tokenizer, its template, the format of its conversations."""

import json
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.chat.choice import format_for
from ouvert.chat.format import ChatError, ChatFormat

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

GGUF_TEMPLATE = "tokenizer.chat_template"


class Language:
    """Read when first asked for. `metadata` are a GGUF file's keys; `folder` is where safetensors' companions are.

    Making one raises nothing.
    """

    def __init__(
        self,
        name: str,
        family: str,
        metadata: Mapping[str, Any],
        folder: Path | None,
        template: str | None = None,
    ) -> None:
        """`template`: which one to use instead of the model's own, as in `format_for`."""
        self._chosen = template
        self._name, self._family, self._metadata, self._folder = name, family, metadata, folder

    @property
    def has_tokenizer(self) -> bool:
        """Whether the files say how text becomes ids. Raises nothing."""
        return self._folder is not None or "tokenizer.ggml.model" in self._metadata

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """Raises ChatError if the file has none, TokenizerError if it cannot be read."""
        from ouvert.tokenization import tokenizer_from_folder, tokenizer_from_gguf  # slow to import

        if not self.has_tokenizer:
            raise ChatError(
                f"{self._name} has no tokenizer in its file, expected the key tokenizer.ggml.model. "
                "Token ids still work (generate, logits, score); for text, use a file that has one."
            )
        if self._folder is not None:
            return tokenizer_from_folder(self._folder)
        return tokenizer_from_gguf(self._metadata)

    @property
    def chat_format(self) -> ChatFormat:
        """Raises ChatError if there is no template and the family has none of its own, or the one chosen is none.

        Whether it does is found out once: a template may take seconds to fail.
        """
        found = self._chat_format
        if isinstance(found, str):
            raise ChatError(found)
        return found

    @cached_property
    def _chat_format(self) -> ChatFormat | str:
        """The format, or why there is none."""
        own: dict[str, str] = {}
        # Where another was chosen, the model's own may be unreadable: that is what choosing is for.
        with suppress(ChatError) if self._chosen is not None else nullcontext():
            own = self.templates
        try:
            return format_for(self.tokenizer, own, self._family, chosen=self._chosen)
        except ChatError as problem:
            return str(problem)

    @cached_property
    def templates(self) -> dict[str, str]:
        """The chat templates the model came with, by name.

        Raises ChatError for a file that is not what it should be.
        """
        return templates_in_gguf(self._metadata) if self._folder is None else templates_in(self._folder)

    @property
    def template(self) -> str | None:
        """The chat template the model came with, or None; of several, the one called default, else the first.

        Raises ChatError as `templates` does.
        """
        return self.templates.get("default", next(iter(self.templates.values()), None))


def templates_in_gguf(metadata: Mapping[str, Any]) -> dict[str, str]:
    """tokenizer.chat_template, and others behind it: tokenizer.chat_template.NAME. Raises nothing."""
    keys = {GGUF_TEMPLATE: "default"}
    keys |= {key: key.removeprefix(GGUF_TEMPLATE + ".") for key in metadata if key.startswith(GGUF_TEMPLATE + ".")}
    return {name: metadata[key] for key, name in keys.items() if isinstance(metadata.get(key), str)}


def templates_in(folder: Path) -> dict[str, str]:
    """chat_template.jinja, else what tokenizer_config.json says (a text or several with names), else
    chat_template.json; and additional_chat_templates/NAME.jinja.

    Raises ChatError for a file that is not what it should be.
    """
    more = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (path := folder / "chat_template.jinja").is_file():
        named = {"default": text_in(path)}
    else:
        stated = (folder / "tokenizer_config.json", folder / "chat_template.json")
        named = next((found for path in stated if path.is_file() and (found := templates_stated(path))), {})
    return named | {name: text_in(path) for name, path in more.items()}


def text_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ChatError(
            f"{path} is not UTF-8 text (byte {problem.start}), expected a chat template. Fetch it again, or use "
            "another: --template builtin."
        ) from problem


def templates_stated(path: Path) -> dict[str, str]:
    try:
        stated = json.loads(path.read_bytes()).get("chat_template")
    except OSError as problem:
        raise ChatError(f"{path} cannot be read: {problem.strerror}. Make it a file that you may read.") from problem
    except (ValueError, RecursionError, AttributeError) as problem:
        raise ChatError(f"{path} is not a JSON object ({problem}). Fetch it again.") from problem
    match stated:
        case None:
            return {}
        case str():
            return {"default": stated}
        case [*listed] if all(is_named(each) for each in listed):
            return {each["name"]: each["template"] for each in listed}
    raise ChatError(
        f"{path}: chat_template is {stated!r:.80}, expected text or a list of objects with name and template. "
        "Fetch it again, or use another: --template builtin."
    )


def is_named(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("name", "template"))
