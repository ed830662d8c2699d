"""The lines of a run: a step once, and no held-out loss of another step without saying of which."""

import io

import pytest

from ouvert.cli.tuning_progress import TuningProgress


@pytest.fixture
def shown():
    """shown(rows, steps, every) -> the lines that stand there when ten seconds pass between two rows, or none."""

    def shown(rows, *, steps, every, seconds):
        stream, clock = io.StringIO(), iter(range(0, 100_000, seconds) if seconds else iter(int, 1))
        with TuningProgress(steps, 0, 60.0, every, stream, lambda: next(clock)) as progress:
            for row in rows:
                progress.show(row)
        return stream.getvalue().splitlines()

    return shown


def rows_of(steps, every, held_out=True):
    if held_out:
        yield {"step": 0, "held_out": 4.0}
    for step in range(1, steps + 1):
        yield {"step": step, "loss": 1.0 + step / 100, "tokens_per_second": 100.0}
        if held_out and (step % every == 0 or step == steps):
            yield {"step": step, "held_out": 2.0 + step / 100}


@pytest.mark.parametrize("seconds", [0, 20])
@pytest.mark.parametrize(("steps", "every"), [(4, 2), (5, 2), (3, 5), (3, 1)])
def test_a_step_is_one_line_with_what_was_held_out_then(shown, seconds, steps, every):
    lines = shown(rows_of(steps, every), steps=steps, every=every, seconds=seconds)
    places = [int(line.split()[1]) for line in lines]
    assert places == sorted(set(places))
    measured = {0: 4.0} | {n: 2 + n / 100 for n in range(1, steps + 1) if n % every == 0 or n == steps}
    assert measured.keys() <= set(places)
    if seconds:
        assert places == list(range(steps + 1))
    for place, line in zip(places, lines, strict=True):
        if place in measured:
            assert f"held out {measured[place]:.3f}" in line
            assert "after step" not in line
        else:
            last = max(n for n in measured if n < place)
            assert f"held out {measured[last]:.3f} after step {last}," in line
    assert f"loss {1 + steps / 100:.3f}, held out {2 + steps / 100:.3f}, 100 tokens/s" in lines[-1]


def test_without_anything_held_out_the_last_step_is_one_line(shown):
    lines = shown(rows_of(3, 3, held_out=False), steps=3, every=0, seconds=0)
    assert lines == ["step 3 of 3: loss 1.030, 100 tokens/s"]
