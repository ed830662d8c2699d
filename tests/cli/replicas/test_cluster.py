"""`--replicas` as the server's process has it: what it refuses, and a driver that speaks, fails and dies. Ray itself is
in tests/cluster."""

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

from ouvert.cli import main
from ouvert.cli.configuration import ConfigurationError
from ouvert.cli.replicas import cluster as module
from ouvert.cli.replicas.cluster import Cluster, Replicas, replicas_asked_for
from ouvert.cli.replicas.replica import Order
from ouvert.engine import EngineError, EngineUnreachableError

SERVES = Order(model="m", home=None, options={"threads": 1}, most=4, memory=None)
DRIVER = """
import json, os, sys
order = json.loads(sys.stdin.readline())
with open({record!r}, "a") as file:
    print(json.dumps(order | {{"id": os.getpid()}}), file=file)
for line in {lines!r}:
    print(line, flush=True)
{then}
"""
STAYS = "sys.stdin.read()"


def there(*ports):
    places = {f"replica-{n}": {"replica": str(port), "url": f"http://127.0.0.1:{port}", "key": "k"}
              for n, port in enumerate(ports, 1)}  # fmt: skip
    return json.dumps({"replicas": places})


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """driver(*lines, then=) has a driver say these lines; returns the orders that drivers were given."""
    record = tmp_path / "orders"

    def driver(*lines, then=STAYS):
        script = DRIVER.format(record=str(record), lines=lines, then=then)
        monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", script))
        return lambda: [json.loads(line) for line in record.read_text().splitlines()]

    return driver


@pytest.fixture
def cluster():
    made = []

    def cluster(count=2):
        made.append(Cluster(Replicas(count=count, cluster=None, serves=SERVES)))
        return made[-1]

    yield cluster
    for each in made:
        each.close()


def is_there(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_starts_when_every_replica_is_there_and_ends_its_driver(driver, cluster):
    orders, replicas = driver(there(1), there(1, 2)), cluster()
    replicas.start()
    assert [str(replicas.where(name).address) for name in replicas.names] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
    ]
    [order] = orders()
    assert (order["count"], order["cluster"], order["serves"]["options"]) == (2, None, {"threads": 1})
    folder = Path(order["folder"])
    assert folder.stat().st_mode & 0o077 == 0
    replicas.close()
    assert not is_there(order["id"])
    assert not folder.exists()


def test_a_driver_that_cannot_start_them_says_why(driver, cluster):
    driver(json.dumps({"failed": "the cluster has 1 machines"}))
    with pytest.raises(EngineError, match="starting 2 replicas: the cluster has 1 machines"):
        cluster().start()


def test_the_last_words_of_a_driver_that_dies_are_told(driver, cluster):
    driver(then="sys.exit('Ray is broken')")
    with pytest.raises(EngineError, match="Its last words: Ray is broken"):
        cluster().start()


def test_a_replica_that_is_not_there_yet_is_unreachable(driver, cluster):
    driver(there(1))
    replicas = cluster(1)
    replicas.start()
    with pytest.raises(EngineUnreachableError, match="replica-2: it is not started yet"):
        replicas.where("replica-2")


def test_the_pool_hears_of_replicas_that_moved_also_from_a_driver_that_was_started_again(driver, cluster, monkeypatch):
    import threading

    monkeypatch.setattr(module, "FIRST_REST", 0.01)
    orders, replicas = driver(there(1, 2)), cluster()
    replicas.start()
    moved, heard = [], threading.Semaphore(0)

    class Pool:
        def moved(self, name):
            moved.append(name)
            heard.release()

    replicas.tell(Pool())
    driver(there(1, 3))
    os.kill(orders()[0]["id"], 9)
    assert heard.acquire(timeout=30)
    assert moved == ["replica-2"]
    assert str(replicas.where("replica-2").address) == "http://127.0.0.1:3"
    assert len(orders()) == 2


def test_without_ray_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"needs Ray Serve, .* python -m pip install '"):
        replicas_asked_for(2, None, SERVES)


def test_that_line_installs_what_the_extra_has():
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"python -m pip install '{extras['optional-dependencies']['cluster'][0]}'" == module.INSTALL


def test_a_cluster_without_replicas_makes_no_sense():
    with pytest.raises(ConfigurationError, match="add --replicas N"):
        replicas_asked_for(None, "10.0.0.1:6379", SERVES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replicas", "0"], "expected a whole number, 1 or more"),
        (["--replicas", "2", "--pool", "p.toml"], "--pool and --replicas each say who computes"),
        (
            ["--replicas", "2", "--engine", "vllm", "--at", "http://127.0.0.1:1"],
            "--engine vllm and --replicas each say who computes",
        ),
        (["--cluster", "10.0.0.1:6379"], "add --replicas N"),
        (
            ["--engine-only", "--engine", "vllm", "--at", "http://127.0.0.1:1"],
            "--engine vllm says that another program computes: no other member could go on",
        ),
        (["--replicas", "2", "MODEL"], "--replicas serves one model, and 2 are named"),
    ],
)
def test_options_that_do_not_go_together_are_refused(speaking_model, capsys, words, said):
    model = str(speaking_model())
    assert main(["serve", model, "--port", "0", *[model if word == "MODEL" else word for word in words]]) in (1, 2)
    assert said in capsys.readouterr().err
