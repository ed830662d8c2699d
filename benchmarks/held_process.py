"""A program asked in turn with others: a line of JSON in, a line of JSON out, stopped except while it answers."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any


class HeldProcess:
    """Made when it has said a line, that it is ready; from then on it is stopped, so that its threads cannot spin."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._read()
        os.kill(self._process.pid, signal.SIGSTOP)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        os.kill(self._process.pid, signal.SIGCONT)
        assert self._process.stdin
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        os.kill(self._process.pid, signal.SIGSTOP)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended unexpectedly (exit {self._process.wait()}).")
        answer: dict[str, Any] = json.loads(line)
        return answer
