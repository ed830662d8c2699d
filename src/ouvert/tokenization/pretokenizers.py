"""How text is cut into words before byte-level BPE merges inside them: facts, by the name a GGUF file gives.

The patterns are those of each model's own tokenizer, in the syntax of the Oniguruma library that `tokenizers` uses.
Where llama.cpp, whose names these are, approximates a pattern, the model's own stands here; docs/formats/tokenizers.md
lists where the two differ.
"""

from dataclasses import dataclass


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
    normal_form: str | None = None


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

# The letters of scripts with case, as DeepSeek LLM's tokenizer.json lists them.
_CASED = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ"
    "ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)

_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_CASED}]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
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

PRE_TOKENIZERS = {
    "deepseek-llm": PreTokenizer(_DEEPSEEK_LLM, "deepseek-ai/deepseek-llm-7b-base, tokenizer.json"),
    "deepseek-r1-qwen": PreTokenizer((_QWEN2,), "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B, tokenizer.json"),
    "deepseek-v3": PreTokenizer(_DEEPSEEK_V3, "deepseek-ai/DeepSeek-V3, tokenizer.json"),
    "default": PreTokenizer(_DEFAULT, "llama.cpp, src/llama-vocab.cpp: what files without a name are read with"),
    "gpt-2": PreTokenizer((_GPT2,), "openai/gpt-2, src/encoder.py"),
    "gpt-4o": PreTokenizer((_GPT4O,), "openai/tiktoken, tiktoken_ext/openai_public.py: o200k_base"),
    "kimi-k2": PreTokenizer((_KIMI_K2,), "moonshotai/Kimi-K2-Instruct, tokenization_kimi.py"),
    "llama-bpe": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "mpt": _NEOX,
    "olmo": _NEOX,
    "qwen2": PreTokenizer((_QWEN2,), "Qwen/Qwen2-7B-Instruct, tokenizer.json", normal_form="NFC"),
    "smollm": PreTokenizer((r"\p{N}", _GPT2), "HuggingFaceTB/SmolLM2-135M-Instruct, tokenizer.json"),
    "tekken": PreTokenizer(
        (_TEKKEN,), "mistralai/Mistral-Nemo-Instruct-2407, tokenizer.json", whole_words_first=True, adds_bos=True
    ),
}
