"""What a whole answer tries to reach, and what stops it. In processes of their own: a guard stays for good."""

import json
import os
import subprocess
import sys

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
DURING_AN_ANSWER = """
import json, socket, sys
from pathlib import Path
import ouvert
from ouvert.store import Store

guard = ouvert.guard()
with ouvert.load(sys.argv[1], store=Store(Path(sys.argv[2])), guard=guard) as model:
    receipts = [list(model.chat("Hi"))[-1].receipt]
    for event in model.chat("Hi"):
        try:
            socket.create_connection(("192.0.2.1", 443), timeout=1)
            sys.exit("it was not denied")
        except OSError:
            pass
    receipts.append(event.receipt)
    receipts.append(list(model.chat("Hi"))[-1].receipt)
print(json.dumps([receipt["connections"] for receipt in receipts]))
"""


def test_an_attempt_to_connect_during_an_answer_is_denied_and_counted_in_its_receipt(speaking_model, tmp_path):
    command = [sys.executable, "-c", DURING_AN_ANSWER, str(speaking_model()), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    before, during, after = json.loads(ran.stdout)
    assert before == after == {"attempted": 0, "allowed": 0, "denied": 0}
    tried = {"kind": "connect", "host": "192.0.2.1", "port": 443, "allowed": False}
    assert during["denied"] == during["attempted"] == len(during["attempts"]) > 1
    assert during["attempts"][0] == tried


def test_ouvert_run_answers_under_the_guard_and_says_so_in_the_receipt(speaking_model, tmp_path):
    def connections(**changes):
        command = [sys.executable, "-c", RUN, "run", str(speaking_model()), "Hi", "--json"]
        environment = {**os.environ, "OUVERT_HOME": str(tmp_path), **changes}
        ran = subprocess.run(
            command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, text=True, timeout=60
        )
        return json.loads(ran.stdout)["receipt"].get("connections") if ran.returncode == 0 else ran.stderr

    assert connections() == {"attempted": 0, "allowed": 0, "denied": 0}
    assert connections(OUVERT_GUARD="off") is None
    assert "OUVERT_GUARD is 'no', expected on or off" in connections(OUVERT_GUARD="no")
    assert "allowing a host: 'https://a.org'" in connections(OUVERT_ALLOW_HOSTS="https://a.org")
