"""Pages: shared blocks of the native caches. Nothing that shares them changes a bit of anything."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert import kernels
from ouvert.kernels import _native
from ouvert.kernels.pages import PAGE_TOKENS

from .tiny import GPT_OSS, LLAMA, MISTRAL, QWEN3, SHAPES, program, some_ids, tiny

TOKENS = 330  # five pages and a part of one
NOTHING_KEPT = {"kept_before_window": 0}


def build(shape, *, threads=2, cache="f16", **options):
    tracer = kernels.Tracer(cache=cache)
    placed = tiny(shape)
    slot = placed.forward(tracer.begin(placed.memories), tracer)
    return tracer.finish(slot, threads=threads, **options)


def computed(built, ids, capacity=2000):
    sequence = built.new_sequence(capacity)
    return sequence, built.step([(sequence, ids)], "all")


def pages_of(sequence):
    return [sequence.page(n) for n in range(-(-sequence.length // PAGE_TOKENS))]


def read(pages):
    return [bytes(page.read()) for page in pages]


def close(*holders):
    for holder in holders:
        holder.close()


def check_references(built, holders):
    """Every reference is somebody's, and nobody holds a block that is not in use."""
    held = [holder.blocks_held for holder in holders]
    for group, use in enumerate(built.blocks_in_use()):
        assert use.references == sum(blocks[group] for blocks in held)
        assert use.blocks <= use.references
        assert (use.blocks == 0) == (use.references == 0)


@pytest.fixture(
    scope="module", params=[*((name, "f16") for name in SHAPES), ("gpt_oss", "q8"), ("qwen3", "q8")], ids=" ".join
)
def programs(request):
    """(a program for each number of threads, the logits of TOKENS tokens computed in one step)"""
    name, cache = request.param
    built = {threads: program(tiny(SHAPES[name]), threads=threads, cache=cache) for threads in (1, 2, 3)}
    sequence, whole = computed(built[1], some_ids(TOKENS))
    sequence.close()
    return built, whole


def test_a_page_is_a_block():
    assert _native.BLOCK_KEYS == PAGE_TOKENS == program(tiny(LLAMA)).page_tokens


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(threads=st.sampled_from([1, 2, 3]), length=st.integers(0, TOKENS - 1), through_bytes=st.booleans())
def test_going_on_from_pages_changes_no_bit(programs, threads, length, through_bytes):
    built, whole = programs
    ids, chosen = some_ids(TOKENS), built[threads]
    source, _ = computed(chosen, ids)
    pages = pages_of(source)
    if through_bytes:
        copies = [chosen.page_from(data) for data in read(pages)]
        close(source, *pages)
        pages = copies
    sequence = chosen.resume(pages, length, TOKENS)
    assert sequence.length == length
    np.testing.assert_array_equal(chosen.step([(sequence, ids[length:])], "all"), whole[length:])
    close(sequence, *pages, source)
    assert chosen.cache_bytes_in_use == 0


