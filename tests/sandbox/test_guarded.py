"""A process under the guard opens boxes, and starts no other program. Guards stay, so each test has its own process."""

import subprocess
import sys

from tests.sandbox.ways import WAYS

CODE = """
import subprocess, sys
from ouvert.safety import Denied, guard
from ouvert.sandbox import Box, box_commands, probe
g = guard()
{admitted}
try:
    found = probe()
    with Box(sys.argv[1], found=found) as box:
        print(box.cell().run("6 * 7").text.strip(), box.run(["/bin/echo", "hello"]).stdout.decode().strip())
except Exception as problem:
    print(type(problem).__name__)
for command in (["/bin/echo", "out"], [found.bwrap or "bwrap", "--dev-bind", "/", "/", "/bin/echo", "out"]):
    try:
        subprocess.run(command)
        print("it ran")
    except Denied:
        pass
print(g.counts.allowed)
"""


def under_guard(folder, admitted):
    code = CODE.format(admitted="g.admit_boxes(box_commands())" if admitted else "")
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_a_box_opens_under_a_guard_that_was_told_of_boxes_and_nothing_else_starts(tmp_path):
    works = any(not why for way, (_, _, why) in WAYS.items() if way != "landlock")
    assert under_guard(tmp_path / "f", admitted=True) == (["42 hello", "0"] if works else ["BoxRefusedError", "0"])


def test_a_guard_that_was_not_told_refuses_the_box_too(tmp_path):
    assert under_guard(tmp_path / "f", admitted=False) == ["BoxRefusedError", "0"]
