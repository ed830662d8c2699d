"""What holds for every tokenizer, whatever it was built from."""

import faulthandler
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert.tokenization import Tokenizer, TokenizerError

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Text without the halves of surrogate pairs. ▁ is what SentencePiece writes for a space, so it cannot come back.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=40)


def pieces_of_control(tokenizer: Tokenizer) -> st.SearchStrategy[str]:
    """Text that is full of control tokens, their beginnings and their neighbours."""
    texts = sorted(tokenizer.control_tokens)[:12]
    return st.lists(st.sampled_from([*texts, *(text[:-1] for text in texts), "a", " ", "<", "\n", "é"])).map("".join)


def back(tokenizer: Tokenizer, text: str) -> str:
    """The text that comes back. The library's Metaspace adds no space where one stands, but takes one off."""
    return text.removeprefix(" ") if tokenizer.space_prefix == "start" else text


@QUICK
@given(data=st.data())
def test_user_text_never_becomes_a_control_token(tokenizer: Tokenizer, data: st.DataObject):
    text = data.draw(pieces_of_control(tokenizer))
    assert tokenizer.control_ids.isdisjoint(tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(text)) == back(tokenizer, text)
    assert tokenizer.control_ids.isdisjoint(tokenizer.encode_parts([text]))


def test_every_control_token_is_spelled_out_in_user_text(tokenizer: Tokenizer):
    for text in tokenizer.control_tokens:
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode(text))
        assert tokenizer.decode(tokenizer.encode(f"a {text} b")) == f"a {text} b"


@QUICK
@given(text=ANY_TEXT)
def test_text_comes_back(tokenizer: Tokenizer, text: str):
    assert tokenizer.decode(tokenizer.encode(text)) == back(tokenizer, text)


@QUICK
@given(data=st.data())
def test_parts_come_back(tokenizer: Tokenizer, data: st.DataObject):
    text = data.draw(pieces_of_control(tokenizer))
    parts = tokenizer.split_control(text)
    assert "" not in parts
    named = {token: text for text, token in tokenizer.control_tokens.items()}
    assert "".join(part if isinstance(part, str) else named[part] for part in parts) == text
    ids = tokenizer.encode_parts(parts)
    assert [token for token in ids if token in named] == [part for part in parts if isinstance(part, int)]
    if tokenizer.space_prefix != "start":  # there a space after a leading bos is taken for a prefix, as elsewhere
        assert tokenizer.decode(ids, control=True) == text


@QUICK
@given(data=st.data())
def test_what_a_stream_shows_is_what_decode_gives(tokenizer: Tokenizer, data: st.DataObject):
    ids = data.draw(st.lists(st.integers(0, min(tokenizer.vocabulary_size + 5, 1200))))
    for control in (False, True):
        decoder = tokenizer.decoder(control=control)
        shown = [decoder.push(token) for token in ids]
        rest = decoder.flush()
        assert "".join(shown) + rest == tokenizer.decode(ids, control=control)
        assert rest in ("", "\ufffd")
        assert [decoder.push(token) for token in ids] == shown, "a flushed decoder is as new"


@QUICK
@given(text=ANY_TEXT)
def test_a_stream_never_shows_half_a_character(tokenizer: Tokenizer, text: str):
    decoder = tokenizer.decoder()
    shown = ""
    for token in tokenizer.encode(text):
        shown += decoder.push(token)
        assert back(tokenizer, text).startswith(shown)
    assert decoder.flush() == ""
    assert shown == back(tokenizer, text)


@pytest.mark.parametrize("half", ["a\ud800b", "\udfff", "x" * 100 + "\udc00"])
def test_half_a_surrogate_pair_is_an_error_that_says_where(tokenizer: Tokenizer, half: str):
    place = next(n for n, character in enumerate(half) if "\ud800" <= character <= "\udfff")
    with pytest.raises(TokenizerError, match=rf"lone surrogate .* at character {place}, expected .*; replace"):
        tokenizer.encode(half)
    with pytest.raises(TokenizerError, match="lone surrogate"):
        tokenizer.encode_parts([half])


def test_nothing_gives_nothing(tokenizer: Tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.split_control("") == []
    assert tokenizer.encode_parts([]) == []
    assert tokenizer.encode_parts(["", ""]) == []
    assert tokenizer.decode([]) == ""


def test_texts_that_touch_are_read_as_one(tokenizer: Tokenizer):
    end = next(iter(tokenizer.end_ids))
    assert tokenizer.encode_parts(["the q", "", "uick fox", end, "ja", "zz"]) == tokenizer.encode_parts(
        ["the quick fox", end, "jazz"]
    )


def test_ids_may_be_given_as_parts_even_if_they_are_ordinary(tokenizer: Tokenizer):
    ids = tokenizer.encode("fox")
    assert tokenizer.encode_parts(list(ids)) == ids


def test_control_tokens_are_hidden_unless_asked_for(tokenizer: Tokenizer):
    for text, token in tokenizer.control_tokens.items():
        assert tokenizer.decode([token], control=True) == text
        assert tokenizer.decode([token]) == ("" if token in tokenizer.hidden_ids else text)
        assert tokenizer.token_bytes(token) == text.encode()


def test_a_control_token_ends_a_character(tokenizer: Tokenizer):
    end = next(iter(tokenizer.end_ids & tokenizer.hidden_ids))
    bear = tokenizer.encode("🐻")
    assert len(bear) > 1
    halves = [*bear[:-1], end, bear[-1]]
    assert "\ufffd" in tokenizer.decode(halves)
    assert "🐻" not in tokenizer.decode(halves)


def test_ids_without_a_token_add_nothing(tokenizer: Tokenizer):
    assert tokenizer.token_bytes(tokenizer.vocabulary_size + 1000) == b""
    with pytest.raises(TokenizerError, match="the id is -1, expected 0 or more"):
        tokenizer.token_bytes(-1)


def test_bos_eos_and_ends_are_control_tokens(tokenizer: Tokenizer):
    assert tokenizer.bos is not None
    assert tokenizer.eos in tokenizer.end_ids
    assert {tokenizer.bos, *tokenizer.end_ids} <= tokenizer.control_ids
    assert max(tokenizer.control_ids) < tokenizer.vocabulary_size


def test_digests_differ_between_tokenizers(make: Callable[[str], Tokenizer]):
    kinds = ("GGUF, byte-level", "GGUF, SentencePiece", "tokenizer.json, byte-level", "tiktoken.model")
    digests = {make(kind).digest for kind in kinds}
    assert len(digests) == len(kinds)
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)


@pytest.mark.parametrize("unit", ["a", " ", "中"])
def test_very_long_words_come_to_their_end(tokenizer: Tokenizer, unit: str):
    """200,000 characters. Anything quadratic would go on for many minutes, until the guard ends it; half a second is
    usual."""
    text = unit * 200_000
    faulthandler.dump_traceback_later(300, exit=True)
    try:
        ids = tokenizer.encode(text)
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert tokenizer.decode(ids) == back(tokenizer, text)


def test_a_text_longer_than_any_context_is_refused_with_both_numbers(tokenizer: Tokenizer):
    with pytest.raises(TokenizerError, match="has 4000001 characters, expected at most 4000000"):
        tokenizer.encode("a" * 4_000_001)


def test_threads_may_share_a_tokenizer(tokenizer: Tokenizer):
    texts = [f"{n} quick brown foxes, {'é' * n}!\n" for n in range(40)]
    expected = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(tokenizer.encode, texts * 5)) == expected * 5


def test_importing_the_part_does_not_import_the_library():
    script = "import sys, ouvert.tokenization; sys.exit('tokenizers' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
