"""The tree of kept prefixes against a plain list of what was kept."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.prefixes.tree import PrefixTree, pages_to_forget, shared_length

P = 4


class Page:
    def __init__(self, ids, nbytes=10):
        self.ids, self.nbytes, self.closed = ids, nbytes, False

    def close(self):
        assert not self.closed
        self.closed = True


MINE, ANOTHERS, OF_A_VARIANT = Scope("", "base"), Scope("another", "base"), Scope("", "sha256:1")


def insert(tree, ids, scope=MINE):
    return tree.insert(ids, lambda n: Page(tuple(ids[n * P : (n + 1) * P])), scope)


def held(match):
    return [token for node in match.nodes for token in node.page.ids][: match.tokens]


def test_alike_counts_to_the_first_difference():
    assert shared_length([1, 2, 3], [1, 2, 4]) == 2
    assert shared_length([1, 2], [1, 2, 4]) == 2
    assert shared_length([], [1]) == 0
    assert shared_length([5], [1]) == 0
    assert shared_length((7,) * 100 + (1,), (7,) * 100 + (2,)) == 100


def test_a_longer_last_page_takes_the_place_of_a_shorter_one():
    tree = PrefixTree(P)
    insert(tree, [1, 2, 3, 4, 5])
    insert(tree, [1, 2, 3, 4, 5, 6, 7])
    assert len(tree) == 2
    assert tree.match([1, 2, 3, 4, 5, 6, 7, 8], MINE).tokens == 7
    insert(tree, [1, 2, 3, 4, 5, 6])  # nothing new
    assert (len(tree), tree.bytes) == (2, 20)


def test_a_page_is_of_use_as_far_as_it_agrees():
    tree = PrefixTree(P)
    insert(tree, [1, 2, 3, 4, 5, 6, 7, 8])
    match = tree.match([1, 2, 3, 4, 5, 6, 9], MINE)
    assert (match.tokens, len(match.nodes)) == (6, 2)
    assert tree.match([9], MINE).nodes == []


def test_the_least_recently_used_goes_first_and_never_from_under_another():
    tree = PrefixTree(P)
    insert(tree, [1] * 8)
    insert(tree, [2] * 8)
    tree.match([1] * 8, MINE)
    assert tree.evict(1) == 10
    assert tree.match([2] * 8, MINE).tokens == 4
    tree.match([1] * 8, MINE)
    assert tree.evict(15) == 20
    assert tree.match([2] * 8, MINE).tokens == 0 or tree.match([1] * 8, MINE).tokens == 0


def test_what_is_used_stays_unless_it_has_to_go():
    tree = PrefixTree(P)
    nodes = insert(tree, [1] * 8)
    tree.use(nodes)
    assert (tree.bytes, tree.bytes_unused) == (20, 0)
    assert tree.evict(100) == 0
    assert tree.evict(100, even_used=True) == 20
    tree.release(nodes)
    assert (tree.bytes, tree.bytes_unused, len(tree)) == (0, 0, 0)


sequences = st.lists(st.integers(0, 2), min_size=1, max_size=14)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["insert", "match", "evict", "use", "release"]),
            sequences,
            st.sampled_from([MINE, ANOTHERS, OF_A_VARIANT]),
        ),
        max_size=40,
    )
)
def test_whatever_is_done_the_tree_says_the_truth(steps):
    tree, used, kept = PrefixTree(P), [], {MINE: [], ANOTHERS: [], OF_A_VARIANT: []}
    for what, ids, scope in steps:
        if what == "insert":
            nodes = insert(tree, ids, scope)
            assert [t for node in nodes for t in node.ids][: len(ids)] == ids
            kept[scope].append(ids)
        elif what == "match":
            match = tree.match(ids, scope)
            assert held(match) == ids[: match.tokens]
            assert match.tokens <= max((shared_length(ids, each) for each in kept[scope]), default=0)
        elif what == "evict":
            before = tree.bytes
            assert before - tree.evict(10 * len(ids)) == tree.bytes
        elif what == "use":
            nodes = tree.match(ids, scope).nodes
            tree.use(nodes)
            used.append(nodes)
        elif used:
            tree.release(used.pop())
        assert tree.bytes == sum(node.page.nbytes for node in tree)
        assert tree.bytes_unused == sum(node.page.nbytes for node in tree if not node.users)
        for node in tree:
            assert not node.page.closed
            assert node.parent is None or (node.parent in list(tree) and len(node.parent.ids) == P)
    for nodes in used:
        tree.release(nodes)
    tree.clear()
    assert (tree.bytes, tree.bytes_unused, len(tree)) == (0, 0, 0)


SECRET = 2


@settings(max_examples=300)
@given(st.lists(sequences, max_size=8))
def test_what_is_forgotten_is_nowhere_and_what_has_nothing_of_it_stays(kept):
    tree = PrefixTree(P)
    for ids in kept:
        insert(tree, ids)
        insert(tree, ids, ANOTHERS)
        insert(tree, ids, OF_A_VARIANT)
    # A beginning of a sequence with the secret goes with it: the tree does not know that another one ended there.
    secrets = [ids for ids in kept if SECRET in ids]
    harmless = [
        ids for ids in kept if SECRET not in ids and not any(shared_length(ids, each) == len(ids) for each in secrets)
    ]
    before = [tree.match(ids, MINE).tokens for ids in harmless]
    tree.forget(lambda ids: SECRET in ids, MINE)
    left = [node for node in tree if node.scope == MINE]
    assert all(SECRET not in node.ids for node in left)
    assert all(node.parent is None or node.parent in tree for node in left)
    assert [tree.match(ids, MINE).tokens for ids in harmless] == before
    assert all(tree.match(ids, other).tokens == len(ids) for ids in kept for other in (ANOTHERS, OF_A_VARIANT))
    tree.clear()
    assert (tree.bytes, tree.bytes_unused, len(tree)) == (0, 0, 0)


def test_pages_that_follow_nothing_go():
    """Nobody reaches them, and nobody can tell what stood before."""
    pages = {"a": (None, (1,)), "b": ("a", (1,)), "c": ("gone", (1,)), "d": ("c", (1,))}
    assert pages_to_forget(pages, lambda ids: False) == {"c", "d"}


def test_a_tail_that_what_goes_begins_with_goes_too():
    pages = {"a": (None, (1, 1, 1, 1)), "b": ("a", (2, 2, 3)), "c": ("a", (2, 2)), "d": ("a", (2, 4))}
    assert pages_to_forget(pages, lambda ids: 3 in ids) == {"b", "c"}
