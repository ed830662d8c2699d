"""Servers in processes of their own, and clients that stream from them: for tests of pools and of replicas."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
READY = re.compile(r"Ready at (http://127\.0\.0\.1:\d+) ")


class Process:
    """`ouvert serve …`, once it is ready; `lines` is what it has said since, `base` its address."""

    def __init__(self, home, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, "serve", *map(str, words), "--port", "0"],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OUVERT_HOME": str(home)},
        )
        self.base, self.lines = None, []
        for line in self.process.stderr:
            self.lines.append(line)
            if found := READY.match(line):
                self.base = found[1]
                break
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self._reader.start()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()


def asked(seed, tokens, model="tiny"):
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"Say {seed}."}],
        "seed": seed,
        "temperature": 1.0,
        "frequency_penalty": 0.3,
        "max_tokens": tokens,
        "stream": True,
        "ouvert": {"receipt": "full"},
    }


def post(base, body, path="/v1/chat/completions"):
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=120)


def stream(base, seed, tokens, model="tiny", on_text=lambda: None):
    """The deltas of an answer, how it ended, and its receipt; `on_text` is called with each delta that has text."""
    deltas, reason, receipt = [], None, None
    with post(base, asked(seed, tokens, model)) as lines:
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            receipt = event.get("ouvert", {}).get("receipt", receipt)
            for choice in event["choices"]:
                text = "".join(choice["delta"].get(name) or "" for name in ("reasoning_content", "content"))
                if text:
                    deltas.append(text)
                    on_text()
                reason = choice["finish_reason"] or reason
    return "".join(deltas), reason, receipt


def at_once(count, ask):
    """ask(n) in so many threads; what they returned, or raised."""
    found = [None] * count

    def work(n):
        try:
            found[n] = ask(n)
        except BaseException as problem:
            found[n] = problem

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
