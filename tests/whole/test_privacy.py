"""What a whole answer tries to reach, and what stops it. In processes of their own: a guard stays for good."""

import json
import os
import subprocess
import sys

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
GUARDED = """
import json, socket, sys
from pathlib import Path
import ouvert
from ouvert.store import Store

def attempt():
    try:
        socket.create_connection(("192.0.2.1", 443), timeout=1)
        sys.exit("it was not denied")
    except OSError:
        pass

guard = ouvert.guard()
attempt()
with ouvert.load(sys.argv[1], store=Store(Path(sys.argv[2])), guard=guard) as model:
    receipts = []
    def finish(answer):
        receipts.append(list(answer)[-1].receipt)
"""


def connections_in_receipts(lines, model, store):
    """Of the receipts that these lines of a program under the guard leave, in order. It has attempted one before."""
    program = GUARDED + lines + '\nprint(json.dumps([receipt["connections"] for receipt in receipts]))'
    command = [sys.executable, "-c", program, str(model), str(store)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


NONE = {"attempted": 0, "allowed": 0, "denied": 0}
TRIED = {"kind": "connect", "host": "192.0.2.1", "port": 443, "allowed": False}


def denied(count, **more):
    return {"attempted": count, "allowed": 0, "denied": count, "attempts": [TRIED] * count, **more}


def test_every_attempt_stands_in_one_receipt_whenever_it_was_made(speaking_model, tmp_path):
    """Before the first answer, during one, and between two: in the receipt that comes next."""
    lines = """
    finish(model.chat("Hi"))
    during = model.chat("Hi")
    next(during)
    attempt()
    finish(during)
    attempt()
    attempt()
    finish(model.continue_text("Hi", max_tokens=2))
    finish(model.chat("Hi"))
    """
    assert connections_in_receipts(lines, speaking_model(), tmp_path) == [denied(1), denied(1), denied(2), NONE]


def test_of_two_answers_at_once_the_one_that_ends_first_has_the_attempts_and_the_other_says_so(
    speaking_model, tmp_path
):
    lines = """
    finish(model.chat("Hi"))
    first, second = model.chat("Hi"), model.chat("Hi")
    next(first), next(second)
    attempt()
    finish(first)
    attempt()
    attempt()
    finish(second)
    """
    found = connections_in_receipts(lines, speaking_model(), tmp_path)
    assert found == [denied(1), denied(1), denied(2, in_other_receipts=1)]


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
