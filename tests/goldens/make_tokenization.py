"""Makes tests/goldens/tokenization: small vocabularies, and what other programs make of some texts with them.

Run with the references installed: python tests/goldens/make_tokenization.py PATH-OF-SMOLLM2.gguf
The vocabularies are trained on the texts below with no pre-tokenization, so that they hold tokens across every
boundary a pre-tokenizer should cut at: a wrong cut gives other ids.
"""

import ctypes
import importlib.metadata
import importlib.util
import io
import json
import random
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

FOLDER = Path(__file__).parent / "tokenization"
PROGRAMS = ("gguf", "sentencepiece", "tiktoken", "tokenizers", "xllamacpp")

TEXTS = [
    "",
    " ",
    "Hello, world!",
    " Hello  world   !",
    "trailing space ",
    "trailing spaces   ",
    "tabs\tand\t\tmore\t",
    "one\ntwo\n\nthree\n\n\n   four\r\nfive\r\n\r\nsix",
    "  \n  indented\n\t\tdeeper\n",
    "non\u00a0breaking\u00a0\u00a0space, thin\u2009space, wide\u3000space\u2028line",
    "It's they'll I'm you'd we've he'S SHE'LL DON'T o'clock 'tis ’s",
    "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F",
    "٣٤٥ १२३४ ½ ² Ⅷ 百二十三 １２３４",
    "Café crème, naïve, Ærøskøbing, Straße, Łódź, İstanbul, ŒUVRE, ǅ",
    "e\u0301a\u0300o\u0308 n\u0303 decomposed; é composed",
    "Zażółć gęślą jaźń; Příliš žluťoučký kůň",
    "Съешь ещё этих мягких французских булок",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία ΚΑΙ ΤΏΡΑ",
    "שלום עולם, נִקּוּד",
    "مرحبا بالعالم، كيف حالك؟ مُحَمَّد",
    "नमस्ते दुनिया, क्षत्रिय ज्ञान",
    "สวัสดีชาวโลก น้ำ",
    "你好，世界！人工智能 makes 漢字 easier。",
    "the中文the中文the中文the中文the中文the",
    "こんにちは世界、カタカナとーひらがな",
    "안녕하세요 세계 한글",
    "👨\u200d👩\u200d👧\u200d👦 family, 🏳️\u200d🌈 flag, 👍🏽 thumb, 🇫🇷🇩🇪 and 😀😀😀",
    "zero\u200bwidth, \ufeffmark, soft\u00adhyphen",
    "nul \x00 and \x07 bell",
    "def f(x):\n    return x**2 + 1  # square\n\n\nclass A(B):\n\tpass\n",
    "for (int i = 0; i < n; ++i) { a[i] = b[i] && !c; } // done\n",
    '{"key": [1, 2.5, null, true], "name": "Ünï"}',
    "<html><body class='x'>text</body></html>",
    "https://example.org/a/b?c=d&e=%20#top user@example.org",
    "a->b <= c >= d != e == f :: g ... --- === ~~~ ```",
    "$100 + €20 = £? 50% ^_^ `code` |pipe|",
    "CamelCase snake_case SCREAMING_CASE kebab-case XMLHttpRequest",
    "<|im_end|> <|endoftext|> </s> <s> [INST] <|im_start|>user",
    "a<|im_end|>b<|im_start|>",
    "<|im_end <|im_end|",
    "▁already▁there",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                                                 x",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!????????????",
    "WAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAaaaaaaaaaah",
    "ab" * 40,
    "The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX!",
]

# Rendered templates: here control tokens count.
TRUSTED = [
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_end|><|endoftext|>",
    "a<|im_end|> b <|im_end|>c",
    "<|im_start|>user\n<|im_end <|im_start|<|im_end|>",
    "no control here",
]

ENGLISH = """When in the course of an afternoon the reader puts down the book, it is not because the story has ended.
She'll pick it up again, and they've all waited; he'd said that it's nothing, and we're sure that I'm wrong, isn't it?
There are 365 days in a year, 24 hours in a day, 60 minutes in an hour and 86400 seconds in a day; in 1999, 2000, 2001.
    An indented line, and  two spaces;\tthen a tab.\n\n\nThree line ends. "Quoted" (and bracketed) [text] {here}.
"""

