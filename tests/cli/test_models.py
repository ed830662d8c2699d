"""pull, list, show and remove, as they are typed."""

import io
import json
import shutil
from pathlib import Path

import pytest
from tests.store.hub_server import Fault, TinyHub

from ouvert.cli import main
from ouvert.cli.progress import Bars, Lines, seconds_in_words, show_progress
from ouvert.models import FAMILIES
from ouvert.store import Progress, Store, aliases, bytes_in_words
from ouvert.store import hub as hub_module


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, and no owner's token."""
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return tmp_path / "home"


def test_a_model_is_pulled_listed_shown_and_removed(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", str(smollm2), "--name", "small"]) == 0
    said = capsys.readouterr()
    assert said.out == "small  98.4 MB  licence not stated\n"
    assert said.err.startswith("reading SmolLM2-135M-Instruct.Q4_1.gguf: 98.4 MB (")
    assert main(["list"]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["NAME", "SIZE", "PACKED", "LICENCE", "SOURCE"]
    assert row.split() == ["small", "98.4", "MB", "(linked)", "96.6", "MB", "not", "stated", str(smollm2)]
    assert main(["show", "small"]) == 0
    shown = capsys.readouterr().out
    for fact in (
        "family  llama",
        "parameters  134.5 million (134,515,008)",
        "vocabulary 49152",
        "layers 30",
        "query heads 9",
        "key heads 3",
        "context  8192 tokens",
        "Q4_1: 66.4 MB (68.7%)",
        "Q8_0: 30.1 MB (31.1%)",
        "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "template  {% for message in messages %}",
        f"source  {smollm2}",
    ):
        assert fact in shown
    assert main(["remove", "small"]) == 0
    assert capsys.readouterr().out == "removed small: 96.6 MB freed\n"
    assert smollm2.exists()


def test_show_as_json_has_the_whole_configuration(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(smollm2), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["family"], facts["format"], facts["parameters"]) == ("llama", "gguf", 134_515_008)
    assert facts["configuration"]["hidden_size"] == 576
    assert facts["encodings"]["F32"] == 140_544
    assert facts["chat_template"].startswith("{% for message")
    assert facts["digest"] is None  # it is not in the store


def test_show_prints_the_template_alone(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(smollm2), "--template"]) == 0
    assert capsys.readouterr().out.startswith("{% for message")


def test_show_verifies(smollm2: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copyfile(smollm2, mine)
    assert main(["pull", str(mine), "--copy"]) == 0
    assert main(["show", "mine", "--verify"]) == 0
    (blob,) = (home / "blobs").iterdir()
    with blob.open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"changed")
    capsys.readouterr()
    assert main(["show", "mine", "--verify"]) == 1
    assert "mine.gguf of mine has changed on the disk" in capsys.readouterr().err


def test_a_family_we_do_not_know_is_shown_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = json.dumps({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    (tmp_path / "config.json").write_text('{"model_type": "perceptron"}')
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]}'
    )
    assert main(["show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "family  not known to this version" in shown
    assert "model_type is 'perceptron'" in shown
    assert "F32: 8 bytes (100.0%)" in shown
    assert "template  D" in shown
    assert "rag, default (tool_use is taken where tools are given; --template NAME takes another)" in shown


def test_an_empty_store_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "`ouvert pull smollm2`" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": [], "unfinished": []}


def test_a_fetch_that_is_not_finished_is_listed_gone_on_with_and_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float, progress: Progress) -> None:
        raise KeyboardInterrupt

    content = b"GGUF" + bytes(2_000_000)
    with TinyHub({"org/model": {"m.gguf": content}}).serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setattr(hub_module, "wait", interrupted)
        hub.faults["m.gguf"] = Fault(cut_after=1_250_000, cuts=1)
        assert main(["pull", "hf:org/model", "--name", "mine"]) == 130
        capsys.readouterr()
        assert main(["list"]) == 0
        shown = capsys.readouterr().out
        assert "1.2 MB of 2.0 MB are here. `ouvert pull hf:org/model --name mine` goes on with it." in shown
        assert main(["list", "--json"]) == 0
        [fetch] = json.loads(capsys.readouterr().out)["unfinished"]
        assert (fetch["name"], fetch["arrived"], fetch["under_way"]) == ("mine", 1_250_000, False)
        assert main(["remove", "mine"]) == 0
        assert capsys.readouterr().out.startswith("removed mine: 1.3 MB freed")
        assert not list((home / "blobs").iterdir())


def test_list_all_shows_the_short_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--all"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert {alias.name for alias in aliases()} <= lines.keys()
    fetch, store, run = 98_362_432, 2 * 98_362_432, 98_362_432 + 8192 * 30 * 2 * 2 * 3 * 64 + 300_000_000
    assert lines["smollm2"].split()[1:7] == [
        word for size in (fetch, store, run) for word in bytes_in_words(size).split()
    ]
    assert "~ 13.8 GB" in lines["gpt-oss:20b"]
    assert main(["list", "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["short_names"]
    assert [row["name"] for row in rows] == [alias.name for alias in aliases()]
    assert rows[0]["bytes_to"] == {"fetch": fetch, "store": store, "run": run}


def test_the_table_marks_exactly_the_families_that_are_built() -> None:
    built = {family.name for family in FAMILIES}
    for alias in aliases():
        assert alias.built == (alias.family in built), "bring `built` in store/aliases.toml up to date"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "smollm2"], "ouvert: smollm2 is not on this machine: `ouvert pull smollm2` fetches it"),
        (["show", "./nothing"], "there is no such file or folder"),
        (["pull", "nothing"], "ouvert: there is no model called 'nothing'"),
        (["pull", "hf:nothing"], "ouvert: hf:nothing does not name a repository on the hub"),
        (["remove", "nothing"], "ouvert: nothing is not in the store, so there is nothing to remove"),
    ],
)
def test_complaints_are_one_line_on_stderr(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_the_list_says_which_packed_weights_are_at_which_precision(
    smollm2: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(home)
    digest = store.pull(str(smollm2), name="real").digest or ""
    packed = {"rows16-3-00": 2000, "rows16-3-00-8bit-1": 1600, "rows16-3-00-4bit-1": 1200}
    store.packed_path(digest, "rows16-3-00").write_bytes(bytes(2000))
    assert main(["list"]) == 0
    assert "  2.0 kB  " in capsys.readouterr().out
    for layout, size in packed.items():
        store.packed_path(digest, layout).write_bytes(bytes(size))
    assert main(["list"]) == 0
    assert "1.2 kB (4 bits), 1.6 kB (8 bits), 2.0 kB (as stored)" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_precision_that_is_set_is_a_limit_and_one_that_is_typed_is_asked_of_the_model(
    smollm2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    if place == "file":
        (tmp_path / "config.toml").write_text('precision = "16"')
        monkeypatch.setenv("OUVERT_CONFIG", str(tmp_path / "config.toml"))
    else:
        monkeypatch.setenv("OUVERT_PRECISION", "16")
    assert main(["pull", str(smollm2), "--name", "small"]) == 0
    assert "cannot be run" not in capsys.readouterr().err
    assert main(["show", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "stored"
    assert main(["bench", "small", "--prompt", "1", "--generate", "2", "--repeat", "1"]) == 0
    assert main(["fit", "small", "--json"]) == 0
    assert main(["config", "precision"]) == 0
    assert capsys.readouterr().out.endswith("16\n")
    for words in (["small@16"], ["small", "--precision", "16"]):
        for command in (["fit", *words], ["bench", *words]):
            assert main(command) == 1
            assert "stored with 8 bits at most" in capsys.readouterr().err


def test_remove_wants_to_be_told_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove"]) == 2
    assert "name the models to remove" in capsys.readouterr().err


def test_unused_files_can_be_freed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "packed" / ("sha256-" + "0" * 64)).mkdir(parents=True)
    (home / "packed" / ("sha256-" + "0" * 64) / "rows8.safetensors").write_bytes(bytes(1500))
    assert main(["list"]) == 0
    assert "1.5 kB are packed forms of models that are not in the store" in capsys.readouterr().out
    assert main(["remove", "--unused"]) == 0
    assert capsys.readouterr().out == "removed unused files: 1.5 kB freed\n"


def test_progress_is_plain_lines_where_nobody_watches() -> None:
    now = [0.0]
    stream = io.StringIO()
    lines = Lines(stream, clock=lambda: now[0])
    lines.begin("a.gguf", 10_000_000, done=2_000_000)
    for _ in range(4):
        now[0] += 6.0
        lines.advance(1_200_000)
    lines.advance(3_200_000)
    lines.end()
    lines.begin("config.json", 700)
    lines.advance(700)
    lines.end()
    lines.begin("b.gguf", 1000)
    lines.advance(10)
    lines.end()
    assert stream.getvalue().splitlines() == [
        "a.gguf: 4.4 MB of 10.0 MB, 200.0 kB/s, 28 s to go",
        "a.gguf: 6.8 MB of 10.0 MB, 200.0 kB/s, 16 s to go",
        "a.gguf: 10.0 MB (333.3 kB/s)",
        "b.gguf: 10 bytes of 1.0 kB, not finished (10.0 kB/s)",
    ]
    assert [seconds_in_words(each) for each in (59, 600, 7200)] == ["59 s", "10 min", "2.0 h"]


def test_progress_is_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bars = show_progress(stream)
    assert isinstance(bars, Bars)
    bars.say("a [model]")
    bars.begin("file[1].gguf", 1000, done=500)
    bars.advance(500)
    bars.end()
    assert "a [model]" in stream.getvalue()
    assert "file[1].gguf" in stream.getvalue()
    assert "1.00k/1.00k" in stream.getvalue()


def test_show_says_everything_once(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(smollm2)]) == 0
    titles = [line[:12].strip() for line in capsys.readouterr().out.splitlines() if line[:12].strip()]
    assert len(titles) == len(set(titles))
    assert {"family", "parameters", "shape", "context", "encodings", "licence", "source", "template"} <= set(titles)
