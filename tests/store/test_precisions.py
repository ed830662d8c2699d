"""A precision behind a model's name: what it means to the store."""

import pytest

from ouvert.store import Store, StoreError, split_precision


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3:0.6b@8", ("qwen3:0.6b", "8")),
        ("qwen3@stored", ("qwen3", "stored")),
        ("hf:org/name@4f2a:file.gguf@16", ("hf:org/name@4f2a:file.gguf", "16")),
        ("hf:org/name@main", ("hf:org/name@main", None)),
        ("qwen3@5", ("qwen3@5", None)),
        ("@8", ("@8", None)),
    ],
)
def test_a_name_and_its_precision(name, expected):
    assert split_precision(name) == expected


@pytest.fixture
def store(smollm2, tmp_path):
    made = Store(tmp_path / "store")
    made.pull(str(smollm2), name="real")
    return made


def test_a_model_is_the_same_at_any_precision(store):
    plain, asked = store.resolve("real"), store.resolve("real@8")
    assert (plain.precision, asked.precision) == (None, "8")
    assert (plain.called, asked.called) == ("real", "real@8")
    assert plain.path == asked.path
    assert store.resolve(f"{plain.path}@4").precision == "4"


def test_a_name_that_ends_like_a_precision_cannot_be_given(store, smollm2):
    with pytest.raises(StoreError, match=r"real@4.*cannot be the name.*is a precision"):
        store.pull(str(smollm2), name="real@4")


@pytest.mark.parametrize("ask", [lambda store: store.resolve("real@3"), lambda store: store.remove("real@3")])
def test_what_is_no_precision_is_answered_with_those_that_are(store, ask):
    with pytest.raises(StoreError, match=r"real has no precision '3'\. Behind the @ stands 4, 8, 16 or stored"):
        ask(store)


def test_packed_weights_of_one_precision_are_removed_alone(store):
    digest = store.resolve("real").digest
    for layout in ("rows16-3-00", "rows16-3-00-4bit-1", "rows16-3-00-8bit-1"):
        store.packed_path(digest, layout).write_bytes(b"packed")
    assert sorted(each.precision for each in store.resolve("real").packed) == ["4", "8", "stored"]
    removed = store.remove("real@8")
    assert (removed.name, removed.files, removed.freed) == ("real@8", 1, 6)
    assert sorted(each.precision for each in store.resolve("real").packed) == ["4", "stored"]
    with pytest.raises(StoreError, match=r"not packed at the precision 8.*packed are: 4, stored"):
        store.remove("real@8")
    with pytest.raises(StoreError, match=r"not packed at the precision 16.*Weights of 16 bits are packed as `stored`"):
        store.remove("real@16")
    store.remove("real")
    assert store.packed() == ()
