"""`ouvert doctor --egress`: a real session, watched from inside and outside, and a statement about it.

`observe` runs it and gives facts; `statement` words them. Nothing here decides what a session does: that is
`egress_session`, which runs in processes of its own.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ouvert.safety import REACHES, REACHES_OF_EXTRAS, is_this_machine

if TYPE_CHECKING:
    from ouvert.store import Store

SECONDS = 900
NO_ROUTE = ("Network is unreachable", "Network unreachable")
# What strace writes of a call that names an address: IPv4, IPv6, and families that leave a machine otherwise.
CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\((.*)")
V4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
V6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
SOCKET = re.compile(r"\bsocket\((AF_\w+)")
LOCAL_FAMILIES = frozenset({"AF_UNIX", "AF_LOCAL", "AF_NETLINK", "AF_INET", "AF_INET6"})
DNS = 53

NOT_PROVED = (
    "It is one session, with this model, build and machine. What runs later may do otherwise: run it again.",
    (
        "The guard sees what goes through Python's socket, os and subprocess modules. Only the namespace, and strace "
        "where this statement says that it took part, saw compiled code as well."
    ),
    "Loopback is this machine, but a program that listens there (a proxy, a tunnel) may pass on what it is given.",
    (
        "`ouvert pull`, a fetch from the page, and tools or hosts that the owner allows by name, connect to others: "
        "that is what they are for."
    ),
    "Files written are those that Python opened. It says nothing of what other programs do with them.",
)


class EgressError(Exception):
    """The session could not be run. The message says why and what to do."""


def observe(store: "Store", model: str, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Run the sessions and judge them. `say` is told what is under way.

    Raises EgressError, and StoreError if the model is not here.
    """
    from ouvert import __version__
    from ouvert.engine import build_digest

    installed = store.resolve(model)
    refusal = namespaces_refused()
    runs = []
    if refusal is None:
        say(f"Session 1: {model} answers without a network. Some seconds ...")
        runs.append(run_session(store, model, namespace=True))
    say(f"Session {len(runs) + 1}: {model} answers with the machine's network, under watch. Some seconds ...")
    runs.append(run_session(store, model, namespace=False))
    facts: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"ouvert doctor --egress --model {model}",
        "ouvert": __version__,
        "build": build_digest(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "model": {"name": installed.name, "source": installed.source, "digest": runs[0]["model"]["digest"]},
        "namespace_refused": refusal,
        "runs": runs,
        "dependencies": dependencies(runs),
        "mcp_servers": mcp_servers(store),
        "not_proved": list(NOT_PROVED),
    }
    facts["problems"] = [problem for run in runs for problem in problems_of(run)]
    return facts


def namespaces_refused() -> str | None:
    """Why the kernel gives this user no network namespace; None if it does."""
    if sys.platform != "linux":
        return f"{platform.system()} has no network namespaces"
    code = "from ouvert.cli.egress_session import leave_the_network as leave; leave()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: S603 - our own code
    return None if ran.returncode == 0 else (ran.stderr.strip().splitlines() or ["no reason was given"])[-1]


def run_session(store: "Store", model: str, *, namespace: bool) -> dict[str, Any]:
    """One session in a process of its own; traced from outside where strace is installed and permitted."""
    with tempfile.TemporaryDirectory(prefix="ouvert-egress-") as folder:
        order = {
            "model": model,
            "store": str(store.home),
            "folder": folder,
            "namespace": namespace,
            "packages": [module_of(reach.package) for reach in (*REACHES, *REACHES_OF_EXTRAS)],
        }
        command = [sys.executable, "-m", "ouvert.cli.egress_session", json.dumps(order)]
        trace = Path(folder) / "trace"
        strace = None if namespace else shutil.which("strace")
        if strace is not None and tracing_works(strace):
            command = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(trace), *command]
        ran = subprocess.run(  # noqa: S603 - our own code, with the owner's model
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS
        )
        if ran.returncode != 0:
            raise EgressError(
                f"running a session with {model}: it ended with status {ran.returncode}, expected 0. It said: "
                f"{ran.stderr.strip()[-600:]} Try `ouvert run {model} Hi`; if that works, report this."
            )
        facts: dict[str, Any] = json.loads(ran.stdout)
        facts["traced"] = trace.exists()
        if facts["traced"]:
            with trace.open(encoding="utf-8", errors="replace") as lines:
                facts["trace"] = seen_by_kernel(lines)
        facts["written"] = [path.replace(folder, "<temporary>") for path in facts["written"]]
    return facts