# Which reference's ids stand in the golden file for each pre-tokenizer. llama.cpp approximates the patterns of gpt-4o,
# kimi-k2 and tekken, which come from tiktoken-style files, so tiktoken with their own pattern is what counts there.
BY_LLAMA_CPP = (
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "gpt-2",
    "llama-bpe",
    "mpt",
    "olmo",
    "qwen2",
    "smollm",
)
# llama.cpp does not bring text to a normal form, as these models' own tokenizers do: it is given the form instead.
NORMALISED = ("mpt", "olmo", "qwen2")
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
CASED = r"[^\r\n\p{L}\p{N}]?[%s]*[%s]+%s|[^\r\n\p{L}\p{N}]?[%s]+[%s]*%s"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
NO_HAN = r"&&[^\p{Han}]"
# As the models' own Python code gives them to tiktoken.
TIKTOKEN_PATTERNS = {
    "deepseek-r1-qwen": LLAMA3.replace("{1,3}", ""),
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt-4o": CASED % (UPPER, LOWER, CONTRACTION + "?", UPPER, LOWER, CONTRACTION + "?")
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    + SPACES,
    "kimi-k2": r"[\p{Han}]+|"
    + CASED % (UPPER + NO_HAN, LOWER + NO_HAN, CONTRACTION + "?", UPPER + NO_HAN, LOWER + NO_HAN, CONTRACTION + "?")
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    + SPACES,
    "llama-bpe": LLAMA3,
    "tekken": CASED % (UPPER, LOWER, "", UPPER, LOWER, "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES,
}
BY_TIKTOKEN = ("gpt-4o", "kimi-k2", "tekken")

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def random_texts(count: int, seed: int = 1) -> Iterator[str]:
    """Texts from pieces that pre-tokenizers treat differently, thrown together."""
    chosen = random.Random(seed)
    pieces = [piece for text in TEXTS for piece in text.split(" ")] + list(
        "  \t\n\r\u00a0\u3000\x85'.,/-_=(<|#é中カ한اक1٣½A"
    )
    for _ in range(count):
        length = chosen.randrange(1, 12)
        yield "".join(
            chosen.choice(pieces)[: chosen.randrange(1, 9)] * chosen.choice([1, 1, 1, 1, 2, 3]) for _ in range(length)
        )


def train_byte_level() -> dict[str, list[Any]]:
    """{"tokens", "merges", "types"} of a small byte-level vocabulary: bytes, merged tokens, then control tokens.

    As Hugging Face's converters do, every pair of tokens whose union is a token is a merge.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain = [text for text in TEXTS if "<" not in text]
    trainer = trainers.BpeTrainer(
        vocab_size=900, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2
    )
    trained.train_from_iterator([*plain, *ENGLISH.splitlines(keepends=True), ENGLISH] * 2, trainer)
    ids = trained.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    pairs = sorted(
        (ids[token], ids[token[:cut]], ids[token[cut:]])
        for token in tokens
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    )
    merges = [f"{tokens[left]} {tokens[right]}" for _, left, right in pairs]
    return {
        "tokens": tokens + CONTROL,
        "merges": merges,
        "types": [1] * len(tokens) + [3] * len(CONTROL),
    }


def ranks_of(vocabulary: dict[str, list[Any]]) -> dict[bytes, int]:
    """The byte-level vocabulary as tiktoken has it."""
    from gguf.vocab import bytes_to_unicode

    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    plain = vocabulary["tokens"][: -len(CONTROL)]
    return {bytes(byte_of[character] for character in token): rank for rank, token in enumerate(plain)}


def train_sentencepiece() -> bytes:
    """A small SentencePiece BPE model, with the settings of Llama 2's."""
    import sentencepiece

    model = io.BytesIO()
    sentences = [line for text in [*TEXTS, *ENGLISH.splitlines()] * 3 for line in text.split("\n") if "<" not in line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line.replace("▁", " ").replace("\0", " ") for line in sentences if line),
        model_writer=model,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        control_symbols=["[INST]", "[/INST]"],
        character_coverage=0.99,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    return model.getvalue()


class LlamaVocabulary:
    """llama.cpp's tokenizer for a GGUF file."""

    def __init__(self, path: Path) -> None:
        place = Path(__file__).parents[1] / "references" / "llama_cpp.py"
        spec = importlib.util.spec_from_file_location("llama_cpp", place)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.library = module.library
        pointer, number, flag = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
        numbers = ctypes.POINTER(number)
        module.declare("llama_tokenize", number, pointer, ctypes.c_char_p, number, numbers, number, flag, flag)
        module.declare("llama_vocab_is_eog", flag, pointer, number)
        module.declare("llama_vocab_get_add_bos", flag, pointer)
        self.library.llama_log_set(module.QUIET, None)
        self.library.llama_backend_init()
        self.model = self.library.llama_model_load_from_file(
            str(path).encode(), self.library.llama_model_default_params()
        )
        assert self.model, f"llama.cpp does not load {path}"
        self.vocabulary = self.library.llama_model_get_vocab(self.model)

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        raw = text.encode()
        room = len(raw) + 8
        ids = (ctypes.c_int32 * room)()
        count = self.library.llama_tokenize(self.vocabulary, raw, len(raw), ids, room, False, control)
        assert count >= 0
        return list(ids[:count])

    def ends(self) -> list[int]:
        """The tokens at which llama.cpp stops."""
        size = self.library.llama_vocab_n_tokens(self.vocabulary)
        return [token for token in range(size) if self.library.llama_vocab_is_eog(self.vocabulary, token)]

    def adds_bos(self) -> bool:
        return bool(self.library.llama_vocab_get_add_bos(self.vocabulary))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.llama_model_free(self.model)


def write_gguf(path: Path, keys: dict[str, Any]) -> None:
    """A tiny llama model around a vocabulary, since llama.cpp loads no vocabulary alone through this interface."""
    import gguf
    import numpy as np

    tokens, width = len(keys["tokens"]), 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(tokens)
    for key, value in keys.items():
        match key, value:
            case "token_type", _:
                writer.add_token_types(value)
            case "scores", _:
                writer.add_token_scores(value)
            case _, bool():
                writer.add_bool(f"tokenizer.ggml.{key}", value)
            case _, int():
                writer.add_uint32(f"tokenizer.ggml.{key}", value)
            case _, str():
                writer.add_string(f"tokenizer.ggml.{key}", value)
            case _:
                writer.add_array(f"tokenizer.ggml.{key}", value)
    norm, square = np.ones(width, np.float32), np.zeros((width, width), np.float32)
    writer.add_tensor("token_embd.weight", np.zeros((tokens, width), np.float32))
    writer.add_tensor("output_norm.weight", norm)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", norm)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", square)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level_keys(vocabulary: dict[str, list[Any]], pre: str) -> dict[str, Any]:
    """What stands under tokenizer.ggml in a GGUF file."""
    size = len(vocabulary["tokens"])
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": vocabulary["tokens"],
        "token_type": vocabulary["types"],
        "merges": vocabulary["merges"],
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
    }