@pytest.mark.parametrize("shape", [GPT_OSS, MISTRAL])
def test_windows_that_let_go_leave_holes_and_shorten_what_can_be_resumed(shape):
    """Windows are 9 and 70 tokens, and nothing before them is kept."""
    built, ids = build(shape, **NOTHING_KEPT), some_ids(TOKENS + 1)
    other, whole = computed(build(shape, **NOTHING_KEPT), ids)
    sequence = built.new_sequence(2000)
    pages = []
    for start in range(0, TOKENS, 33):  # small steps, so that windows pass in between
        built.step([(sequence, ids[start : min(start + 33, TOKENS)])], "none")
    pages = pages_of(sequence)
    holes = [n for n, page in enumerate(pages) if page.nbytes < built.page_bytes]
    window = min(shape.windows, key=lambda each: each or 10**9)
    assert holes == list(range((TOKENS - window + 1) // PAGE_TOKENS))
    assert sum(page.nbytes for page in pages) == built.cache_bytes_in_use
    found = set()
    for length in range(TOKENS + 1):
        resumed = built.resume(pages, length, 2000)
        # All keys of the window must be in pages that are there; the pages before them are not.
        can = length - window + 1 >= PAGE_TOKENS * len(holes)
        assert resumed.length == (length if can else 0)
        if resumed.length and length % 13 == 0:
            np.testing.assert_array_equal(built.step([(resumed, ids[length:])], "all"), whole[length:])
        found.add(resumed.length)
        resumed.close()
    assert {0, TOKENS} < found
    close(sequence, *pages)
    assert built.cache_bytes_in_use == 0
    other.close()


def test_a_hole_in_the_middle_is_gone_around():
    """Pages from two sequences, whose windows of 9 tokens ended at different places."""
    built, ids = build(GPT_OSS, **NOTHING_KEPT), some_ids(TOKENS)
    short, _ = computed(built, ids[:192])
    long, whole = computed(built, ids)
    early, late = pages_of(short), pages_of(long)
    mixed = [*early, *late[3:]]
    assert [page.blocks_held[0] for page in mixed] == [0, 0, 1, 0, 0, 1]
    expected = {60: 0, 127: 0, 135: 0, 136: 136, 191: 191, 192: 192, 193: 192, 256: 192, 327: 192, 328: 328, 330: 330}
    for length, found in expected.items():
        resumed = built.resume(mixed, length, 1000)
        assert resumed.length == found
        if length < TOKENS:
            np.testing.assert_array_equal(built.step([(resumed, ids[found:])], "all"), whole[found:])
        resumed.close()
    close(short, long, *early, *late)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from(["llama", "gpt_oss", "mistral"]),
    moves=st.lists(
        st.tuples(
            st.sampled_from(["step", "step", "step", "resume", "truncate", "page", "close", "close page", "reload"]),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        min_size=5,
        max_size=40,
    ),
)
def test_whatever_happens_references_add_up_pages_stay_and_bits_are_right(shape, moves):
    """Sequences of one text are stepped together, cut, forked from pages and closed, in any order."""
    ids = some_ids(400)
    built = BUILT.setdefault(shape, build(SHAPES[shape], kept_before_window=40))
    if (shape, "whole") not in BUILT:
        first, BUILT[shape, "whole"] = computed(built, ids)
        first.close()
    whole = BUILT[shape, "whole"]
    sequences, pages = [built.new_sequence(400)], []  # pages: (n, page, its bytes)
    for kind, a, b in moves:
        if kind == "step":
            work = [(s, ids[s.length : s.length + 1 + a % 90]) for s in sequences if s.length < 400 and (a + id(s)) % 3]
            rows = built.step(work, "last") if work else []
            for (sequence, _), row in zip(work, rows, strict=True):
                np.testing.assert_array_equal(row, whole[sequence.length - 1])
        elif kind == "resume" and len(sequences) < 6:
            # The longest row of pages 0, 1, ... that there is; of several with the same number, any.
            found = {n: page for n, page, _ in pages}
            row = []
            while len(row) in found and (not row or row[-1].tokens == PAGE_TOKENS):
                row.append(found[len(row)])
            length = sum(page.tokens for page in row)
            sequences.append(built.resume(row, b % (length + 1), 400))
            assert sequences[-1].length <= b % (length + 1)
        elif kind == "truncate":
            sequence = sequences[a % len(sequences)] if sequences else built.new_sequence(400)
            sequence.truncate(b % (sequence.length + 1))
        elif kind == "page" and sequences:
            sequence = sequences[a % len(sequences)]
            if sequence.length:
                n = b % -(-sequence.length // PAGE_TOKENS)
                page = sequence.page(n)
                pages.append((n, page, bytes(page.read())))
        elif kind == "close" and len(sequences) > 1:
            sequences.pop(a % len(sequences)).close()
        elif kind == "close page" and pages:
            pages.pop(a % len(pages))[1].close()
        elif kind == "reload" and pages:
            n, page, data = pages.pop(a % len(pages))
            pages.append((n, built.page_from(data), data))
            page.close()
        check_references(built, [*sequences, *(page for _, page, _ in pages)])
        assert all(bytes(page.read()) == data for _, page, data in pages)
    close(*sequences, *(page for _, page, _ in pages))
    assert built.cache_bytes_in_use == 0
    check_references(built, [])


BUILT: dict = {}


def test_a_block_that_is_shared_is_counted_once_and_copied_before_it_is_written_to():
    built, ids = program(tiny(LLAMA)), some_ids(200)
    sequence, whole = computed(built, ids[:100])
    page = built.page_bytes
    assert built.cache_bytes_in_use == 2 * page
    pages = pages_of(sequence)
    before = read(pages)
    assert built.cache_bytes_in_use == 2 * page
    assert [use.references for use in built.blocks_in_use()] == [4]
    built.step([(sequence, ids[100:110])], "none")  # goes on in a copy of the second block
    assert built.cache_bytes_in_use == 3 * page
    sequence.truncate(30)  # inside the first block, which is shared
    assert built.cache_bytes_in_use == 2 * page
    found = built.step([(sequence, ids[30:100])], "all")
    np.testing.assert_array_equal(found, whole[30:])
    assert built.cache_bytes_in_use == 4 * page
    assert read(pages) == before
    two = built.resume(pages, 128 - 64, 300), built.resume(pages, 80, 300)
    assert built.cache_bytes_in_use == 5 * page  # a copy for the second, which uses a part of the last page
    close(sequence, *pages, *two)
    assert built.cache_bytes_in_use == 0


@pytest.mark.parametrize("cache", ["f16", "f32", "q8"])
@pytest.mark.parametrize("shape", [GPT_OSS, QWEN3])
def test_what_a_part_of_a_page_does_not_hold_is_not_read(shape, cache):
    """A block that another text used before holds nothing of it when it is read."""
    built = program(tiny(shape), cache=cache)
    first, _ = computed(built, some_ids(64, seed=5))
    old = bytes(first.page(0).read())
    first.close()
    fresh = program(tiny(shape), cache=cache)
    pages = []
    for each in (built, fresh):
        sequence, _ = computed(each, some_ids(10))
        pages.append(bytes(sequence.page(0).read()))
    assert pages[0] == pages[1] != old


# --- wanted rows ---


def test_each_sequence_says_which_rows_it_wants():
    built, ids = program(tiny(LLAMA)), some_ids(900)
    sequence, whole = computed(built, ids)
    sequence.close()
    for sizes in ((5, 70, 1, 9), (300, 200, 1, 20), (600, 1, 30, 2)):  # the last two are more than a native step
        sequences = [built.new_sequence(1000) for _ in sizes]
        work = [(each, ids[:size]) for each, size in zip(sequences, sizes, strict=True)]
        rows = built.step(work, ["last", "none", "all", "last"])
        expected = [whole[sizes[0] - 1], *whole[: sizes[2]], whole[sizes[3] - 1]]
        np.testing.assert_array_equal(rows, expected)
        close(*sequences)
    one = built.new_sequence(10)
    for wanted in (["last", "last"], ["first"], "first", []):
        with pytest.raises(ValueError, match="step: wanted is"):
            built.step([(one, ids[:1])], wanted)
    assert one.length == 0


# --- memory that ends ---


@pytest.mark.parametrize("shape", [LLAMA, GPT_OSS])
@pytest.mark.parametrize("sizes", [(100, 300), (300, 100), (700, 10), (10, 700)])
def test_a_step_that_does_not_fit_changes_nothing(shape, sizes):
    """Neither in one native step nor in turns; the windowed layers keep nothing before their windows."""
    built, ids = build(shape, **NOTHING_KEPT), some_ids(1500)
    first, whole = computed(built, ids)
    first.close()
    sequences = [built.new_sequence(2000) for _ in sizes]
    built.step([(each, ids[:90]) for each in sequences], "none")
    page = sequences[0].page(1)  # shared and in part: going on means copying it
    holders = [*sequences, page]
    before = [holder.blocks_held for holder in holders], built.blocks_in_use(), bytes(page.read())
    work = [(each, ids[90 : 90 + size]) for each, size in zip(sequences, sizes, strict=True)]
    for room in range(6):
        built.cache_limit = built.cache_bytes_in_use + room * built.page_bytes // 2
        with pytest.raises(MemoryError, match=r"step: \d+ tokens need more .* raise cache_limit"):
            built.step(work, "last")
        assert ([holder.blocks_held for holder in holders], built.blocks_in_use(), bytes(page.read())) == before
        assert [each.length for each in sequences] == [90, 90]
    built.cache_limit = None
    rows = built.step(work, "last")
    np.testing.assert_array_equal(rows, [whole[89 + size] for size in sizes])
    close(*holders)
    assert built.cache_bytes_in_use == 0


def test_pages_that_do_not_fit_change_nothing():
    built, ids = program(tiny(GPT_OSS)), some_ids(100)
    sequence, _ = computed(built, ids)
    pages = pages_of(sequence)
    data = read(pages)
    in_use = built.blocks_in_use()
    built.cache_limit = built.cache_bytes_in_use + built.page_bytes // 2  # one group's block, not the other's
    with pytest.raises(MemoryError):
        built.page_from(data[0])
    with pytest.raises(MemoryError):
        built.resume(pages, 90, 200)
    assert built.blocks_in_use() == in_use
    whole = built.resume(pages, 64, 200)
    close(sequence, whole, *pages)
    with pytest.raises(ValueError, match="cache_limit: -1 bytes"):
        built.cache_limit = -1
    assert built.cache_bytes_in_use == 0


# --- what is refused ---


def test_pages_that_are_none_of_ours_are_refused():
    built = program(tiny(GPT_OSS))
    sequence, _ = computed(built, some_ids(70))
    data = bytes(sequence.page(0).read())
    others = [build(MISTRAL), build(LLAMA), build(GPT_OSS, cache="f32"), build(GPT_OSS, cache="q8")]
    for other in others:
        with pytest.raises(ValueError, match=r"page_from: the page has .* expected .* compute its tokens again"):
            other.page_from(data)
    for damaged in (b"", data[:20], data[:-1], data + b"\0", b"X" + data[1:]):
        with pytest.raises(ValueError, match="page_from: the page has"):
            built.page_from(damaged)
    header = len(data) - built.page_bytes
    refused = 0
    for at in range(header):
        changed = bytearray(data)
        changed[at] ^= 0x81
        try:
            built.page_from(changed).close()
        except ValueError:
            refused += 1
    assert refused == header
    built.page_from(memoryview(bytearray(data))).close()
    sequence.close()
    assert built.cache_bytes_in_use == 0


def test_fewer_tokens_than_a_page_may_be_said_but_no_more_than_there_are():
    built = program(tiny(LLAMA))
    sequence, _ = computed(built, some_ids(100))
    pages = pages_of(sequence)
    assert [page.tokens for page in pages] == [64, 36]
    for length, capacity, why in ((101, 200, "page 1 holds 36 tokens"), (129, 200, "page 1 holds"), (-1, 9, "length")):
        with pytest.raises(ValueError, match=f"resume: {why}"):
            built.resume(pages, length, capacity)
    with pytest.raises(ValueError, match="there are 1 pages, expected 36 in page 1"):
        built.resume(pages[:1], 100, 200)
    with pytest.raises(ValueError, match="capacity 99"):
        built.resume(pages, 100, 99)
    with pytest.raises(ValueError, match="page 0 is of another program"):
        program(tiny(LLAMA)).resume(pages, 100, 200)
    for n in (-1, 2):
        with pytest.raises(ValueError, match=f"page: n is {n}, expected 0 to 1 for a sequence of 100 tokens"):
            sequence.page(n)
    pages[0].close()
    pages[0].close()
    for use in (lambda: pages[0].nbytes, pages[0].read, lambda: built.resume(pages, 1, 2)):
        with pytest.raises(ValueError, match="it was closed"):
            use()


def test_pages_outlive_whoever_forgets_their_program():
    built = program(tiny(LLAMA))
    sequence, _ = computed(built, some_ids(10))
    page = sequence.page(0)
    before = bytes(page.read())
    del built, sequence
    assert bytes(page.read()) == before
    page.close()
