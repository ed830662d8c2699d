"""Every block of code in the guides and the README is run as it stands, or says beside it why not.

The models have the names that the guides use: SmolLM2 itself, and tiny ones of random weights for the others.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

import ouvert
from ouvert.agents import read_cases
from ouvert.cli import build_parser
from ouvert.store import Store
from ouvert.tuning import read_recipe

TESTS = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("guides", TESTS / "guides.py")
assert spec
assert spec.loader
guides = importlib.util.module_from_spec(spec)
sys.modules["guides"] = guides  # dataclasses look there
spec.loader.exec_module(guides)

BLOCKS = guides.all_blocks()
HERE = [block for block in BLOCKS if block.run == "here"]
SHELL = [block for block in HERE if block.language == "sh"]
PROGRAMS = sorted({block.document for block in HERE if block.language == "python"})
OUVERT = Path(sys.executable).with_name("ouvert")

# What no test runs. A line more here is a decision: can the block not be written so that it runs?
NEVER_RUN = [
    ("README.md", "make run"),
    ("README.md", '$ ouvert run smollm2 "What is 2+2?"'),
    ("agents.md", "ouvert pull qwen2.5-coder:1.5b"),
    ("agents.md", "ouvert agent runs"),
    ("agents.md", "ouvert documents add library examples/documents"),
    ("agents.md", "from pathlib import Path"),
    ("beyond-one-machine.md", "ouvert pull smollm2"),
    ("beyond-one-machine.md", "ouvert pull smollm2"),
    ("beyond-one-machine.md", "from ouvert import load"),
    ("beyond-one-machine.md", "python -m pip install 'ray[serve]"),
    ("beyond-one-machine.md", "ouvert serve smollm2 --replicas 2 --cluster"),
    ("beyond-one-machine.md", "VLLM_NO_USAGE_STATS=1"),
    ("beyond-one-machine.md", "export OUVERT_ENGINE_KEY="),
    ("beyond-one-machine.md", "import os"),
    ("box.md", "python -m pip install componentize-py"),
    ("clients.md", "name: here"),
    ("clients.md", "OLLAMA_BASE_URL=http://127.0.0.1:11435"),
    ("coming-from.md", "ouvert adapter import"),
    ("command-line.md", "ouvert run"),
    ("compare.md", "ouvert pull qwen2.5-coder:1.5b"),
    ("compare.md", "ouvert compare gpt-oss:20b --effort"),
    ("compare.md", "ouvert compare smollm2 smollm2@4 --damage"),
    ("compare.md", "ouvert compare smollm2 ollama:http"),
    ("compare.md", "ouvert config"),
    ("compare.md", "ouvert compare open first"),
    ("look-inside.md", "ouvert patch smollm2"),
    ("look-inside.md", "edit = ouvert.Edit("),
    ("look-inside.md", "ouvert microscope smollm2-f16.gguf"),
    ("models.md", "ouvert pull smollm2"),
    ("models.md", "ouvert pull llama3.2:1b"),
    ("models.md", "ouvert run smollm2+tickets"),
    ("models.md", "ouvert fit gpt-oss:120b --memory 16GB"),
    ("python.md", "record = ouvert.tune("),
    ("server.md", "ouvert serve gpt-oss:20b --install-service"),
    ("server.md", "docker build -t ouvert ."),
    ("tune.md", "python -m pip install torch"),
    ("tune.md", "ouvert pull smollm2"),
    ("tune.md", "ouvert tune smollm2 examples/tickets.jsonl --plan"),
    ("tune.md", "ouvert tune smollm2 examples/tickets.jsonl --rate"),
    ("tune.md", "ouvert run smollm2 --adapter tickets"),
    ("tune.md", "import ouvert"),
    ("tune.md", "ouvert adapter list"),
    ("tune.md", "import ouvert"),
    ("tune.md", "ouvert tune smollm2 sums.jsonl --recipe"),
    ("tune.md", "ouvert tune smollm2 corrections"),
    ("tune.md", "ouvert adapter export tickets --to peft"),
    ("tune.md", "ouvert adapter import ./their-folder"),
    ("web.md", "ouvert compare smollm2"),
    ("web.md", "cd web && npm ci"),
]

# `ouvert serve` never ends by itself: it is told to stop as soon as it is ready, and has to end well.
SERVE = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
ready = False
for line in server.stderr:
    sys.stderr.write(line)
    if line.startswith("Ready at "):
        ready = True
        server.terminate()
sys.exit(server.wait() if ready else 1)
"""

