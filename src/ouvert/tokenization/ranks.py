"""Tokenizers out of tiktoken-style files: one token a line, in base64, and its rank, which is both id and priority.

Source: github.com/openai/tiktoken, tiktoken/load.py (the file) and src/lib.rs (the merging).
"""

import binascii
import gzip
import hashlib
import heapq
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ouvert.tokenization import library
from ouvert.tokenization.added import AddedToken, is_control
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.named import Named, named_tokens
from ouvert.tokenization.pretokenizers import PRE_TOKENIZERS
from ouvert.tokenization.special import special_ids
from ouvert.tokenization.tokenizer import Spelling, Tokenizer

REMEMBERED_WORDS = 100_000

# o200k_harmony, as openai/harmony (src/tiktoken_ext/public_encodings.rs) has it; the ids up to 201087 that stand for
# nothing yet are reserved.
HARMONY_TOKENS = {
    199998: "<|startoftext|>",
    199999: "<|endoftext|>",
    200002: "<|return|>",
    200003: "<|constrain|>",
    200005: "<|channel|>",
    200006: "<|start|>",
    200007: "<|end|>",
    200008: "<|message|>",
    200012: "<|call|>",
    200018: "<|endofprompt|>",
}


@dataclass(frozen=True, slots=True)
class RankFile:
    """What a file of ranks leaves unsaid: how text is cut, and which control tokens follow the ranks."""

    pre_tokenizer: str
    control: Mapping[int, str]
    reserved: str  # text of an id after the ranks that nothing names
    vocabulary_size: Callable[[int], int]  # from the number of ranks
    bos: str
    eos: str
    adds_bos: bool
    source: str


RANK_FILES = {
    "o200k_base.tiktoken": RankFile(
        pre_tokenizer="gpt-4o",
        control=HARMONY_TOKENS,
        reserved="<|reserved_{id}|>",
        vocabulary_size=lambda ranks: 201088,
        bos="<|startoftext|>",
        eos="<|return|>",
        adds_bos=False,
        source="openai/harmony: o200k_harmony, the vocabulary of gpt-oss",
    ),
    "tiktoken.model": RankFile(
        pre_tokenizer="kimi-k2",
        control={},
        reserved="<|reserved_token_{id}|>",
        vocabulary_size=lambda ranks: ranks + 256,
        bos="[BOS]",
        eos="[EOS]",
        adds_bos=False,
        source="moonshotai/Kimi-K2-Instruct, tokenization_kimi.py; the control tokens are in tokenizer_config.json",
    ),
}


def tokenizer_from_ranks(path: Path) -> Tokenizer:
    """Build the tokenizer of a tiktoken-style file, plain or gzipped, recognised by its name.

    tokenizer_config.json and generation_config.json beside it name further tokens. Raises TokenizerError for a
    file that cannot be used.
    """
    rule = RANK_FILES.get(path.name.removesuffix(".gz"))
    if rule is None:
        raise TokenizerError(
            f"reading ranks: the file is called {path.name}, expected one of {', '.join(RANK_FILES)}, since the file "
            "itself does not say how text is cut nor which control tokens follow; use a folder with tokenizer.json."
        )
    raw = _unpacked(path)
    ranks = _parsed(raw, path)
    return _build(ranks, hashlib.sha256(raw).hexdigest(), rule, named_tokens(path.parent), path)


def _unpacked(path: Path) -> bytes:
    raw = path.read_bytes()
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as problem:
        raise TokenizerError(f"reading ranks: {path} is damaged ({problem}); fetch it again.") from problem


def _parsed(raw: bytes, path: Path) -> dict[bytes, int]:
    try:
        pairs = [line.split() for line in raw.splitlines() if line]
        ranks = {binascii.a2b_base64(token): int(rank) for token, rank in pairs}
    except (binascii.Error, ValueError) as problem:
        raise TokenizerError(
            f"reading ranks: {path} has a line that is not a token in base64 and a number ({problem}); "
            "fetch the file again."
        ) from problem
    if set(ranks.values()) != set(range(len(pairs))) or not {bytes([byte]) for byte in range(256)} <= ranks.keys():
        raise TokenizerError(
            f"reading ranks: {path} has {len(pairs)} lines with {len(ranks)} different tokens, expected every rank "
            "from 0 on once and every single byte among the tokens; fetch the file again."
        )
    return ranks


