"""Which chat format a model speaks."""

from collections.abc import Iterable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
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
    ("[INST]", "mistral-v3"),
)
BUILTIN_NAMES = ("chatml", "deepseek", "deepseek31", "kimi", "llama3", "mistral", "mistral-v3")
# Versions of Mistral's format that differ, latest first, and a mark without which a vocabulary is of none of them.
MISTRAL_VERSIONS = ((13, "[ARGS]"), (11, "[CALL_ID]"), (7, "[SYSTEM_PROMPT]"), (3, "[INST]"))
BUILTIN = "builtin"
TOOL_USE = "tool_use"  # by this name models bring a second template, for conversations with tools
DEEPSEEK_CALL = "<｜tool▁call▁begin｜>"
BUILTIN_BY_FAMILY = {"mixtral": "mistral", "deepseek_v3": "deepseek"}


def builtin_template(name: str) -> str:
    """The text of one of our own templates: chatml, deepseek, deepseek31, kimi, llama3, mistral or mistral-v3.

    Raises FileNotFoundError for another name.
    """
    return (files("ouvert.chat") / "builtin" / f"{name}.jinja").read_text(encoding="utf-8")


def builtin_for(control_tokens: Mapping[str, int], family: str) -> str | None:
    """The name of the built-in template for a vocabulary, or None."""
    by_token = (name for token, name in BUILTIN_BY_TOKEN if token in control_tokens)
    return next(by_token, BUILTIN_BY_FAMILY.get(family))


def format_for(
    tokenizer: "Tokenizer",
    own: str | Mapping[str, str] | None = None,
    family: str = "",
    *,
    chosen: str | None = None,
    bos_token: str | None = None,
    eos_token: str | None = None,
) -> ChatFormat:
    """The format of a model: Harmony for gpt-oss, else its own template, else our template for its vocabulary.

    `own` are the model's templates by name: "default", or its only one, and for conversations with tools "tool_use".
    `family` is a name of `ouvert.models`. `chosen` goes before all that: the name of one of its own templates,
    "builtin" (ours for its vocabulary), "builtin:NAME" (one of ours), or the path of a file.

    Raises ChatError if the model has no format, or what was chosen cannot be used.
    """
    named = {"default": own} if isinstance(own, str) else dict(own or {})
    named = {name: text for name, text in named.items() if text.strip()}
    if family == "gpt_oss" or tokenizer.control_tokens.keys() >= HARMONY_TOKENS:
        if chosen is not None:
            raise ChatError(
                f"choosing a chat format: the template {chosen!r:.200} was asked for, and this model speaks Harmony, "
                "which no template can write. Leave the template out."
            )
        from ouvert.chat.harmony import HarmonyFormat

        return HarmonyFormat(tokenizer)
    if chosen is None and not named:
        chosen = BUILTIN
    from ouvert.chat.template import TemplateFormat  # imported here: it brings jinja2

    make = partial(TemplateFormat, tokenizer, bos_token=bos_token, eos_token=eos_token)
    if chosen is not None and chosen not in named:
        if chosen == BUILTIN or chosen.startswith(BUILTIN + ":"):
            name = builtin_name(chosen, tokenizer.control_tokens, family)
            text, extra = builtin_template(name), builtin_variables(name, tokenizer)
            return make(text, name=f"builtin {name}", extra=extra, calls_like=calls_of_builtin(name, tokenizer))
        return make(text_of_file(chosen, named), name=f"file {Path(chosen).name}")

    def format_of(name: str) -> TemplateFormat:
        return make(named[name], name="template" if name == "default" else f"template {name}")

    main = chosen or ("default" if "default" in named else next(iter(named)))
    if chosen is None and main != "default" and len(named) > 1:
        raise ChatError(
            f"choosing a chat format: the model brings {len(named)} templates ({listed(named)}) and none of them is "
            "called default. Say which: --template NAME (ouvert.load(template=...))."
        )
    if chosen is None and TOOL_USE in named and main != TOOL_USE:
        from ouvert.chat.named_templates import NamedTemplates

        return NamedTemplates(format_of(main), format_of(TOOL_USE))
    only = format_of(main)
    if chosen is None and (ours := teaches_tools_of(only, named[main])) is not None:
        from ouvert.chat.named_templates import NamedTemplates

        thinks = "<think>" in named[main]
        return NamedTemplates(only, make(builtin_template(ours), name=f"builtin {ours}", extra={"thinks": thinks}))
    return only


