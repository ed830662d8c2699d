"""Fetching from a hub: what is taken, how it resumes, what is refused. The hub is a server on this machine."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

import pytest

from ouvert.store import Hub, Store, StoreError, Unreachable
from ouvert.store import store as store_module
from ouvert.store.arrival import Arrival
from ouvert.store.manifest import Manifest
from ouvert.store.names import Order
from ouvert.store.records import Records

from .bodies import folder_model, gguf, safetensors
from .hub_server import COMMIT, Fault, TinyHub

FETCHED = [
    "LICENSE",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


class Watcher:
    """Notes what a fetch tells."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.labels: list[str] = []
        self.counts: list[list[int]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        self.labels.append(label)
        self.counts.append([total or 0, done])

    def advance(self, count: int) -> None:
        self.counts[-1][1] += count

    def end(self) -> None:
        pass

    def require_wanted(self) -> None: ...


def test_a_folder_model_comes_with_what_is_needed_and_nothing_else(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    files = tiny_hub.repositories["maker/model"] = folder_model()
    installed = store.pull("hf:maker/model", hub=hub)
    assert sorted(path.name for path in installed.path.iterdir()) == FETCHED
    for name in FETCHED:
        assert (installed.path / name).read_bytes() == files[name]
        assert installed.digests[name] == "sha256:" + hashlib.sha256(files[name]).hexdigest()
    assert (installed.name, installed.source) == ("maker/model", "hf:maker/model")
    assert (installed.revision, installed.licence) == (COMMIT, "apache-2.0")
    assert installed.size == sum(len(files[name]) for name in FETCHED)
    asked = {path for _, path, _ in tiny_hub.requests}
    assert not [path for path in asked if path.endswith((".bin", ".pth", ".md", ".onnx", "consolidated.safetensors"))]


def test_an_embedding_model_comes_with_the_folder_its_own_files_name(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    said = {
        "modules.json": b"[]",
        "1_Pooling/config.json": b'{"pooling_mode_lasttoken": true}',
        "onnx/config.json": b"{}",
    }
    tiny_hub.repositories["maker/model"] = folder_model() | said
    installed = store.pull("hf:maker/model", hub=hub)
    assert (installed.path / "1_Pooling" / "config.json").read_bytes() == said["1_Pooling/config.json"]
    assert sorted(path.name for path in installed.path.iterdir()) == sorted([*FETCHED, "modules.json", "1_Pooling"])


def test_a_models_other_chat_templates_come_in_their_folder(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    more = {"additional_chat_templates/tool_use.jinja": b"T", "additional_chat_templates/read.me": b"no"}
    tiny_hub.repositories["maker/model"] = folder_model() | more
    installed = store.pull("hf:maker/model", hub=hub)
    found = {path.name: path.read_bytes() for path in (installed.path / "additional_chat_templates").iterdir()}
    assert found == {"tool_use.jinja": b"T"}
    assert store.resolve("maker/model").digests == installed.digests


def test_the_hub_learns_nothing_but_the_request(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = folder_model()
    store.pull("hf:maker/model", hub=hub)
    assert {path.split("/")[1] for _, path, _ in tiny_hub.requests} == {"api", "maker", "content"}
    assert [path for _, path, _ in tiny_hub.requests if path.startswith("/api")] == ["/api/models/maker/model"]
    for _, _, headers in tiny_hub.requests:
        assert "torch" not in headers["user-agent"]
        assert "agent/" not in headers["user-agent"]
        assert "authorization" not in headers


def test_a_token_is_sent_to_the_hub(store: Store, tiny_hub: TinyHub) -> None:
    tiny_hub.repositories["maker/model"] = folder_model()
    tiny_hub.gated.add("maker/model")
    store.pull("hf:maker/model", hub=Hub(endpoint=tiny_hub.address, token="hf_mine"))
    assert all(headers.get("authorization") == "Bearer hf_mine" for _, path, headers in tiny_hub.requests)


def test_a_token_is_not_sent_to_where_the_hub_points(store: Store, tiny_hub: TinyHub) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(900)}
    tiny_hub.elsewhere = tiny_hub.address.replace("127.0.0.1", "localhost")
    store.pull("hf:maker/model", hub=Hub(endpoint=tiny_hub.address, token="hf_mine"))
    told = {path.split("/")[1]: "authorization" in headers for _, path, headers in tiny_hub.requests}
    assert told == {"api": True, "maker": True, "content": False}


def test_a_digest_that_is_none_is_refused(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(900)}
    tiny_hub.lies = {"sha256": "../../outside"}
    with pytest.raises(StoreError, match=r"expected a number and hexadecimal digits"):
        store.pull("hf:maker/model", hub=hub)
    assert store.names() == ()


def test_a_connection_lost_in_the_middle_is_taken_up_where_it_was(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    content = gguf(50_000)
    tiny_hub.repositories["maker/model"] = {"m.Q4_0.gguf": content}
    tiny_hub.faults["m.Q4_0.gguf"] = Fault(cut_after=20_000, cuts=2)
    installed = store.pull("hf:maker/model", hub=hub)
    assert installed.path.read_bytes() == content
    assert tiny_hub.ranges("m.Q4_0.gguf") == [None, "bytes=20000-", "bytes=40000-"]
    assert tiny_hub.sent["m.Q4_0.gguf"] == len(content)  # nothing came twice


def test_a_fetch_that_was_given_up_goes_on_the_next_time(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    content = gguf(50_000)
    tiny_hub.repositories["maker/model"] = {"m.gguf": content}
    tiny_hub.faults["m.gguf"] = Fault(cut_after=20_000, cuts=1)
    impatient = Hub(endpoint=tiny_hub.address, retries=0, pause=0.0)
    with pytest.raises(Unreachable, match=r"m\.gguf of hf:maker/model was cut off after 20\.0 kB of 50\.0 kB"):
        store.pull("hf:maker/model", hub=impatient)
    assert store.names() == ()
    watcher = Watcher()
    assert Store(store.home).pull("hf:maker/model", hub=hub, progress=watcher).path.read_bytes() == content
    assert tiny_hub.ranges("m.gguf") == [None, "bytes=20000-"]
    assert tiny_hub.sent["m.gguf"] == len(content)
    assert watcher.labels == ["checking what is here of m.gguf", "m.gguf"]
    assert watcher.counts == [[20_000, 20_000], [50_000, 50_000]]
    assert watcher.said == [
        "maker/model: asking 127.0.0.1 for hf:maker/model",
        f"maker/model: 30.0 kB to fetch, in 1 files, at commit {COMMIT[:12]}",
    ]


def test_finished_files_are_not_fetched_again_after_a_cut(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = folder_model()
    tiny_hub.faults["model-00002-of-00002.safetensors"] = Fault(cut_after=100, cuts=1)
    with pytest.raises(Unreachable):
        store.pull("hf:maker/model", hub=Hub(endpoint=tiny_hub.address, retries=0, pause=0.0))
    store.pull("hf:maker/model", hub=hub)
    assert tiny_hub.ranges("model-00001-of-00002.safetensors") == [None]
    assert tiny_hub.ranges("model-00002-of-00002.safetensors") == [None, "bytes=100-"]


def test_a_server_without_ranges_is_asked_for_everything_again(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    content = gguf(50_000)
    tiny_hub.repositories["maker/model"] = {"m.gguf": content}
    tiny_hub.faults["m.gguf"] = Fault(cut_after=20_000, cuts=1, ignores_ranges=True)
    watcher = Watcher()
    assert store.pull("hf:maker/model", hub=hub, progress=watcher).path.read_bytes() == content
    assert watcher.counts == [[50_000, 50_000]]


def test_a_busy_server_is_asked_again(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(5000)}
    tiny_hub.faults["m.gguf"] = Fault(status=503, cuts=2)
    assert store.pull("hf:maker/model", hub=hub).size == 5000


@pytest.mark.parametrize("fault", [Fault(corrupt=True), Fault(too_long=True)])
@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "tokenizer.json"])
def test_a_wrong_body_is_named_and_nothing_good_is_removed(
    store: Store, tiny_hub: TinyHub, hub: Hub, fault: Fault, name: str
) -> None:
    tiny_hub.repositories["maker/good"] = {"m.gguf": gguf(900, seed=5)}
    good = store.pull("hf:maker/good", hub=hub)
    files = tiny_hub.repositories["maker/model"] = folder_model()
    before = store.pull("hf:maker/model", hub=hub)
    tiny_hub.commit = "beef" * 10  # a new version, in which everything changed
    changed = {key: content.replace(b"{", b"{ ") for key, content in files.items()}
    changed["model-00001-of-00002.safetensors"] = safetensors(3100, 11)
    changed["model-00002-of-00002.safetensors"] = safetensors(3100, 12)
    tiny_hub.repositories["maker/model"] = changed
    tiny_hub.faults[name] = fault
    with pytest.raises(StoreError, match=rf"{name} of hf:maker/model did not arrive as the hub announced"):
        store.pull("hf:maker/model", hub=hub)
    assert not list(store.blobs.folder.glob("*.partial"))
    assert store.verify("maker/good") == good
    assert store.verify("maker/model") == before
    assert (before.path / "config.json").read_bytes() == files["config.json"]
    del tiny_hub.faults[name]
    after = store.pull("hf:maker/model", hub=hub)
    assert (after.path / name).read_bytes() == changed[name]


def test_a_new_version_replaces_the_old_one_and_frees_it(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(900)}
    old = store.pull("hf:maker/model", hub=hub)
    store.packed_path(old.digest or "", "rows8").write_bytes(b"packed")
    tiny_hub.commit, tiny_hub.repositories["maker/model"] = "beef" * 10, {"m.gguf": gguf(900, seed=2)}
    new = store.pull("hf:maker/model", hub=hub)
    assert new.revision == "beef" * 10
    assert new.path.read_bytes() == gguf(900, seed=2)
    assert len(list(store.blobs.folder.iterdir())) == 1
    assert not old.path.exists()
    assert store.packed() == ()


def test_what_is_here_is_not_fetched_again(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = folder_model()
    first = store.pull("hf:maker/model", hub=hub)
    fetched = len(tiny_hub.requests)
    again = store.pull("hf:maker/model", hub=hub)
    assert (again.path, again.files) == (first.path, first.files)
    assert [path for _, path, _ in tiny_hub.requests[fetched:]] == ["/api/models/maker/model"]


def test_a_commit_that_is_here_needs_no_connection(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(900)}
    store.pull(f"hf:maker/model@{COMMIT}", hub=hub)
    asked = len(tiny_hub.requests)
    assert store.pull(f"hf:maker/model@{COMMIT}", hub=hub).revision == COMMIT
    assert len(tiny_hub.requests) == asked


def test_content_that_another_process_removes_meanwhile_is_fetched_again(
    store: Store, tiny_hub: TinyHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(900)}
    check, calls = store_module.require_right_content, []

    def remove_once(order: Order, manifest: Manifest, records: Records) -> None:
        check(order, manifest, records)
        if not calls:
            store.blobs.path(manifest.digest).unlink()
        calls.append(manifest)

    monkeypatch.setattr(store_module, "require_right_content", remove_once)
    assert store.pull("hf:maker/model", hub=hub).path.read_bytes() == gguf(900)
    assert len(calls) == 2


def test_equal_content_is_kept_once(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/one"] = {"m.gguf": gguf(900)}
    tiny_hub.repositories["maker/two"] = {"other-name.gguf": gguf(900)}
    one, two = store.pull("hf:maker/one", hub=hub), store.pull("hf:maker/two", hub=hub)
    assert one.path.samefile(two.path)
    assert tiny_hub.ranges("other-name.gguf") == []
    removed = store.remove("maker/one")
    assert removed.freed == 0
    assert two.path.read_bytes() == gguf(900)
    assert store.remove("maker/two").freed == 900
    assert not list(store.blobs.folder.iterdir())


QUANTISED = {
    "README.md": b"",
    "m-Q4_K_M.gguf": gguf(400),
    "m-Q4_K_S.gguf": gguf(300),
    "m-UD-Q4_K_XL.gguf": gguf(350),
    "Q8_0/m-Q8_0-00001-of-00002.gguf": gguf(500, 1),
    "Q8_0/m-Q8_0-00002-of-00002.gguf": gguf(500, 2),
    "mmproj-F16.gguf": gguf(50),
    "LICENSE": b"MIT",
    "config.json": b"{}",
}


def test_the_quantisation_asked_for_is_taken_with_its_parts(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model-GGUF"] = QUANTISED
    one = store.pull("hf:maker/model-GGUF:q4_k_m", hub=hub)
    assert (one.name, list(one.digests)) == ("maker/model-GGUF:q4_k_m", ["LICENSE", "m-Q4_K_M.gguf"])
    parts = store.pull("hf:maker/model-GGUF:Q8_0", hub=hub)
    assert parts.path.name == "m-Q8_0-00001-of-00002.gguf"
    assert (parts.path.parent / "m-Q8_0-00002-of-00002.gguf").read_bytes() == gguf(500, 2)
    by_name = store.pull("hf:maker/model-GGUF:m-UD-Q4_K_XL.gguf", hub=hub)
    assert by_name.path.read_bytes() == gguf(350)


def test_a_choice_is_asked_for_by_name_and_size(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model-GGUF"] = QUANTISED
    with pytest.raises(
        StoreError, match=r"holds 4 models: say which .*-00001-of-00002\.gguf \(1\.0 kB\), m-Q4_K_M\.gguf \(400 "
    ):
        store.pull("hf:maker/model-GGUF", hub=hub)
    with pytest.raises(StoreError, match=r"holds nothing called Q2_K\. There are: .*m-Q4_K_S\.gguf"):
        store.pull("hf:maker/model-GGUF:Q2_K", hub=hub)


def test_pickles_are_refused(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"}
    with pytest.raises(StoreError, match=r"only pickles \(pytorch_model\.bin\), which may run code"):
        store.pull("hf:maker/model", hub=hub)
    with pytest.raises(StoreError, match=r"pytorch_model\.bin is a pickle"):
        store.pull("hf:maker/model:pytorch_model.bin", hub=hub)


def test_a_pickle_under_another_name_is_refused(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"config.json": b"{}", "model.safetensors": b"\x80\x04\x95pickle" * 9}
    with pytest.raises(StoreError, match=r"model\.safetensors of hf:maker/model is not what its name says"):
        store.pull("hf:maker/model", hub=hub)
    assert store.names() == ()


def test_an_incomplete_repository_is_refused(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    files = folder_model()
    del files["model-00002-of-00002.safetensors"]
    tiny_hub.repositories["maker/model"] = files
    with pytest.raises(StoreError, match=r"incomplete: missing model-00002-of-00002\.safetensors"):
        store.pull("hf:maker/model", hub=hub)
    assert store.names() == ()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf:maker/absent", r"the hub knows no such repository, or it is private"),
        ("hf:maker/model@v9", r"the repository has no revision 'v9'"),
        ("hf:maker/gated", r"accept their licence first"),
        ("hf:only-a-name", r"does not name a repository on the hub: expected hf:org/name"),
        ("hf:../etc/passwd", r"does not name a repository"),
    ],
)
def test_what_the_hub_refuses_is_said_with_a_remedy(
    store: Store, tiny_hub: TinyHub, hub: Hub, source: str, sentence: str
) -> None:
    tiny_hub.repositories["maker/model"] = tiny_hub.repositories["maker/gated"] = {"m.gguf": gguf(100)}
    tiny_hub.gated.add("maker/gated")
    with pytest.raises(StoreError, match=sentence):
        store.pull(source, hub=hub)


@pytest.mark.parametrize("page", [b"<html>Please sign in</html>", b"[]", b'{"siblings": 7}'])
def test_a_page_that_is_no_hub_is_said(store: Store, tiny_hub: TinyHub, hub: Hub, page: bytes) -> None:
    tiny_hub.portal = page
    with pytest.raises(StoreError, match=r"does not speak as a hub does|does not say which commit"):
        store.pull("hf:maker/model", hub=hub)


def test_a_full_disk_is_foreseen(store: Store, tiny_hub: TinyHub, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(50_000)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 40_000, 40_000))
    with pytest.raises(
        StoreError, match=r"needs 50\.0 kB more .* has 40\.0 kB free: nothing was downloaded\. Make 10\.0 kB"
    ):
        store.pull("hf:maker/model", hub=hub)
    assert tiny_hub.sent.get("m.gguf", 0) == 0


def test_room_for_what_is_made_of_it_is_looked_at_before_a_fetch(
    store: Store, tiny_hub: TinyHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only weights are told of. Where nothing is fetched nothing is asked."""
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(50_000), "LICENSE": b"free"}
    told = []

    def packed(name: str, sizes: Mapping[str, int]) -> int:
        told.append((name, dict(sizes)))
        return 20_000

    free = 60_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - free, free))
    with pytest.raises(StoreError, match=r"needs 70\.0 kB more \(20\.0 kB of it beside .* Make 10\.0 kB"):
        store.pull("hf:maker/model", hub=hub, made=packed)
    assert told == [("maker/model", {"m.gguf": 50_000})]
    assert tiny_hub.sent.get("m.gguf", 0) == 0
    free = 80_000
    assert store.pull("hf:maker/model", hub=hub, made=packed).size == 50_004
    free = 0
    store.pull("hf:maker/model", hub=hub, made=packed)


def test_a_disk_that_fills_up_meanwhile_is_a_sentence_and_keeps_what_came(
    store: Store, tiny_hub: TinyHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(50_000)}
    tiny_hub.faults["m.gguf"] = Fault(cut_after=20_000, cuts=1)
    write = Arrival.write

    def write_until_full(self: Arrival, piece: bytes) -> None:
        if self.count >= 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Arrival, "write", write_until_full)
        with pytest.raises(StoreError, match=r"became full while .* What has arrived is kept"):
            store.pull("hf:maker/model", hub=hub)
    assert store.pull("hf:maker/model", hub=hub).path.read_bytes() == gguf(50_000)
    assert tiny_hub.ranges("m.gguf")[-1] == "bytes=20000-"


def test_what_has_arrived_counts_when_room_is_looked_for(
    store: Store, tiny_hub: TinyHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(50_000)}
    tiny_hub.faults["m.gguf"] = Fault(cut_after=20_000, cuts=1)
    with pytest.raises(Unreachable):
        store.pull("hf:maker/model", hub=Hub(endpoint=tiny_hub.address, retries=0, pause=0.0))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 40_000, 40_000))
    assert store.pull("hf:maker/model", hub=hub).size == 50_000


def test_offline_and_absent_is_one_sentence_with_a_remedy(store: Store) -> None:
    nobody = Hub(endpoint="http://127.0.0.1:9", pause=0.0)
    with pytest.raises(Unreachable, match=r"the hub does not answer .*maker/model is not on this machine: connect and"):
        store.pull("hf:maker/model", hub=nobody)


def test_offline_and_present_says_that_it_can_be_used(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"m.gguf": gguf(900)}
    store.pull("hf:maker/model", hub=hub)
    with pytest.raises(
        Unreachable, match=r"maker/model is on this machine as it was on \d{4}-\d\d-\d\d, and can be used"
    ):
        store.pull("hf:maker/model", hub=Hub(endpoint="http://127.0.0.1:9", pause=0.0))
    assert store.resolve("hf:maker/model").path.exists()


PULL = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("sources", [["hf:maker/model"] * 2, ["hf:maker/model", "hf:maker/twin"]])
def test_two_fetches_at_once_do_not_harm_each_other(store: Store, tiny_hub: TinyHub, sources: list[str]) -> None:
    tiny_hub.repositories["maker/model"] = folder_model()
    tiny_hub.repositories["maker/twin"] = folder_model()  # the same content under another name
    surroundings = {**os.environ, "OUVERT_HOME": str(store.home), "HF_ENDPOINT": tiny_hub.address}
    workers = [
        subprocess.Popen([sys.executable, "-c", PULL, "pull", source], env=surroundings, stderr=subprocess.PIPE)
        for source in sources
    ]
    said = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert store.names() == tuple(sorted({source.removeprefix("hf:") for source in sources}))
    for name in store.names():
        store.verify(name)
    for name, content in folder_model().items():
        if name.startswith("model-"):
            assert tiny_hub.sent[name] == len(content)  # the second one found what the first one fetched