def _build(ranks: dict[bytes, int], sha256: str, rule: RankFile, named: Named, path: Path) -> Tokenizer:
    size = rule.vocabulary_size(len(ranks))
    texts = _texts_after(len(ranks), size, rule, named, path)
    added = []
    for token, text in texts.items():
        special = token not in named.added or named.added[token].special
        added.append(AddedToken(token, text, control=is_control(text, special=special), hidden=special))
    by_text = {text: token for token, text in texts.items()}
    pattern = PRE_TOKENIZERS[rule.pre_tokenizer].cuts[0]
    speller = RankSpeller(ranks, pattern)
    return Tokenizer(
        Spelling(speller, speller),
        bytes_of=sorted(ranks, key=ranks.__getitem__).__getitem__,
        vocabulary_size=size,
        added=added,
        special=special_ids(
            added,
            bos=by_text.get(named.bos or rule.bos),
            eos=by_text.get(named.eos or rule.eos),
            ends=named.ends,
            adds_bos=rule.adds_bos if named.adds_bos is None else named.adds_bos,
        ),
        source=lambda: ["ranks", sha256, pattern],
    )


def _texts_after(ranks: int, size: int, rule: RankFile, named: Named, path: Path) -> dict[int, str]:
    """The tokens that follow the ranks: id to text. Raises TokenizerError for one that lies elsewhere."""
    texts = {token: rule.reserved.format(id=token) for token in range(ranks, size)}
    texts |= dict(rule.control) | {token: entry.text for token, entry in named.added.items()}
    if outside := sorted(token for token in texts if not ranks <= token < size):
        raise TokenizerError(
            f"reading ranks: {path} has {ranks} ranks and the control tokens {outside[:3]} lie outside "
            f"{ranks} to {size - 1}; the file and tokenizer_config.json do not belong together, fetch both again."
        )
    return texts


class RankSpeller:
    """Cuts text into words, and merges bytes inside each. Words seen before are looked up."""

    def __init__(self, ranks: Mapping[bytes, int], pattern: str) -> None:
        self._ranks = ranks
        self._words = library.cutter(pattern)
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = []
        known = self._known
        for word in self._words(text):
            spelling = known.get(word)
            if spelling is None:
                spelling = merged(word.encode(), self._ranks)
                if len(known) >= REMEMBERED_WORDS:
                    known.clear()
                known[word] = spelling
            ids += spelling
        return ids


def merged(word: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """The word as ranks: neighbours whose union is a token are joined, lowest rank first, leftmost first among equals.

    Takes time in proportion to n log n. Every single byte must have a rank.
    """
    whole = ranks.get(word)
    if whole is not None:
        return [whole]
    size = len(word)
    end_of = list(range(1, size + 1))  # by where a piece starts; 0 once it has been joined to the one before
    start_of = list(range(size + 1))  # start of the piece that ends just before this one
    start_of = [max(start - 1, 0) for start in start_of]
    waiting = [(rank, n, n + 2) for n in range(size - 1) if (rank := ranks.get(word[n : n + 2])) is not None]
    heapq.heapify(waiting)
    while waiting:
        _, start, end = heapq.heappop(waiting)
        middle = end_of[start]
        if not middle or middle >= end or end_of[middle] != end:
            continue  # one of the two has been joined to something else meanwhile
        end_of[start], end_of[middle] = end, 0
        start_of[end] = start
        before = start_of[start]
        if start and (rank := ranks.get(word[before:end])) is not None:
            heapq.heappush(waiting, (rank, before, end))
        if end < size and (rank := ranks.get(word[start : end_of[end]])) is not None:
            heapq.heappush(waiting, (rank, start, end_of[end]))
    ids = []
    start = 0
    while start < size:
        ids.append(ranks[word[start : end_of[start]]])
        start = end_of[start]
    return ids
