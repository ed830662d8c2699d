"""Adapters in the store: behind a model's name, in their folders, and the probe that stands in their records."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ouvert.store import Adapters, Store, StoreError, readings, split_adapters, state_together, strays

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def put(adapters, name, weights, digest=DIGEST, **facts):
    record = {"adapter": 1, "digest": digest, "state": "unchecked", "base": {"name": "real", "weights": weights}}

    def write(folder):
        (folder / "ouvert.json").write_text(json.dumps(record | facts))
        (folder / "adapter_model.safetensors").write_bytes(b"12345")

    return adapters.put(name, write)


@pytest.fixture
def adapters(tmp_path):
    return Adapters(tmp_path)


@pytest.fixture
def store(smollm2, tmp_path):
    """With a model called `real`, and the adapters `tickets` and `terse` of it, and `foreign` of another."""
    made = Store(tmp_path / "store")
    weights = made.pull(str(smollm2), name="real").digest
    put(made.adapters, "tickets", weights)
    put(made.adapters, "terse", weights, OTHER)
    put(made.adapters, "foreign", OTHER, OTHER)
    return made


# --- names ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smollm2+tickets", ("smollm2", ("tickets",))),
        ("gpt-oss:20b@4+tickets+a.b_c-1", ("gpt-oss:20b@4", ("tickets", "a.b_c-1"))),
        ("smollm2", ("smollm2", ())),
        ("c++", ("c++", ())),
        ("smollm2+../x", ("smollm2+../x", ())),
        ("smollm2+Tickets+terse", ("smollm2+Tickets", ("terse",))),
        ("+tickets", ("", ("tickets",))),
    ],
)
def test_a_name_and_its_adapters(name, expected):
    assert split_adapters(name) == expected


def test_the_longest_name_of_a_model_is_tried_first():
    assert list(readings("a+b+c")) == [("a+b+c", ()), ("a+b", ("c",)), ("a", ("b", "c"))]


def test_ten_thousand_signs_are_few_readings():
    assert len(list(readings("smollm2" + "+" * 10_000))) == 9


def test_a_model_is_found_with_its_adapters(store):
    found = store.resolve("real@8+tickets+terse")
    assert (found.name, found.precision, found.adapters) == ("real", "8", ("tickets", "terse"))
    assert found.called == "real@8+tickets+terse"
    assert found.base == store.resolve("real@8")
    assert store.resolve(f"{found.path}+tickets").adapters == ("tickets",)


def test_a_models_own_name_may_hold_the_sign(store, smollm2, tmp_path):
    store.pull(str(smollm2), name="real+tickets")
    assert (store.resolve("real+tickets").name, store.resolve("real+tickets").adapters) == ("real+tickets", ())
    assert store.resolve("real+tickets+terse").name == "real+tickets"
    folder = tmp_path / "c++"
    folder.mkdir()
    (folder / "model.gguf").symlink_to(smollm2)
    assert store.resolve(f"{folder}/model.gguf+tickets").adapters == ("tickets",)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("real+nothing", r"no adapter 'nothing' .*there are: foreign, terse, tickets.*ouvert tune MODEL DATA"),
        (
            "real+foreign",
            rf"was made for real with the weights {OTHER}, and real has sha256:\w+: .*ouvert tune",
        ),
        ("real+tickets+tickets", "tickets is named twice, expected once"),
        ("real+../x", r"an adapter cannot be called '\.\./x'"),
        ("real++", "an adapter cannot be called ''"),
        ("real+tickets@8", r"A precision stands before it: MODEL@8\+tickets"),
        ("real" + "+" * 10_000, "there is no model called"),
        ("real" + "+tickets" * 10_000, "there is no model called"),
        ("nothing+tickets", r"there is no model called 'nothing\+tickets'"),
        ("smollm2+tickets", "smollm2 is not on this machine: `ouvert pull smollm2` fetches it"),
        ("real@9+tickets", "real has no precision '9'"),
        ("x" * 10_000, "there is no model called"),
        ("hf:org/nothing+tickets", "is not on this machine: `ouvert pull hf:org/nothing`"),
    ],
)
def test_what_cannot_be_meant_is_refused(store, name, sentence):
    with pytest.raises(StoreError, match=sentence) as refused:
        store.resolve(name)
    assert len(str(refused.value)) < 1000


def test_a_damaged_model_is_not_taken_for_another(store):
    store.records.path("real").write_text("{")
    with pytest.raises(StoreError, match=r"real\.json"):
        store.resolve("real+tickets")


# --- folders ---


def test_what_is_put_is_there_until_it_is_removed(adapters):
    path = put(adapters, "tickets", OTHER, made="2026-11-21T10:00:00Z")
    record = adapters.record("tickets")
    assert (record.path, record.digest, record.state, record.made) == (
        path,
        DIGEST,
        "unchecked",
        "2026-11-21T10:00:00Z",
    )
    assert path.stat().st_mode & 0o777 == 0o700
    assert adapters.with_digest(DIGEST) == record
    record_size = record.size
    assert record_size > 5
    with pytest.raises(StoreError, match="there is an adapter 'tickets' on this machine already"):
        put(adapters, "tickets", OTHER)
    assert adapters.remove("tickets") == record_size
    assert adapters.names() == ()
    assert adapters.with_digest(DIGEST) is None
    with pytest.raises(StoreError, match="there are: none yet"):
        adapters.remove("tickets")


def test_a_name_that_goes_to_other_numbers_is_read_anew(adapters):
    put(adapters, "tickets", OTHER)
    assert adapters.record("tickets").digest == DIGEST
    adapters.remove("tickets")
    put(adapters, "tickets", OTHER, OTHER)
    assert adapters.record("tickets").digest == OTHER


def test_a_state_is_noted_of_the_numbers_that_were_checked(adapters):
    put(adapters, "tickets", OTHER)
    assert adapters.note("tickets", DIGEST, state="checked", check={"n": 3}).state == "checked"
    assert Adapters(adapters.folder.parent).record("tickets").facts["check"] == {"n": 3}
    with pytest.raises(StoreError, match=f"its numbers are {DIGEST} now, expected {OTHER}"):
        adapters.note("tickets", OTHER, state="gated")
    with pytest.raises(StoreError, match="of another form than 1"):
        adapters.note("tickets", DIGEST, state="perfect")
    assert adapters.record("tickets").state == "checked"


def test_what_is_known_of_numbers_is_known_of_them_under_any_name(adapters):
    put(adapters, "one", OTHER)
    put(adapters, "two", OTHER)
    put(adapters, "else", DIGEST)
    put(adapters, "x", OTHER, OTHER)
    adapters.note("one", DIGEST, state="regression")
    assert [adapters.record(name).state for name in ("one", "two", "else", "x")] == [
        "regression", "regression", "unchecked", "unchecked",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "[]", '{"adapter": 2}', '{"adapter": 1, "digest": "x", "state": "fine", "base": {"weights": "y"}}',
             '{"adapter": 1, "digest": "x", "state": "gated", "base": {}}', '{"adapter": 1, "state": "gated"}'],
)  # fmt: skip
def test_a_damaged_record_is_an_error_and_can_be_removed(adapters, text):
    put(adapters, "good", OTHER)
    path = put(adapters, "bad", OTHER)
    (path / "ouvert.json").write_text(text)
    with pytest.raises(StoreError, match=r"(?s)the record of the adapter 'bad'.*(emove|ake)"):
        adapters.record("bad")
    assert [each.name for each in adapters.readable()] == ["good"]
    adapters.remove("bad")
    assert adapters.names() == ("good",)


def test_of_two_at_once_one_is_kept_whole(tmp_path):
    both, outcomes = threading.Barrier(2), []

    def bring(digest):
        def write(folder):
            facts = {"adapter": 1, "digest": digest, "state": "unchecked", "base": {"weights": OTHER}}
            (folder / "ouvert.json").write_text(json.dumps(facts))
            both.wait()

        try:
            Adapters(tmp_path).put("tickets", write)
            outcomes.append(digest)
        except StoreError:
            outcomes.append(None)

    threads = [threading.Thread(target=bring, args=(digest,)) for digest in (DIGEST, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(None) == 1
    assert Adapters(tmp_path).record("tickets").digest in outcomes
    assert [path.name for path in (tmp_path / "adapters").iterdir() if path.is_dir()] == ["tickets"]


def test_what_an_owner_allows_is_kept_with_its_reason(adapters):
    put(adapters, "tickets", OTHER, state="regression")
    record = adapters.record("tickets")
    adapters.allow(record, "demo on my own machine")
    with (adapters.folder / "allowed.jsonl").open("a") as file:
        file.write("half a li")
    [line] = adapters.allowed(DIGEST)
    assert (line["adapter"], line["state"], line["reason"]) == ("tickets", "regression", "demo on my own machine")
    assert adapters.allowed(OTHER) == ()


def test_several_adapters_were_never_checked_together():
    assert state_together(["gated"]) == "gated"
    assert state_together(["gated", "gated"]) == "unchecked"
    assert state_together(["gated", "regression"]) == "regression"


# --- what killed writers leave ---

FILLS = """
import sys, time
from pathlib import Path
from ouvert.store import Adapters

