"""All sides word by word in step: nobody is known by their speed."""

import asyncio
import time

from ouvert.serving.comparisons.answering import by_words, in_step, words_of


async def at_once(text):
    for word in words_of(text):
        yield word


class Gated:
    """A source that gives a word each time it is let."""

    def __init__(self, text):
        self.text, self.gate, self.closed = text, asyncio.Semaphore(0), False

    async def __call__(self):
        try:
            for word in words_of(self.text):
                await self.gate.acquire()
                yield word
        finally:
            self.closed = True


def test_words_with_their_white_space_are_the_text():
    for text in ("", " ", "a", "a b", "  two\n\nlines  here ", "x" * 100, "日本語" * 30, "a " * 50):
        assert "".join(words_of(text)) == text

        async def piecewise(text=text):
            for letter in text:
                yield letter

        async def joined(pieces=piecewise):
            return [word async for word in by_words(pieces())]

        assert "".join(asyncio.run(joined())) == text
    assert words_of("The  cat sat.") == ["The  ", "cat ", "sat."]


def test_a_quick_side_shows_no_word_before_the_slow_one_has_as_many():
    async def watch():
        slow, shown = Gated("one two three"), []
        steps = in_step([at_once("a b c d e f"), slow()], usual=0.0)
        for n in range(3):
            following = asyncio.ensure_future(anext(steps))
            await asyncio.sleep(0)
            assert not following.done(), "the slow side has no word yet"
            slow.gate.release()
            shown.append(await following)
            assert len(shown) == n + 1
        slow.gate.release()
        shown += [step async for step in steps]
        return shown, slow.closed

    shown, closed = asyncio.run(watch())
    assert shown[:3] == [["a ", "one "], ["b ", "two "], ["c ", "three"]]
    assert shown[3:] == [["d ", None], ["e ", None], ["f", None]]
    assert closed


def test_the_rest_of_a_quick_side_takes_as_long_as_before():
    async def times():
        began, found = time.monotonic(), []
        async for _ in in_step([at_once("a"), at_once("a b c d")], usual=0.05):
            found.append(time.monotonic() - began)
        return found

    found = asyncio.run(times())
    assert len(found) == 4
    assert found[-1] >= 3 * 0.05 - 0.01  # a wait may end a little early, and never ends at once


def test_sources_are_closed_when_the_reader_goes():
    async def leave():
        one, other = Gated("a b"), Gated("c d")
        steps = in_step([one(), other()], usual=0.0)
        for each in (one, other):
            each.gate.release()
        await anext(steps)
        waiting = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await steps.aclose()
        return one.closed, other.closed

    assert asyncio.run(leave()) == (True, True)
