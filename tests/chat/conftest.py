"""A vocabulary small enough to think about: every byte is a token, and the control tokens come after."""

import codecs
import functools
import importlib.util
import re
from pathlib import Path

import pytest


class ByteTokenizer:
    """Has what chat formats use of `ouvert.tokenization.Tokenizer`."""

    adds_bos = False
    space_prefix = "never"
    digest = "sha256:bytes"

    def __init__(self, control=(), bos=None, eos=None, ends=(), hidden=None, first_id=256, prompt_version=None):
        self.prompt_version = prompt_version
        self.control_tokens = {text: first_id + n for n, text in enumerate(control)}
        self.control_ids = frozenset(self.control_tokens.values())
        self.hidden_ids = frozenset(self.control_tokens[text] for text in (control if hidden is None else hidden))
        self.bos = self.control_tokens.get(bos)
        self.eos = self.control_tokens.get(eos)
        self.end_ids = frozenset(self.control_tokens[text] for text in ends)
        self.vocabulary_size = first_id + len(self.control_tokens)
        self._text = {token: text for text, token in self.control_tokens.items()}
        longest_first = sorted(control, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if control else "(?!)")

    def encode(self, text):
        return list(text.encode())

    def split_control(self, text):
        return [self.control_tokens.get(piece, piece) for piece in self._pattern.split(text) if piece]

    def encode_parts(self, parts):
        return [token for part in parts for token in ([part] if isinstance(part, int) else self.encode(part))]

    def ids(self, text):
        """Trusted text: control tokens are recognised."""
        return self.encode_parts(self.split_control(text))

    def token_bytes(self, token):
        if token in self._text:
            return self._text[token].encode()
        return bytes([token]) if 0 <= token < 256 else b""

    def decode(self, ids, *, control=False):
        decoder = self.decoder(control=control)
        return "".join(decoder.push(token) for token in ids) + decoder.flush()

    def decoder(self, *, control=False):
        return ByteDecoder(self, control)


class ByteDecoder:
    def __init__(self, tokenizer, control):
        self.tokenizer, self.control = tokenizer, control
        self.characters = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token):
        if token in self.tokenizer.control_ids:
            text = self.flush()
            shown = self.control or token not in self.tokenizer.hidden_ids
            return text + self.tokenizer.token_bytes(token).decode() if shown else text
        return self.characters.decode(self.tokenizer.token_bytes(token))

    def flush(self):
        text = self.characters.decode(b"", final=True)
        self.characters.reset()
        return text


VOCABULARIES = {
    "chatml": {
        "control": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        "eos": "<|im_end|>",
        "ends": ("<|im_end|>",),
    },
    "qwen3": {
        "control": (
            *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"),
            *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
        ),
        "eos": "<|im_end|>",
        "ends": ("<|im_end|>", "<|endoftext|>"),
        "hidden": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    },
    "llama3": {
        "control": (
            *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
            *("<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
        ),
        "bos": "<|begin_of_text|>",
        "eos": "<|eot_id|>",
        "ends": ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    },
    "mistral": {
        "control": (
            *("<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
            *("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[ARGS]", "[CALL_ID]"),
        ),
        "bos": "<s>",
        "eos": "</s>",
        "ends": ("</s>",),
        "prompt_version": "v3",
    },
    "deepseek": {
        "control": (
            *(
                "<｜begin▁of▁sentence｜>",
                "<｜end▁of▁sentence｜>",
                "<｜User｜>",
                "<｜Assistant｜>",
                "<think>",
                "</think>",
            ),
            *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
            *("<｜tool▁sep｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"),
            *("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
        ),
        "bos": "<｜begin▁of▁sentence｜>",
        "eos": "<｜end▁of▁sentence｜>",
        "ends": ("<｜end▁of▁sentence｜>",),
    },
    "kimi": {
        "control": (
            *("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>", "[BOS]", "[EOS]"),
            *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
            *("<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        ),
        "bos": "[BOS]",
        "eos": "[EOS]",
        "ends": ("[EOS]", "<|im_end|>"),
    },
    "kimi-thinking": {
        "control": (
            *("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>", "[BOS]", "[EOS]"),
            *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
            *("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<think>", "</think>"),
        ),
        "bos": "[BOS]",
        "eos": "[EOS]",
        "ends": ("[EOS]", "<|im_end|>"),
    },
    "harmony": {
        "control": (
            *("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>"),
            *("<|end|>", "<|message|>", "<|call|>", "<|reserved_200001|>"),
        ),
        "eos": "<|return|>",
        "ends": ("<|return|>", "<|call|>", "<|endoftext|>"),
    },
    "plain": {"control": ()},
}


@pytest.fixture(scope="session")
def tokenizer_of():
    """A byte tokenizer with the control tokens of a family."""
    return functools.cache(lambda family: ByteTokenizer(**VOCABULARIES[family]))


@pytest.fixture(scope="session")
def byte_tokenizer():
    return ByteTokenizer


@pytest.fixture(scope="session")
def make_chat():
    """tests/goldens/make_chat.py: the conversations, and how to read them."""
    path = Path(__file__).parents[1] / "goldens" / "make_chat.py"
    spec = importlib.util.spec_from_file_location("make_chat", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