# `ouvert`, as typed, from a process that has imported what commands need, since a start takes half a second otherwise.
# Its streams, words, environment and folder are those of whoever typed it.
STARTER = """
import json, os, signal, socket, sys
import numpy, ouvert.assistant, ouvert.cli, ouvert.cli.answering, ouvert.serving
from ouvert.cli import main
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    asked, _ = listening.accept()
    if os.fork():
        asked.close()
        continue
    listening.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said, streams, *_ = socket.recv_fds(asked, 1 << 16, 3)
    words, folder, environment = json.loads(said)
    for n, stream in enumerate(streams):
        os.dup2(stream, n)
        os.close(stream)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        status = main(words)
    except SystemExit as left:
        status = left.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    asked.send(bytes([status]))
    os._exit(status)
"""
TYPED = """#!{python} -SI
import json, os, socket, sys
if sys.argv[1:2] == ["serve"]:
    os.execv("{python}", ["{python}", "{serve}", "{ouvert}", *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect("{starter}")
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(asked, [said], [0, 1, 2])
    status = asked.recv(1)
    sys.exit(status[0] if status else 1)
"""

# All pieces of a document in one program, each with the lines it has there, so that a traceback shows the place.
PIECES = """
import json, sys
names = {"__name__": "guide"}
for line, code in json.load(sys.stdin):
    exec(compile("\\n" * (line - 1) + code, sys.argv[1], "exec"), names)
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory, smollm2, speaking_model, tiny_gpt_oss, embedding_model):
    """Folders of stores with models under the names of the guides: "quick", where SmolLM2 is a stand-in too and answers
    in seven tokens, and "real"."""
    folder = tmp_path_factory.mktemp("guides")
    tiny = ((tiny_gpt_oss, "gpt-oss:20b"), (embedding_model, "Qwen/Qwen3-Embedding-0.6B"))
    for kind, models in (("quick", (*tiny, (speaking_model(), "smollm2"))), ("real", tiny)):
        store = Store(folder / kind)
        for path, name in models:
            store.pull(str(path), name="stand-in")  # the store itself gives no model the short name of another
            record = folder / kind / "models" / "stand-in.json"
            kept = json.loads(record.read_text()) | {"name": name}
            record.with_name(f"{quote(name, safe='')}.json").write_text(json.dumps(kept))
            record.unlink()
    shared = next(parent for parent in smollm2.parents if (parent / "blobs").is_dir())
    for name in ("folders", "blobs"):
        shutil.copytree(shared / name, folder / "real" / name, symlinks=True, copy_function=linked)
    shutil.copy(shared / "models" / "smollm2.json", folder / "real" / "models")
    ouvert.load("smollm2", store=store, receipts=False, prefixes=False).close()  # packed once for all
    return folder


def linked(source, target):
    """A second name of a file, or a copy where it would lie on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def compared(stores, tmp_path_factory):
    """A comparison as the guide's first command makes it."""
    folder = tmp_path_factory.mktemp("compared") / "first"
    store = Store(stores / "quick")
    ouvert.compare("smollm2", "smollm2@4", suites=["ladder"], minutes=0.5, folder=folder, store=store)
    return folder


@pytest.fixture
def place(stores, compared, tmp_path, speaking_model, request):
    """Where commands are typed, with the files that the guides name; the folder above it is the user's home."""
    given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    document, block = given.get("document"), given.get("block")
    kind = "real" if document is not None and document.name != "clients.md" else "quick"
    data = tmp_path / ".local" / "share"
    shutil.copytree(stores / kind, data / "ouvert", symlinks=True, copy_function=linked)
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.gguf").symlink_to(speaking_model())  # what it is, its content says
    (work / "my-model").symlink_to(speaking_model())
    (work / "letter.txt").write_text("Dear Ada, the meeting is on Monday. Yours, Grace.\n")
    (work / "report.txt").write_text("Everything went well.\n")
    if block is None or "--out first" not in block.code:
        shutil.copytree(compared, work / "first")
    return work