def tracing_works(strace: str) -> bool:
    """A container may forbid it."""
    return subprocess.run([strace, "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0  # noqa: S603


def seen_by_kernel(lines: Iterable[str]) -> dict[str, Any]:
    """What strace's lines say: sockets by family, and calls that named an address beyond this machine.

    A resolver on this machine counts as beyond it: asking it is asking others.
    """
    sockets: dict[str, int] = {}
    beyond: list[str] = []
    for line in lines:
        if made := SOCKET.search(line):
            sockets[made[1]] = sockets.get(made[1], 0) + 1
            if made[1] not in LOCAL_FAMILIES:
                beyond.append(f"socket {made[1]}")
        if called := CALL.search(line):
            for port, host in (*V4.findall(called[2]), *V6.findall(called[2])):
                if not is_this_machine(host) or int(port) == DNS:
                    beyond.append(f"{called[1]} {host}:{port}")
    return {"sockets": sockets, "beyond": beyond}


def module_of(package: str) -> str:
    """What a package of that name is imported as. Raises nothing."""
    return package.replace("-", "_")


def dependencies(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every package that could open a connection: its version, whether a session imported it, why it opens none."""
    imported = {name for run in runs for name in run["imported"]}
    rows = []
    for reach in (*REACHES, *REACHES_OF_EXTRAS):
        if not reach.can:
            continue
        try:
            installed: str | None = version(reach.package)
        except PackageNotFoundError:
            if reach not in REACHES:
                continue
            installed = None
        rows.append(
            {
                "package": reach.package,
                "version": installed,
                "imported": module_of(reach.package) in imported,
                "could": reach.could,
                "silenced": reach.silenced,
            }
        )
    return rows


def mcp_servers(store: "Store") -> list[dict[str, str]]:
    """The MCP servers that agents kept here name, and what each may reach. An agent whose file cannot be read, and so
    cannot be run, is passed over."""
    from ouvert.agents import AgentError, Agents

    agents = Agents(store.home)
    found: list[dict[str, str]] = []
    for name in agents.names():
        with suppress(AgentError):
            for server, each in agents.read(name).header.mcp.items():
                where = (
                    "a program in a box, without a network"
                    if each.url is None
                    else f"the host {urlsplit(each.url).hostname}"
                )
                found.append({"agent": name, "server": server, "where": where})
    return found


def problems_of(run: Mapping[str, Any]) -> list[str]:
    """What speaks against the promise, or against the test itself: a watch that notices nothing proves nothing."""
    where = "in the namespace" if run["namespace"] else "under the guard"
    problems = []
    if run["namespace"] and run["trial_without_guard"] not in NO_ROUTE:
        problems.append(f"{where}: the trial connection was not refused by the kernel ({run['trial_without_guard']}).")
    if run["namespace"] and run["interfaces"] != ["lo"]:
        problems.append(f"{where}: there are interfaces beside loopback: {', '.join(run['interfaces'])}.")
    if run["trial_under_guard"] != "denied" or run["trial_counted"] != 1:
        problems.append(f"{where}: the guard did not deny and count the trial connection.")
    for attempt in run["connections"].get("attempts", ()):
        problems.append(f"{where}: {attempt['kind']} {attempt['host']}:{attempt.get('port', '')} was tried.")
    if run["connections"]["attempted"] and not run["connections"].get("attempts"):
        problems.append(f"{where}: {run['connections']['attempted']} connections were tried.")
    for call in run.get("trace", {}).get("beyond", ()):
        problems.append(f"{where}, seen by the kernel: {call}.")
    if not run["answer"] or run["answer"] != run["answer_served"]:
        problems.append(f"{where}: the server's answer is not the model's: {run['answer_served']!r:.80}.")
    return problems


def statement(facts: Mapping[str, Any]) -> str:
    """The facts in words, for somebody who was not there."""
    lines = [
        "STATEMENT ON NETWORK USE",
        f"Made {facts['made']} by `{facts['command']}`: run it again to check it.",
        "",
        "What was run",
        f"  Ouvert {facts['ouvert']}, build {facts['build']}",
        f"  Python {facts['python']} on {facts['system']}",
        f"  model {facts['model']['name']} ({facts['model']['source']}), {facts['model']['digest']}",
        "  Each session: load the model, answer a question, start the server on loopback, ask it the same over HTTP.",
        "  Receipts and kept prompts of these sessions went to a temporary folder, which was removed.",
    ]
    for number, run in enumerate(facts["runs"], 1):
        network = "without a network" if run["namespace"] else "with the machine's network"
        lines += ["", f"Session {number}: {network}"]
        lines += session_lines(run)
    if facts["namespace_refused"] is not None:
        lines += [
            "",
            f"No session without a network: {facts['namespace_refused']}.",
            "  So nothing but the guard" + (" and strace" if facts["runs"][0]["traced"] else "") + " watched. Where it "
            "is permitted (unprivileged user namespaces), run this again.",
        ]
    lines += ["", "Packages that could open a connection, and why they do not"]
    for row in facts["dependencies"]:
        state = "imported" if row["imported"] else "not imported"
        version_here = row["version"] or "(not installed)"
        lines.append(f"  {row['package']} {version_here} ({state}). Could it? {row['could']}. Here: {row['silenced']}.")
    lines += ["", "MCP servers that agents on this machine name; they are used while such an agent runs"]
    lines += [f"  {each['server']} of {each['agent']}: {each['where']}" for each in facts["mcp_servers"]] or ["  none"]
    lines += ["", "What this does not prove", *(f"  - {text}" for text in facts["not_proved"]), ""]
    if facts["problems"]:
        lines += ["RESULT: it does not hold.", *(f"  - {problem}" for problem in facts["problems"])]
    else:
        lines.append("RESULT: nothing tried to reach another machine.")
    return "\n".join(lines)


def session_lines(run: Mapping[str, Any]) -> list[str]:
    connections = run["connections"]
    lines = []
    if run["namespace"]:
        lines.append(f"  interfaces: {', '.join(run['interfaces'])}; no route (a namespace of the kernel's)")
        lines.append(f"  trial, before the guard was up: connect 192.0.2.1:443 gave: {run['trial_without_guard']}")
    lines += [
        f"  trial, under the guard: connect 192.0.2.1:443 gave: {run['trial_under_guard']}, and was counted",
        f"  answer: {run['answer']!r}; through {run['address']} the same: "
        + ("yes" if run["answer"] == run["answer_served"] else "NO"),
        (
            f"  connections beyond this machine: {connections['attempted']} attempted, "
            f"{connections['allowed']} allowed, {connections['denied']} refused"
        ),
        f"  within this machine: {run['local']} connections, datagrams and look-ups of its own addresses",
        f"  uses of sockets: {'; '.join(run['sockets']) or 'none'}",
        f"  names looked up: {', '.join(names_looked_up(run)) or 'none'}",
        f"  files written: {', '.join(run['written']) or 'none'}",
    ]
    if run["traced"]:
        sockets = ", ".join(f"{count} {family}" for family, count in sorted(run["trace"]["sockets"].items()))
        lines.append(f"  seen from outside (strace, compiled code too): sockets {sockets or 'none'}")
        lines.append(f"    calls to addresses beyond this machine: {', '.join(run['trace']['beyond']) or 'none'}")
    else:
        why = "" if run["namespace"] else ": it is not here or not permitted"
        lines.append("  not seen from outside by strace" + why)
    return lines


def names_looked_up(run: Mapping[str, Any]) -> list[str]:
    """The host names that were looked up, besides this machine's own."""
    found = [each["host"] for each in run["connections"].get("attempts", ()) if each["kind"] == "look up"]
    return sorted(set(found))
