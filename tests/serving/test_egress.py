"""Every address of a running server is asked, in a process that is watched: none of them reaches another machine."""

import json
import shutil
import subprocess
import sys

from ouvert.cli.egress import seen_by_kernel, tracing_works

# Serves a model under the guard, asks every endpoint of the table what it takes, and says what was tried and answered.
SERVE = """
import http.client, json, re, sys, threading, time, asyncio, contextlib, socket
from dataclasses import replace
from pathlib import Path
from ouvert.safety import guard as put_up
guard = put_up(())
from ouvert.serving import Settings, make_app, make_server
from ouvert.serving.app import ENDPOINTS
from ouvert.serving.server import bound_socket
from ouvert.store import Store
model, folder, planted = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "planted"
HELLO = [{"role": "user", "content": "Hi"}]
LIMIT = {"options": {"num_predict": 3}, "stream": False}
ASKED = {
    "/chat/completions": {"messages": HELLO, "max_tokens": 3}, "/messages": {"messages": HELLO, "max_tokens": 3},
    "/messages/count_tokens": {"messages": HELLO}, "/responses": {"input": "Hi", "max_output_tokens": 3},
    "/completions": {"prompt": "Hi", "max_tokens": 3}, "/api/chat": {"messages": HELLO, **LIMIT},
    "/api/generate": {"prompt": "Hi", **LIMIT}, "/tokenize": {"prompt": "Hi"}, "/detokenize": {"tokens": [1, 2]},
}
settings = Settings(
    port=0, models=(model,), state=folder / "server", load_options={"threads": 1, "receipts": False, "guard": guard}
)
app = make_app(settings, Store(folder / "store"))
if planted:
    from ouvert.serving import health
    async def disloyal(call):
        with contextlib.suppress(OSError), socket.socket() as away:
            away.settimeout(1)
            away.connect(("198.51.100.7", 443))
        return await health.health(call)
    app = make_app(settings, Store(folder / "store"), endpoints=[
        replace(each, handler=disloyal) if each.path == "/health" else each for each in ENDPOINTS
    ])
server = make_server(app, settings)
answers = {}
with bound_socket("127.0.0.1", 0) as listening:
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)  # and leaves the interpreter to the server
    for endpoint in ENDPOINTS:
        if planted and endpoint.path != "/health":
            continue
        path = re.sub(r"\\{[^}]*\\}", "tiny", endpoint.path)
        connection = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=60)
        headers = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
        asked = ASKED.get(path, {"input": "Hi", "content": "Hi"}) | {"model": Path(model).name}
        body = json.dumps(asked) if endpoint.body is not None else None
        connection.request(endpoint.method, path, body, headers)
        response = connection.getresponse()
        response.read()
        answers[f"{endpoint.method} {endpoint.path}"] = response.status
        connection.close()
    server.should_exit = True
    thread.join(60)
counts = guard.counts
print(json.dumps({"answers": answers, "denied": counts.denied, "allowed": counts.allowed, "local": counts.local}))
"""


def watched(speaking_model, folder, how):
    """(what the process said, what the kernel saw or None)"""
    model = folder / "tiny"
    model.symlink_to(speaking_model())
    command, trace = [sys.executable, "-c", SERVE, str(model), str(folder), how], folder / "trace"
    strace = shutil.which("strace")
    if strace is not None and tracing_works(strace):
        command = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(trace), *command]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    seen = seen_by_kernel(trace.read_text(errors="replace").splitlines()) if trace.exists() else None
    return json.loads(ran.stdout), seen


def test_no_endpoint_reaches_another_machine(speaking_model, tmp_path):
    said, seen = watched(speaking_model, tmp_path, "loyal")
    assert (said["denied"], said["allowed"]) == (0, 0)
    assert said["local"] > 0
    assert [address for address, status in said["answers"].items() if status >= 500] == []
    answered = {address for address, status in said["answers"].items() if status == 200}
    assert {"POST /chat/completions", "POST /responses", "POST /messages", "POST /api/chat", "GET /health"} <= answered
    assert {"POST /completions", "POST /api/generate", "POST /tokenize", "POST /detokenize"} <= answered
    if seen is not None:  # without strace only what Python does is seen, and SECURITY.md says so
        assert seen["beyond"] == []
        assert seen["sockets"]


def test_an_endpoint_that_does_is_found_out(speaking_model, tmp_path):
    said, seen = watched(speaking_model, tmp_path, "planted")
    assert said["denied"] == 1
    if seen is not None:
        assert seen["beyond"] == []  # the guard let it come no further
