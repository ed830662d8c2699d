"""The control tokens of Harmony, as data.

Source: openai/harmony, docs/format.md ("Special Tokens"), and o200k_harmony's table of special tokens. The ids are
those of gpt-oss; a vocabulary may have others, so code asks the tokenizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from ouvert.chat.format import ChatError

PUBLISHED_IDS = {
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
}


@dataclass(frozen=True, slots=True)
class HarmonyTokens:
    """The ids of one vocabulary. Field names are the tokens' own, with `end_` put before words Python keeps."""

    start: int  # a message begins, its header first
    channel: int  # the channel follows
    constrain: int  # the type of the content follows
    message: int  # the header is over, the content begins
    end: int  # a message is over
    end_return: int  # the last message of an answer is over
    call: int  # a call is over; its result is waited for

    @classmethod
    def of(cls, control_tokens: Mapping[str, int]) -> "HarmonyTokens":
        """Raises ChatError if the vocabulary lacks one."""
        texts = [f"<|{field.name.removeprefix('end_')}|>" for field in fields(cls)]
        missing = [text for text in texts if text not in control_tokens]
        if missing:
            raise ChatError(
                f"writing Harmony: the vocabulary lacks the control tokens {', '.join(missing)}, expected all of "
                f"{', '.join(texts)}. Is this the tokenizer of a gpt-oss model?"
            )
        return cls(*(control_tokens[text] for text in texts))
