"""How text is cut into words before byte-level BPE merges inside them: facts, by the name a GGUF file gives.

The patterns are those of each model's own tokenizer, in the syntax of the Oniguruma library that `tokenizers` uses.
Where llama.cpp, whose names these are, approximates a pattern, the model's own stands here; docs/formats/tokenizers.md
lists where the two differ.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """`cuts` apply one after the other: each isolates its matches within the pieces the one before left.

    `whole_words_first`: a word that is in the vocabulary is that token, whatever the merges say.
    `adds_bos`: what holds if the file does not say. `normal_form`: Unicode form the text is brought to first.
    """

    cuts: tuple[str, ...]
    source: str
    whole_words_first: bool = False
    adds_bos: bool = False
    normal_form: Literal["NFC"] | None = None


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_TEKKEN = _GPT4O.replace(_CONTRACTION, "").replace(r"\p{N}{1,3}", r"\p{N}")

_KIMI_K2 = (
    r"[\p{Han}]+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}&&[^\p{{Han}}]]*[{_LOWER}&&[^\p{{Han}}]]+{_CONTRACTION}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}&&[^\p{{Han}}]]+[{_LOWER}&&[^\p{{Han}}]]*{_CONTRACTION}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The letters of scripts with case, as DeepSeek LLM's tokenizer.json lists them. Written as numbers, since an editor
# that normalises text would turn U+212A into K.
_CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_CASED}]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"(?<!\s)\s+$",  # the file has \s+$, which finds the same, but in quadratic time
    r"[一-龥ࠀ-一가-퟿]+",
    r"\p{N}+",
)

_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
)

_DEFAULT = (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")

_LLAMA_BPE = PreTokenizer(
    (_LLAMA3,),
    "Llama 3, tokenizer.json and tokenizer.py of meta-llama/llama-models",
    whole_words_first=True,
    adds_bos=True,
)
_NEOX = PreTokenizer((_GPT2,), "EleutherAI/gpt-neox-20b, tokenizer.json (Mamba, OLMo, MPT)", normal_form="NFC")

_GPT2_AS_IT_IS = PreTokenizer((_GPT2,), "openai/gpt-2, src/encoder.py")
_DIGIT_BY_DIGIT = PreTokenizer((r"\p{N}", _GPT2), "HuggingFaceTB/SmolLM2-135M-Instruct, tokenizer.json")
_LLAMA3_BY_MERGES = PreTokenizer(
    (_LLAMA3,), "databricks/dbrx-base, tokenizer.json: Llama 3's cuts, merges never passed over"
)
_QWEN2_AS_IT_IS = PreTokenizer((_QWEN2,), "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B, tokenizer.json")

_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}")

_SEED_CODER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Names that llama.cpp reads as another name's: src/llama-vocab.cpp, the table of tokenizer.ggml.pre. Files of the
# architectures we run carry them: fine-tunes and models "made like Llama".
PRE_TOKENIZERS = {
    "a.x-4.0": _GPT2_AS_IT_IS,
    "command-r": _DIGIT_BY_DIGIT,
    "dbrx": _LLAMA3_BY_MERGES,
    "deepseek-coder": PreTokenizer(_DEEPSEEK_CODER, "deepseek-ai/deepseek-coder-6.7b-base, tokenizer.json"),
    "deepseek-llm": PreTokenizer(_DEEPSEEK_LLM, "deepseek-ai/deepseek-llm-7b-base, tokenizer.json"),
    "deepseek-r1-qwen": _QWEN2_AS_IT_IS,
    "deepseek-v3": PreTokenizer(_DEEPSEEK_V3, "deepseek-ai/DeepSeek-V3, tokenizer.json"),
    "default": PreTokenizer(_DEFAULT, "llama.cpp, src/llama-vocab.cpp: what files without a name are read with"),
    "exaone": _DIGIT_BY_DIGIT,
    "falcon3": _LLAMA_BPE,
    "gigachat": _GPT2_AS_IT_IS,
    "gpt-2": _GPT2_AS_IT_IS,
    "gpt-4o": PreTokenizer((_GPT4O,), "openai/tiktoken, tiktoken_ext/openai_public.py: o200k_base"),
    "kimi-k2": PreTokenizer((_KIMI_K2,), "moonshotai/Kimi-K2-Instruct, tokenization_kimi.py"),
    "lfm2": _LLAMA_BPE,
    "llama-bpe": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "megrez": _QWEN2_AS_IT_IS,
    "mellum": _GPT2_AS_IT_IS,
    "midm-2.0": _LLAMA_BPE,
    "minerva-7b": _DIGIT_BY_DIGIT,
    "mpt": _NEOX,
    "olmo": _NEOX,
    "phi-2": _GPT2_AS_IT_IS,
    "pixtral": _LLAMA_BPE,
    "qwen2": PreTokenizer((_QWEN2,), "Qwen/Qwen2-7B-Instruct, tokenizer.json", normal_form="NFC"),
    "refact": _DIGIT_BY_DIGIT,
    "seed-coder": PreTokenizer((_SEED_CODER,), "ByteDance-Seed/Seed-Coder-8B-Base, tokenizer.json"),
    "smaug-bpe": _LLAMA3_BY_MERGES,
    "smollm": _DIGIT_BY_DIGIT,
    "stablelm2": _QWEN2_AS_IT_IS,
    "starcoder": _DIGIT_BY_DIGIT,
    "tekken": PreTokenizer(
        (_TEKKEN,), "mistralai/Mistral-Nemo-Instruct-2407, tokenizer.json", whole_words_first=True, adds_bos=True
    ),
    "trillion": _GPT2_AS_IT_IS,
}
