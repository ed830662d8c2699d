"""Which chat format a model speaks."""

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

from ouvert.chat.format import ChatError, ChatFormat

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

HARMONY_TOKENS = frozenset({"<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"})
# A control token that tells which built-in template fits, first match first.
BUILTIN_BY_TOKEN = (
    ("<|im_middle|>", "kimi"),
    ("<｜User｜>", "deepseek"),
    ("<|start_header_id|>", "llama3"),
    ("<|im_start|>", "chatml"),
    ("[INST]", "mistral"),
)
BUILTIN_BY_FAMILY = {"mixtral": "mistral", "deepseek_v3": "deepseek"}


def builtin_template(name: str) -> str:
    """The text of one of our own templates: chatml, deepseek, kimi, llama3 or mistral."""
    return (files("ouvert.chat") / "builtin" / f"{name}.jinja").read_text(encoding="utf-8")


def builtin_for(control_tokens: Mapping[str, int], family: str) -> str | None:
    """The name of the built-in template for a vocabulary, or None."""
    by_token = (name for token, name in BUILTIN_BY_TOKEN if token in control_tokens)
    return next(by_token, BUILTIN_BY_FAMILY.get(family))


def format_for(
    tokenizer: "Tokenizer",
    template: str | None = None,
    family: str = "",
    *,
    bos_token: str | None = None,
    eos_token: str | None = None,
) -> ChatFormat:
    """The format of a model: Harmony for gpt-oss, else its own template, else our template for its vocabulary.

    `family` is a name of `ouvert.models`. Raises ChatError if the model has none of these.
    """
    if family == "gpt_oss" or tokenizer.control_tokens.keys() >= HARMONY_TOKENS:
        from ouvert.chat.harmony import HarmonyFormat

        return HarmonyFormat(tokenizer)
    from ouvert.chat.template import TemplateFormat  # imported here: it brings jinja2

    if template is not None and template.strip():
        return TemplateFormat(tokenizer, template, bos_token=bos_token, eos_token=eos_token)
    name = builtin_for(tokenizer.control_tokens, family)
    if name is None:
        raise ChatError(
            f"choosing a chat format: the model ({family or 'family unknown'}) brings no chat template, and none of "
            f"its {len(tokenizer.control_tokens)} control tokens tells which of ours would fit. It may be a base "
            "model: use it without a template (--raw)."
        )
    thinks = "<think>" in tokenizer.control_tokens
    text = builtin_template(name)
    return TemplateFormat(
        tokenizer, text, name=f"builtin {name}", bos_token=bos_token, eos_token=eos_token, extra={"thinks": thinks}
    )