def sentencepiece_keys(model: bytes) -> dict[str, Any]:
    """The same for a SentencePiece model, as llama.cpp's converter writes it."""
    import sentencepiece

    read = sentencepiece.SentencePieceProcessor(model_proto=model)
    kinds = []
    for token in range(read.vocab_size()):
        match read.is_unknown(token), read.is_control(token), read.is_byte(token):
            case True, _, _:
                kinds.append(2)
            case _, True, _:
                kinds.append(3)
            case _, _, True:
                kinds.append(6)
            case _:
                kinds.append(1)
    return {
        "model": "llama",
        "pre": "default",
        "tokens": [read.id_to_piece(token) for token in range(read.vocab_size())],
        "scores": [read.get_score(token) for token in range(read.vocab_size())],
        "token_type": kinds,
        "bos_token_id": read.bos_id(),
        "eos_token_id": read.eos_id(),
        "unknown_token_id": read.unk_id(),
    }


def by_llama_cpp(keys: dict[str, Any], texts: Sequence[str], trusted: Sequence[str]) -> tuple[list[list[int]], ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_gguf(path, keys)
        with LlamaVocabulary(path) as vocabulary:
            return (
                [vocabulary.encode(text) for text in texts],
                [vocabulary.encode(text, control=True) for text in trusted],
            )


def by_tiktoken(ranks: dict[bytes, int], pre: str, texts: Sequence[str]) -> list[list[int]]:
    import tiktoken

    pattern = TIKTOKEN_PATTERNS[pre]
    encoding = tiktoken.Encoding(pre, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return [encoding.encode_ordinary(text) for text in texts]


def goldens(smollm2: Path) -> dict[str, Any]:
    """Everything that stands in the files, by file name."""
    import sentencepiece

    vocabulary = train_byte_level()
    model = train_sentencepiece()
    ids: dict[str, Any] = {}
    with LlamaVocabulary(smollm2) as real:
        ids["SmolLM2"] = {
            "reference": "llama.cpp",
            "texts": [real.encode(text) for text in TEXTS],
            "trusted": [real.encode(text, control=True) for text in TRUSTED],
        }
    for pre in BY_LLAMA_CPP:
        texts = [unicodedata.normalize("NFC", text) if pre in NORMALISED else text for text in TEXTS]
        plain, trusted = by_llama_cpp(byte_level_keys(vocabulary, pre), texts, TRUSTED)
        ids[pre] = {"reference": "llama.cpp", "texts": plain, "trusted": trusted}
    for pre in BY_TIKTOKEN:
        ids[pre] = {"reference": "tiktoken", "texts": by_tiktoken(ranks_of(vocabulary), pre, TEXTS)}
    read = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids["SentencePiece"] = {"reference": "sentencepiece", "texts": [read.encode(text) for text in TEXTS]}
    return {
        "ids.json": {
            "made_with": {program: importlib.metadata.version(program) for program in PROGRAMS},
            "texts": TEXTS,
            "trusted": TRUSTED,
            "ids": ids,
        },
        "byte_level.json": vocabulary,
        "sentencepiece.model": model,
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in goldens(Path(sys.argv[1])).items():
        raw = content if isinstance(content, bytes) else json.dumps(content, separators=(",", ":")).encode() + b"\n"
        (FOLDER / name).write_bytes(raw)
        print(f"{name}: {len(raw)} bytes")


if __name__ == "__main__":
    main()
