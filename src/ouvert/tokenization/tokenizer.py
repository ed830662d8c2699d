"""What every tokenizer offers, wherever its vocabulary came from."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from ouvert.tokenization.added import AddedToken, control_tokens
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.library import Speller
from ouvert.tokenization.special import SpecialIds
from ouvert.tokenization.streaming import StreamingDecoder

SpacePrefix = Literal["never", "start", "every piece"]

# Characters in one text. The library's regular expressions give up, by a panic, where one word has some ten million.
LONGEST_TEXT = 4_000_000


@dataclass(frozen=True, slots=True)
class Spelling:
    """How text becomes ids: `first` spells text at the start, `later` text after it.

    `space_prefix`: where text gets a space in front that decoding takes off again (SentencePiece's habit).
    """

    first: Speller
    later: Speller
    space_prefix: SpacePrefix = "never"


class Tokenizer:
    """Text to ids and back. Immutable and safe to use from several threads.

    `bos`, `eos`: ids, or None if the vocabulary has none. `end_ids`: eos and every end-of-turn token; generation
    stops at them. `adds_bos`: whether a plain prompt should begin with `bos`; `encode` itself never adds it. `closing`:
    the token that embedding models want behind a text, or None; not added either. `prompt_version`: of the way Mistral
    writes prompts, where the vocabulary's file states one ("v3", "v13").
    `control_tokens`: text to id of all that user text can never become. `vocabulary_size`: one more than the highest
    id. `space_prefix`: where text gets a space in front that decoding takes off again (SentencePiece's habit).

    The functions of this part make one: `tokenizer_from_gguf` and others, which say what they raise.
    """

    def __init__(
        self,
        spelling: Spelling,
        *,
        bytes_of: Callable[[int], bytes],
        vocabulary_size: int,
        added: Iterable[AddedToken],
        special: SpecialIds,
        source: Callable[[], Any],
        prompt_version: str | None = None,
    ) -> None:
        """`bytes_of` gives what an id adds to the byte stream; `source`, as JSON values, what changes ids."""
        self.vocabulary_size = vocabulary_size
        self.space_prefix, self.prompt_version = spelling.space_prefix, prompt_version
        self.bos, self.eos, self.end_ids = special.bos, special.eos, special.end_ids
        self.adds_bos, self.closing = special.adds_bos, special.closing
        self._first, self._later, self._bytes_of, self._source = spelling.first, spelling.later, bytes_of, source
        self._bytes: dict[int, bytes] = {}

        added = sorted(added, key=lambda token: (-len(token.text), token.id))
        self.control_tokens: Mapping[str, int] = MappingProxyType(control_tokens(added))
        self.control_ids = frozenset(self.control_tokens.values())
        self.hidden_ids = frozenset(token.id for token in added if token.hidden)
        self._bytes.update((token.id, token.text.encode()) for token in added)
        self._added = {token.text: token for token in added}
        # Found with white space beside it that belongs to it, and perhaps with some of its own.
        self._added_without_space = {token.text.strip(): token for token in added}

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. What looks like a control token is spelled out; nothing is added at either end.

        Raises TokenizerError if the text holds half of a surrogate pair, which no UTF-8 can say, or is longer than
        LONGEST_TEXT.
        """
        return self._spell(self._first, text)

    def split_control(self, text: str) -> list[str | int]:
        """Trusted text, such as a rendered template, as pieces of text and ids of control tokens, in order.

        The leftmost control token counts, and the longest where several start. No piece is empty. Raises nothing.
        """
        parts: list[str | int] = []
        start = 0
        for match in self._added_pattern.finditer(text):
            token = self._added.get(match.group()) or self._added_without_space[match.group().strip()]
            if token.control:
                if start < match.start():
                    parts.append(text[start : match.start()])
                parts.append(token.id)
                start = match.end()
        if start < len(text):
            parts.append(text[start:])
        return parts

    def encode_parts(self, parts: Sequence[str | int]) -> list[int]:
        """Ids of what `split_control` gave, possibly edited. Pieces of text that touch are read as one text.

        So `encode_parts(split_control(text))` is what the model's own tokenizer makes of trusted text, and text put in
        place of a piece stays text. Raises TokenizerError as `encode` does.
        """
        ids: list[int] = []
        pending: list[str] = []
        speller = self._first
        for part in [*parts, -1]:  # the id at the end only sends off the last text
            if isinstance(part, str):
                pending.append(part)
                continue
            if text := "".join(pending):
                ids += self._spell(speller, text)
            pending.clear()
            speller = self._later
            ids.append(part)
        ids.pop()
        return ids

    def decode(self, ids: Iterable[int], *, control: bool = False) -> str:
        """The text of the ids. Bytes that are no UTF-8 become U+FFFD.

        Control tokens that the vocabulary calls special are left out unless `control`; those it calls ordinary
        (<think>, tool tags) are shown, as they are part of what the model wrote. Raises TokenizerError for a negative
        id.
        """
        decoder = self.decoder(control=control)
        return "".join([decoder.push(token) for token in ids]) + decoder.flush()

    def decoder(self, *, control: bool = False) -> StreamingDecoder:
        """A decoder that takes one id at a time; see `decode` for `control`. Raises nothing."""
        return StreamingDecoder(self, control=control)

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to the byte stream; for control tokens their text.

        Ids without a token add nothing: models often have more rows than their vocabulary has entries. Raises
        TokenizerError for a negative id.
        """
        known = self._bytes.get(token)
        if known is None:
            if token < 0:
                raise TokenizerError(f"token_bytes: the id is {token}, expected 0 or more; check where ids come from.")
            known = self._bytes[token] = self._bytes_of(token) if token < self.vocabulary_size else b""
        return known

    @cached_property
    def digest(self) -> str:
        """ "sha256:<hex>" over everything that changes ids: vocabulary, merges, how text is cut, added tokens, bos.

        Raises nothing.
        """
        facts: dict[str, Any] = {
            "added": [
                [t.id, t.text, t.control, t.hidden, t.strips_left, t.strips_right, t.whole_word]
                for t in sorted(self._added.values(), key=lambda token: token.id)
            ],
            "adds_bos": self.adds_bos,
            "bos": self.bos,
            "end_ids": sorted(self.end_ids),
            "eos": self.eos,
            "source": self._source(),
            "space_prefix": self.space_prefix,
            "vocabulary_size": self.vocabulary_size,
        }
        if self.closing is not None:
            facts["closing"] = self.closing
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _added_pattern(self) -> re.Pattern[str]:
        """Longest first, so that the leftmost longest match wins.

        Added words are matched as well as control tokens, lest a control token be found inside one.
        """
        return re.compile("|".join(token.pattern for token in self._added.values()) or r"(?!)")

    def __repr__(self) -> str:
        return f"<Tokenizer of {self.vocabulary_size} tokens, {len(self.control_tokens)} of them control tokens>"

    def _spell(self, speller: Speller, text: str) -> list[int]:
        if len(text) > LONGEST_TEXT:
            raise TokenizerError(
                f"encode: the text has {len(text)} characters, expected at most {LONGEST_TEXT}, more than any model "
                "reads at once; encode it in pieces, cut where lines end."
            )
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            raise TokenizerError(
                f"encode: the text has a lone surrogate (U+{ord(text[problem.start]):04X}) at character "
                f"{problem.start}, expected text that UTF-8 can hold; replace that character, or decode the text's "
                "source with errors='replace'."
            ) from problem
        return speller(text)