def write(folder):
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(60)

Adapters(Path(sys.argv[1])).put("cut", write)
"""


def test_what_a_killed_writer_left_is_swept_at_once_and_what_a_living_one_fills_is_not(adapters, tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", FILLS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, living = (Path(writer.stdout.readline().strip()) for writer in writers)
        assert adapters.abandoned() == ()
        os.kill(writers[0].pid, signal.SIGKILL)
        writers[0].wait()
        assert list(adapters.abandoned()) == strays(tmp_path) == [killed, killed.with_name(killed.name + ".filled")]
        put(adapters, "next", DIGEST)  # whoever keeps one sweeps
        assert adapters.abandoned() == ()
        assert not killed.exists()
        assert (living / "adapter_model.safetensors").read_bytes() == b"half"
        assert adapters.names() == ("next",)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    assert adapters.sweep() == (living, living.with_name(living.name + ".filled"))
    assert sorted(path.name for path in adapters.folder.iterdir()) == [".lock", "next"]


def test_a_base_that_lost_its_name_is_shown_by_its_weights(adapters):
    put(adapters, "nameless", DIGEST, base={"weights": DIGEST})
    assert adapters.record("nameless").base_name == "unnamed (sha256:aaaaaaaaaaaa…)"


REMOVED_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from ouvert.store import Adapters

left, rename = int(sys.argv[2]), Path.rename

def or_die(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = or_die
Adapters(Path(sys.argv[1])).remove("tickets")
"""


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_a_kill_while_an_adapter_is_removed_loses_nothing_of_its_run(adapters, tmp_path, renamed):
    path = put(adapters, "tickets", DIGEST)
    (path / "run").mkdir()
    (path / "run" / "data.safetensors").write_bytes(b"examples")
    told = subprocess.run([sys.executable, "-c", REMOVED_AND_KILLED, str(tmp_path), str(renamed)], check=False)
    assert told.returncode == (-signal.SIGKILL if renamed < 2 else 0)
    adapters.sweep()
    assert (adapters.folder / "tickets" / "run" / "data.safetensors").read_bytes() == b"examples"
    assert (adapters.names(), adapters.left()) == ((("tickets",), ()) if not renamed else ((), ("tickets",)))
    adapters.remove("tickets", with_run=True)
    assert [each.name for each in adapters.folder.iterdir() if each.name != ".lock"] == []
