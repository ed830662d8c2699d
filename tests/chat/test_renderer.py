"""Strangers' templates run in a process of their own, which may die, and takes nothing with it."""

import gc
import os
import signal
import threading

import pytest

from ouvert.chat import builtin_template, renderer
from ouvert.chat.choice import BUILTIN_BY_TOKEN
from ouvert.chat.known_templates import KNOWN_TEMPLATES
from ouvert.chat.owned_text import TEMPLATE, UNTRACED, whole
from ouvert.chat.renderer import Renderer, SandboxProcess, digest_of
from ouvert.chat.sandbox import Sandbox, TemplateError

HELLO = "{{ a }}{% if slow %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}"


@pytest.fixture
def apart():
    return SandboxProcess(HELLO)


@pytest.fixture
def without_a_sandbox(monkeypatch, tmp_path):
    """What nobody foresaw: a process whose templates are Python itself."""

    def made(program):
        (tmp_path / "hostile.py").write_text(
            "import ctypes, os, socket, sys, time\nimport ouvert.chat.renderer_process as process\n"
            "class Hostile:\n    def __init__(self, source): self.variables = ['a']\n"
            "    def render(self, variables, supplied):\n"
            "        if variables.get('a') != 'attack': return process.own('fine')\n"
            f"        {program}\n"
            "from ouvert.chat.written import own\nprocess.own = own\nprocess.Sandbox = Hostile\nprocess.main()\n"
        )
        command = renderer.renderer_command()
        changed = command[-1].replace(
            "from ouvert.chat.renderer_process import main; main()",
            f"sys.path.insert(0, {str(tmp_path)!r}); import hostile",
        )
        monkeypatch.setattr(renderer, "renderer_command", lambda: (*command[:-1], changed))
        return SandboxProcess("hostile")

    return made


def test_what_it_writes_is_what_the_sandbox_writes(apart):
    for a in (whole("Grüße 🙂\ud800", 3), "x", None, [1, {"b": whole("c", 1)}]):
        here, there = Sandbox(HELLO).render({"a": a}, 10), apart.render({"a": a}, 10)
        assert (here, here.runs) == (there, there.runs)
    assert apart.variables == Sandbox(HELLO).variables == {"a", "slow"}


def test_only_templates_that_are_known_run_in_this_process():
    for name in {name for _, name in BUILTIN_BY_TOKEN}:
        assert KNOWN_TEMPLATES[digest_of(builtin_template(name))] == f"builtin {name}"
        assert isinstance(Renderer(builtin_template(name))._runs, Sandbox)
    assert isinstance(Renderer(builtin_template("chatml") + " ")._runs, SandboxProcess)


def test_a_refusal_comes_through_and_the_process_stays():
    apart = SandboxProcess("{{ raise_exception('roles must alternate') if a else 'b' }}")
    process = apart._process
    for _ in range(2):
        with pytest.raises(TemplateError, match="refused this conversation: roles must alternate"):
            apart.render({"a": 1}, 0)
    assert apart.render({"a": 0}, 0).runs == ((1, TEMPLATE),)
    assert apart._process is process


@pytest.mark.parametrize("template", ["{% for %}", "{{ 'a' | nothing }}", "x" * 300_000, "{{ " + "(" * 9000 + " }}"])
def test_what_is_no_template_is_said_at_once(template):
    with pytest.raises(TemplateError, match=r"compiling a chat template.*--template builtin"):
        Renderer(template)


