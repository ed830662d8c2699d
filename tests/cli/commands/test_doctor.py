"""`ouvert doctor`, and the statement of `--egress`: what it finds, and that it would find it."""

import json
import subprocess
import sys

import pytest

from ouvert.agents import Agents, agent_of
from ouvert.assistant import pack_installed
from ouvert.cli import main
from ouvert.cli.egress import dependencies, observe, problems_of, seen_by_kernel, statement
from ouvert.store import Store

# A session in which something tries to reach an address that nobody has, and says nothing of its failure.
DISLOYAL = """
import contextlib, json, socket, sys
from ouvert.cli import egress_session
loyal = egress_session.served
def served(*words):
    with contextlib.suppress(OSError), socket.socket() as away:
        away.settimeout(1)
        away.connect(("198.51.100.7", 443))
    return loyal(*words)
egress_session.served = served
print(json.dumps(egress_session.session(json.loads(sys.argv[1]))))
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def doctor(capsys, *words):
    status = main(["doctor", *words])
    return status, capsys.readouterr().out


def test_a_sound_machine_needs_nobody(home, capsys, smollm2):
    Store(home).pull(str(smollm2), name="real")
    status, said = doctor(capsys)
    assert (status, said.splitlines()[-1]) == (0, "Nothing is wrong.")
    assert "model real" in said
    status, said = doctor(capsys, "--json", "--verify")
    facts = json.loads(said)
    assert (status, facts["wrong"]) == (0, 0)
    (model,) = [each for each in facts["findings"] if each["about"] == "model real"]
    assert "every digest is right" in model["found"]


def damage(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(4096))


def test_damaged_packed_weights_are_found_by_doctor_and_by_show(home, capsys, smollm2):
    store = Store(home)
    pack_installed(store, store.pull(str(smollm2), name="real"))
    [packed] = store.resolve("real").packed
    status, said = doctor(capsys)
    assert (status, "every digest that was read is right" in said) == (0, True)
    assert main(["show", "real", "--verify"]) == 0
    damage(packed.path)
    status, said = doctor(capsys)
    assert status == 1
    assert f"the packed weights in {packed.path} are damaged: " in said
    capsys.readouterr()
    assert main(["show", "real", "--verify"]) == 1
    assert "delete that file, and it is made again" in capsys.readouterr().err
    assert packed.path.exists()  # who looks changes nothing
    packed.path.unlink()
    assert main(["show", "real", "--verify"]) == 0


def test_what_is_wrong_is_said_with_what_to_do(home, capsys, monkeypatch, speaking_model):
    Store(home).pull(str(speaking_model()), name="tiny")
    largest = max((file for file in home.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    largest.chmod(0o600)
    largest.write_bytes(largest.read_bytes()[:-7] + b"damaged")
    (home / "receipts").mkdir(mode=0o755)
    monkeypatch.setenv("OUVERT_RECIEPTS", "off")
    status, said = doctor(capsys, "--json", "--verify")
    wrong = {each["about"]: each["remedy"] for each in json.loads(said)["findings"] if each["remedy"]}
    assert status == 1
    assert "OUVERT_RECEIPTS" in wrong["environment"]
    assert "chmod go-rwx" in wrong["receipts"]
    assert "model tiny" in wrong
    status, said = doctor(capsys)
    assert status == 1
    assert "-> take it away; did you mean OUVERT_RECEIPTS?" in said


def test_a_whole_session_reaches_nobody(home, speaking_model):
    under_way = []
    servers = "{crm: {command: [crm], tools: [a]}, far: {url: 'https://key@crm.example/mcp', tools: [b]}}"
    Agents(home).keep(agent_of(f"---\nname: clerk\ndescription: Helps.\nmodel: m\nmcp: {servers}\n---\n"))
    facts = observe(Store(home), str(speaking_model()), under_way.append)
    assert facts["problems"] == []
    assert len(under_way) == len(facts["runs"])  # whoever waits is told for what
    assert [run["answer"] for run in facts["runs"]] == ["Hello from a tiny model."] * len(facts["runs"])
    if facts["namespace_refused"] is None:
        assert [run["namespace"] for run in facts["runs"]] == [True, False]
        assert facts["runs"][0]["interfaces"] == ["lo"]
    said = statement(facts)
    assert said.endswith("RESULT: nothing tried to reach another machine.")
    assert facts["model"]["digest"] in said
    assert "mcp 2.3.0 (not imported)" in said
    assert "crm of clerk: a program in a box, without a network" in said
    assert "far of clerk: the host crm.example" in said
    assert "key@" not in said
    assert facts["build"] in said


def test_a_session_that_tries_is_found_out(home, speaking_model, tmp_path):
    order = {
        "model": str(speaking_model()),
        "store": str(home),
        "folder": str(tmp_path),
        "namespace": False,
        "packages": [],
    }
    ran = subprocess.run(
        [sys.executable, "-c", DISLOYAL, json.dumps(order)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)
    facts |= {"traced": False}
    (problem,) = problems_of(facts)
    assert "198.51.100.7" in problem


def test_what_the_kernel_saw_is_judged():
    quiet = [
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3",
        'connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        'connect(4, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1 ENOENT',
    ]
    assert seen_by_kernel(quiet) == {"sockets": {"AF_INET": 1}, "beyond": []}
    away = [
        'connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("198.51.100.7")}, 16) = -1',
        'sendto(3, "..", 2, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 2',
        'connect(5, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2001:db8::1", &addr)}, 28) = -1',
        "socket(AF_VSOCK, SOCK_STREAM, 0) = 3",
    ]
    assert seen_by_kernel(away)["beyond"] == [
        "connect 198.51.100.7:443",
        "sendto 127.0.0.53:53",
        "connect 2001:db8::1:443",
        "socket AF_VSOCK",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trial_under_guard": "connected"}, "did not deny"),
        (
            {"namespace": True, "trial_without_guard": "connected", "interfaces": ["lo"]},
            "was not refused by the kernel",
        ),
        ({"namespace": True, "trial_without_guard": "Network is unreachable", "interfaces": ["eth0", "lo"]}, "eth0"),
        ({"connections": {"attempted": 2}}, "2 connections were tried"),
        ({"trace": {"beyond": ["connect 198.51.100.7:443"]}}, "seen by the kernel"),
        ({"answer_served": "other"}, "not the model's"),
    ],
)
def test_a_watch_that_notices_nothing_proves_nothing(change, said):
    sound = {
        "namespace": False,
        "trial_under_guard": "denied",
        "trial_counted": 1,
        "connections": {"attempted": 0},
        "answer": "Hello",
        "answer_served": "Hello",
    }
    assert problems_of(sound) == []
    (problem,) = problems_of(sound | change)
    assert said in problem


def test_packages_that_could_are_named_with_why_they_do_not():
    rows = dependencies([{"imported": ["tokenizers"]}])
    assert {"huggingface_hub", "httpx2", "tokenizers"} <= {row["package"] for row in rows}
    assert all(row["silenced"] and row["version"] for row in rows)
    assert [row["package"] for row in rows if row["imported"]] == ["tokenizers"]
