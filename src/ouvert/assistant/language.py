"""How a model's files say that it reads and writes: its tokenizer, its template, the format of its conversations."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.chat import ChatFormat, format_for
from ouvert.tokenization import Tokenizer, tokenizer_from_folder, tokenizer_from_gguf


class Language:
    """Read when first asked for. `metadata` are a GGUF file's keys; `folder` is where safetensors' companions are."""

    def __init__(self, name: str, family: str, metadata: Mapping[str, Any], folder: Path | None) -> None:
        self._name, self._family, self._metadata, self._folder = name, family, metadata, folder

    @property
    def has_tokenizer(self) -> bool:
        return self._folder is not None or "tokenizer.ggml.model" in self._metadata

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Raises AssistantError if the file has none, TokenizerError if it cannot be read."""
        if not self.has_tokenizer:
            raise AssistantError(
                f"{self._name} has no tokenizer in its file, expected the key tokenizer.ggml.model. "
                "Token ids still work (generate, logits, score); for text, use a file that has one."
            )
        if self._folder is not None:
            return tokenizer_from_folder(self._folder)
        return tokenizer_from_gguf(self._metadata)

    @cached_property
    def chat_format(self) -> ChatFormat:
        """Raises ChatError if there is no template and the family has none of its own."""
        return format_for(self.tokenizer, self.template, self._family)

    @cached_property
    def template(self) -> str | None:
        """The chat template the model came with, or None."""
        if self._folder is None:
            template = self._metadata.get("tokenizer.chat_template")
            return template if isinstance(template, str) else None
        return template_in(self._folder)


def template_in(folder: Path) -> str | None:
    """chat_template.jinja, else what tokenizer_config.json says; of several, the one called "default"."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return None
    try:
        stated = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as problem:
        raise AssistantError(f"{path} is not a JSON object ({problem}). Fetch it again.") from problem
    match stated:
        case None | str():
            return stated
        case [*named]:
            texts = {each["name"]: each["template"] for each in named if isinstance(each, dict)}
            if "default" in texts:
                return str(texts["default"])
    raise AssistantError(f"{path}: chat_template is {stated!r:.80}, expected text or a list with one called default.")