@pytest.mark.parametrize("part", [" + 1", " | upper"])
def test_endless_expressions_end(part):
    """Jinja and Python take long over some of these, and fail at others; none holds anybody up."""
    with pytest.raises(TemplateError, match=r"stopped, because|compiling a chat template"):
        Renderer("{{ a" + part * (250_000 // len(part)) + " }}").render({"a": 1}, 0)


def test_a_template_that_computes_for_ever_is_ended(apart):
    """By the sandbox, in its words."""
    with pytest.raises(TemplateError, match="takes more steps than any chat template needs"):
        apart.render({"a": "x", "slow": True}, 0)
    assert apart.render({"a": "x"}, 1) == "x"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("ctypes.string_at(0)", "it used up the stack"),
        ("bytearray(10 ** 10)", "more memory than any chat template needs"),
        ("b'x' * 10 ** 9 * 10", "more memory than any chat template needs"),
        ("sys.exit(3)", r"its process ended \(3\)"),
        ("os.kill(os.getpid(), 9)", "killed, by the system if memory is short"),
        ("os.write(1, b'\\xff' * 8)", "stopped"),
        ("os.write(1, process.LENGTH.pack(3) + b'{x}')", "stopped"),
    ],
)
def test_what_nobody_foresaw_ends_the_process_and_no_other(without_a_sandbox, program, why):
    apart = without_a_sandbox(program)
    with pytest.raises(TemplateError, match=f"stopped, because.*{why}|{why}"):
        apart.render({"a": "attack"}, 0)
    assert apart.render({"a": "fine"}, 0) == "fine", "it is started again"


@pytest.mark.parametrize("program", ["list(filter(None, iter(int, 1)))", "time.sleep(99)"])
def test_loops_of_a_library_are_ended_by_the_system_while_others_go_on(without_a_sandbox, program):
    apart = without_a_sandbox("process.signal.setitimer(process.signal.ITIMER_REAL, 0.3); " + program)
    failed = []

    def attack():
        with pytest.raises(TemplateError, match="stopped, because") as caught:
            apart.render({"a": "attack"}, 0)
        failed.append(caught)

    thread = threading.Thread(target=attack)
    thread.start()
    turns = 0
    while thread.is_alive():  # this thread keeps its turns: the loop holds no lock of this process
        turns += 1
        thread.join(0.01)
    assert failed
    assert turns > 3


def test_it_can_open_neither_files_nor_connections(without_a_sandbox):
    for program in ("open('/etc/passwd')", "socket.socket()"):
        apart = without_a_sandbox(f"try: {program}\n        except OSError as e: return process.own(str(e.errno))")
        assert apart.render({"a": "attack"}, 0) == "24", "too many open files"


def test_it_ends_with_whoever_asks(apart):
    process = apart._process
    assert process.poll() is None
    process.stdin.close()  # as the system does when a process dies
    assert process.wait(10) == 0


def test_nothing_is_left_of_it_when_the_format_is_gone():
    apart = SandboxProcess(HELLO)
    process = apart._process
    del apart
    gc.collect()
    assert process.returncode == -signal.SIGKILL, "ended, and its end was taken note of"
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def test_one_that_died_while_nobody_looked_is_started_again(apart):
    apart._process.kill()
    apart._process.wait()
    assert apart.render({"a": "x"}, 1).runs == ((1, UNTRACED),)


def test_no_more_than_a_few_are_kept_warm(monkeypatch):
    monkeypatch.setattr(renderer, "RUNNING", renderer.Running(2))
    three = [SandboxProcess(HELLO) for _ in range(3)]
    assert [each._process is not None for each in three] == [False, True, True]
    assert three[0].render({"a": "x"}, 1) == "x", "it is started again"
    assert [each._process is not None for each in three] == [True, False, True]
    with three[2]._lock:  # while it is used it does not rest
        assert three[1].render({"a": "x"}, 1) == "x"
    assert [each._process is not None for each in three] == [True, True, True]


def test_ctrl_c_at_a_terminal_does_not_reach_it(apart):
    assert os.getsid(apart._process.pid) != os.getsid(0)


def test_the_guard_of_a_process_lets_it_through_and_no_other_program():
    import subprocess
    import sys

    program = (
        "import ouvert, subprocess, sys; from ouvert.chat.renderer import SandboxProcess\n"
        "guard = ouvert.guard(); print(SandboxProcess('{{ a }}').render({'a': 'x'}, 1), guard.counts.attempted)\n"
        "try: subprocess.Popen([sys.executable, '-c', ''])\n"
        "except PermissionError as denied: print(denied)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("x 0\nstarting python")


def test_many_threads_may_ask_at_once(apart):
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append((n, apart.render({"a": n}, 1)))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(n, str(n)) for n in range(20)]
