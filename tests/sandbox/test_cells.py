"""The stateful Python cell: what it shows, what it remembers, how it ends."""

import threading
import time

from tests.sandbox.ways import at_every_level

from ouvert.sandbox import Box, Died, Interrupted, Output
from ouvert.sandbox.outcome import MOST_CHARACTERS


@at_every_level
def test_what_is_printed_comes_before_the_last_expression_as_in_a_notebook(cell):
    result = cell.run("print('first')\n6 * 7")
    assert isinstance(result, Output)
    assert (result.text, result.failed, result.figures, result.left_out) == ("first\n42\n", False, (), 0)
    assert cell.run("None").text == ""
    assert cell.run("_").text == "42\n"


@at_every_level
def test_variables_functions_and_imports_are_remembered(cell):
    cell.run("import math\ndef area(r):\n    return math.pi * r ** 2\nr = 2")
    assert cell.run("round(area(r), 3)").text == "12.566\n"


@at_every_level
def test_an_exception_is_shown_with_the_lines_of_the_code_alone(cell):
    result = cell.run("x = 1\nx / 0")
    assert result.failed
    assert result.text.splitlines()[1:3] == ['  File "<cell 1>", line 2, in <module>', "    x / 0"]
    assert result.text.endswith("ZeroDivisionError: division by zero\n")
    assert "own cell" not in result.text
    assert cell.run("x").text == "1\n"
    assert "SyntaxError" in cell.run("x = = 1").text
    assert cell.run("raise SystemExit(3)").failed
    assert cell.run("x").text == "1\n"


def test_an_endless_loop_is_interrupted_and_the_variables_are_kept(cell):
    result = cell.run("x = 5\nprint('on')\nwhile True:\n    pass", seconds=0.3)
    assert isinstance(result, Interrupted)
    assert result.text.startswith("on\n")
    assert "KeyboardInterrupt" in result.text
    assert cell.run("x").text == "5\n"


def test_waiting_is_interrupted_too(cell):
    assert isinstance(cell.run("import time; time.sleep(60)", seconds=0.2), Interrupted)


def test_what_does_not_stop_is_ended_and_the_next_run_begins_anew(cell):
    cell.run("x = 5")
    result = cell.run(
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n" * 3, seconds=0.2
    )
    if isinstance(result, Interrupted):  # the interrupt fell between two of the loops' own lines
        result = cell.run("import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass", seconds=0.2)
    assert isinstance(result, Died)
    assert "did not stop when it was interrupted after 0.2 seconds" in result.reason
    assert "variables are lost" in result.reason
    assert "NameError" in cell.run("x").text


def test_a_crash_is_told_and_files_are_kept(box, cell):
    result = cell.run("open('kept.txt', 'w').write('here')\nimport ctypes\nctypes.string_at(0)")
    assert isinstance(result, Died)
    assert "status -11" in result.reason
    assert cell.run("open('kept.txt').read()").text == "'here'\n"
    assert isinstance(cell.run("import os; os._exit(3)"), Died)


@at_every_level
def test_a_flood_of_output_is_cut_in_the_middle_and_says_so(cell):
    result = cell.run("print('a' * 10_000_000 + 'z')")
    assert result.left_out == 10_000_002 - MOST_CHARACTERS
    assert len(result.text) < MOST_CHARACTERS + 100
    assert f"\n[{result.left_out:,} characters were left out here: at most 50,000 are shown]\n" in result.text
    assert result.text.endswith("az\n")
    exact = cell.run(f"print('b' * {MOST_CHARACTERS - 1})")
    assert (exact.left_out, len(exact.text)) == (0, MOST_CHARACTERS)


def test_an_endless_flood_takes_no_memory_here_and_ends_with_its_time(cell):
    result = cell.run("while True: print('y' * 1000)", seconds=0.5)
    assert isinstance(result, Interrupted)
    assert len(result.text) < MOST_CHARACTERS + 100


def test_output_of_other_programs_and_of_the_c_library_is_there_in_order(cell):
    code = "import os, subprocess\nprint('one')\n"
    code += "subprocess.run(['/bin/echo', 'two'])\nos.write(2, b'three\\n')\nprint('four')"
    assert cell.run(code).text == "one\ntwo\nthree\nfour\n"


def test_code_that_forks_does_not_answer_twice(cell):
    assert cell.run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint(pid > 0)").text in (
        "True\n",
        "False\nTrue\n",
    )
    assert cell.run("1 + 1").text == "2\n"


@at_every_level
def test_hashes_are_the_same_in_every_box(opened):
    first, second = (opened(name).cell().run("list({'a', 'b', 'c', 'd'}), hash('box')").text for name in ("a", "b"))
    assert first == second


def test_forged_replies_fool_the_box_alone(cell):
    """What comes out of a box is believed to be output, and never more."""
    code = (
        "import os, struct, json\n"
        "for answer in (b'no JSON', b'[]', json.dumps({'number': 7, 'status': 'done'}).encode(),\n"
        "               json.dumps({'number': 1, 'status': 'done', 'figures': ['not base64 \\ud800', 3]}).encode()):\n"
        "    for fd in range(3, 64):\n"
        "        try: os.write(fd, struct.pack('<I', len(answer)) + answer)\n"
        "        except OSError: pass\n"
    )
    result = cell.run(code, seconds=5)
    assert isinstance(result, Output)
    assert (result.figures, result.failed) == ((), False)
    assert cell.run("1 + 1").text == "2\n"
    assert isinstance(
        cell.run("for fd in range(3, 64):\n    try: os.write(fd, b'\\xff' * 9000)\n    except OSError: pass", 1), Died
    )
    assert cell.run("2 + 2").text == "4\n"


def test_a_figure_is_a_png(box, cell, drawing):
    result = cell.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()", seconds=60)
    if drawing(box):
        assert [figure[:8] for figure in result.figures] == [b"\x89PNG\r\n\x1a\n"]
        assert result.text == ""
        assert cell.run("1").figures == ()
    else:
        assert "ModuleNotFoundError" in result.text


@at_every_level
def test_a_run_is_ended_from_another_thread(box, cell):
    cell.start()
    threading.Timer(0.3, box.close).start()
    result = cell.run("while True: pass", seconds=30)
    assert isinstance(result, Died)
    assert "ended from outside" in result.reason
    assert result.seconds < 25


def test_the_level_stands_in_what_comes_out(box, cell):
    assert cell.run("1").level is box.level
    assert box.run([box.python, "-c", "1"]).level is box.level


def test_a_cell_that_nobody_uses_ends_by_itself_and_says_so_once(tmp_path):
    with Box(tmp_path / "f") as box:
        cell = box.cell(idle=0.3)
        assert cell.run("x = 1\nopen('kept.txt', 'w').write('k')\nx").text.endswith("1\n")
        ended = time.monotonic() + 20
        while cell._process is not None and time.monotonic() < ended:
            time.sleep(0.05)
        assert cell._process is None
        assert "NameError" in cell.run("x").text
        assert (cell.forgot, cell.forgot) == (True, False)
        assert cell.run("open('kept.txt').read()").text.strip("\n'") == "k"


def test_a_cell_that_is_used_does_not_end(tmp_path):
    with Box(tmp_path / "f") as box:
        cell = box.cell(idle=1.5)
        cell.run("x = 0")
        for _ in range(5):
            assert "Error" not in cell.run("import time\ntime.sleep(0.4)\nx += 1").text
        assert cell.run("x").text == "5\n"
        assert not cell.forgot