@pytest.fixture(scope="module")
def starter():
    """Where the process listens that starts commands."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's name has 107 bytes at most
        command = [sys.executable, "-c", STARTER, f"{folder}/socket"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            yield f"{folder}/socket"
            process.terminate()


@pytest.fixture
def environment(place, starter):
    commands = place.parent / "bin"
    commands.mkdir()
    (commands / "serve.py").write_text(SERVE)
    typed = TYPED.format(python=sys.executable, serve=commands / "serve.py", ouvert=OUVERT, starter=starter)
    (commands / "ouvert").write_text(typed)
    (commands / "ouvert").chmod(0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OUVERT_", "XDG_"))}
    return kept | {
        "HOME": str(place.parent),
        "OUVERT_SERVE_PORT": "0",
        "OUVERT_THREADS": "1",
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture
def served(place, environment):
    """A server that runs: its address."""
    command = [OUVERT, "serve", "smollm2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=place) as server:
        said = []
        for line in server.stderr:
            said.append(line)
            if line.startswith("Ready at "):
                break
        else:
            raise AssertionError("".join(said))
        yield said[-1].split()[2]
        server.terminate()
        server.stderr.read()
        assert server.wait(30) == 0


def test_every_block_is_run_or_says_why_not():
    never = [block for block in BLOCKS if block.run == "never"]
    assert [block.document.name for block in never] == [name for name, _ in NEVER_RUN]
    for block, (_, beginning) in zip(never, NEVER_RUN, strict=True):
        assert block.code.startswith(beginning)
    assert {block.language for block in HERE} == {"sh", "python", "json", "toml", "text"}  # `text` is no code
    clients = {(block.document.name, block.language) for block in BLOCKS if block.run == "clients"}
    assert clients == {("clients.md", "js"), ("clients.md", "python")}


def test_a_block_without_a_mark_is_run_and_one_with_a_reason_is_not(tmp_path):
    document = tmp_path / "guide.md"
    document.write_text(
        "# A\n```sh\na\n```\n<!-- not run: it costs money -->\n```sh\nb\n```\n"
        "<!-- run by make test-clients: Node -->\n```js\nc\n```\n<!-- not run: -->\n```sh\nd\n```\n"
    )
    found = [(block.code, block.run, block.because) for block in guides.blocks_of(document)]
    assert found == [
        ("a\n", "here", ""),
        ("b\n", "never", "it costs money"),
        ("c\n", "clients", "Node"),
        ("d\n", "here", ""),
    ]


@pytest.mark.parametrize("block", SHELL, ids=map(str, SHELL))
def test_commands_run(block, place, environment, request):
    code = block.code
    if guides.ADDRESS in code.partition("#")[0]:
        code = code.replace(guides.ADDRESS, request.getfixturevalue("served"))
    command = ["bash", "-euo", "pipefail", "-c", code]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, cwd=place, timeout=120
    )
    assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("document", PROGRAMS, ids=[each.name for each in PROGRAMS])
def test_python_runs(document, place, environment, request):
    pieces = [(block.line, block.code) for block in HERE if (block.document, block.language) == (document, "python")]
    if any(guides.ADDRESS in code for _, code in pieces):
        base = request.getfixturevalue("served")
        pieces = [(line, code.replace(guides.ADDRESS, base)) for line, code in pieces]
    ran = subprocess.run(
        [sys.executable, "-c", PIECES, str(document)],
        input=json.dumps(pieces),
        capture_output=True,
        text=True,
        env=environment,
        cwd=place,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.strip()) > 5


def test_configuration_and_answers_are_those_of_the_guides(served, tmp_path):
    for block in HERE:
        if block.language == "toml" and block.document.name == "tune.md":
            written = tmp_path / "recipe.toml"
            written.write_text(block.code, encoding="utf-8")
            assert read_recipe(written)
        elif block.language == "toml":
            settings = tomllib.loads(block.code)
            assert settings["model_providers"][settings["model_provider"]]["base_url"] == guides.ADDRESS + "/v1"
        elif block.language == "json" and block.document.name == "agents.md":
            written = tmp_path / "evals.jsonl"
            written.write_text(block.code, encoding="utf-8")
            assert read_cases(written)
        elif block.language == "json" and block.document.name == "mcp.md":
            [(kind, servers)] = json.loads(block.code).items()
            assert kind in ("mcpServers", "servers")
            assert servers["ouvert"]["command"] == "ouvert"
            build_parser("mcp").parse_args(servers["ouvert"]["args"])
        elif block.language == "json":
            assert block.document.name == "web.md"
            with urllib.request.urlopen(served + "/api/ui/session") as answer:
                assert json.load(answer) == json.loads(block.code)
