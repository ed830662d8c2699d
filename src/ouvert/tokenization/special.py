"""The ids that stand for the start and the end of a text."""

from collections.abc import Iterable
from dataclasses import dataclass

from ouvert.tokenization.added import AddedToken, control_tokens
from ouvert.tokenization.endings import end_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """What `Tokenizer` says of them: its docstring has their meaning."""

    bos: int | None
    eos: int | None
    end_ids: frozenset[int]
    adds_bos: bool
    closing: int | None = None


def special_ids(
    added: Iterable[AddedToken],
    *,
    bos: int | None,
    eos: int | None,
    ends: Iterable[int | None],
    adds_bos: bool,
    closing: int | None = None,
) -> SpecialIds:
    """`ends`: what the files name as ends, beside `eos` and the tokens known to end a turn.

    `adds_bos`: whether the files ask for a `bos`; without one there is none to add.
    """
    return SpecialIds(
        bos=bos,
        eos=eos,
        end_ids=end_ids([eos, *ends], control_tokens(added)),
        adds_bos=bos is not None and adds_bos,
        closing=closing,
    )