def teaches_tools_of(only: ChatFormat, template: str) -> str | None:
    """Which of our templates writes conversations with tools, for a model whose own shows calls and never declares
    tools: DeepSeek's, whose makers leave that to the system prompt. None for other models."""
    if only.abilities.tools or DEEPSEEK_CALL not in template:
        return None
    return "deepseek" if "```json" in template else "deepseek31"


def builtin_variables(name: str, tokenizer: "Tokenizer") -> dict[str, object]:
    """What a built-in template is told about the vocabulary."""
    if name == "mistral-v3":
        # SentencePiece has a space between a mark and a text; a tokenizer that begins every piece with one writes it.
        space = " " if tokenizer.space_prefix == "start" else ""
        return {"space": space, "version": mistral_version(tokenizer)}
    return {"thinks": "<think>" in tokenizer.control_tokens}


def calls_of_builtin(name: str, tokenizer: "Tokenizer") -> str | None:
    """How calls look that a built-in template writes, where it writes them in more than one way."""
    if name != "mistral-v3":
        return None
    if mistral_version(tokenizer) >= 11:
        return "[TOOL_CALLS]name[ARGS]"
    return "[TOOL_CALLS][" if tokenizer.space_prefix == "never" else "[TOOL_CALLS] ["


def mistral_version(tokenizer: "Tokenizer") -> int:
    """The version of Mistral's format: the last that the vocabulary has marks for, up to the one that it states."""
    stated = (tokenizer.prompt_version or "").removeprefix("v")
    latest = int(stated) if stated.isdecimal() else None
    for version, mark in MISTRAL_VERSIONS:
        if mark in tokenizer.control_tokens and (latest is None or latest >= version):
            return version
    return MISTRAL_VERSIONS[-1][0]


def builtin_name(chosen: str, control_tokens: Mapping[str, int], family: str) -> str:
    """Which of our templates "builtin" or "builtin:NAME" means. Raises ChatError."""
    name = chosen.partition(":")[2] or builtin_for(control_tokens, family)
    if name is None:
        raise ChatError(
            f"choosing a chat format: the model ({family or 'family unknown'}) brings no chat template, and none of "
            f"its {len(control_tokens)} control tokens tells which of ours would fit. It may be a base model: use it "
            f"without a template (--raw), or name one: --template FILE.jinja, or --template builtin:NAME with "
            f"{listed(BUILTIN_NAMES)}."
        )
    if name not in BUILTIN_NAMES:
        raise ChatError(
            f"choosing a chat format: there is no built-in template {name!r:.80}, expected one of "
            f"{listed(BUILTIN_NAMES)}. Name one of these, or `builtin` alone for the one that fits the model."
        )
    return name


def text_of_file(path: str, named: Mapping[str, str]) -> str:
    """Raises ChatError."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise ChatError(
            f"choosing a chat format: the template {path!r:.200} cannot be read ({why}), expected a file with a Jinja "
            f"template, `builtin`, builtin:NAME with {listed(BUILTIN_NAMES)}, or a template of the model's own "
            f"({listed(named) or 'it has none'}). Name one of these."
        ) from problem


def listed(names: Iterable[str]) -> str:
    """Names for an error; those that a model brings may be anything."""
    return ", ".join(f"{name!r:.40}"[1:-1] for name in list(names)[:20])
