"""`ouvert serve --install-service`: the server as a systemd user unit, which starts with its owner's session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ouvert.cli.settings import VARIABLES

NAME = "ouvert.service"
SYSTEMCTL_SECONDS = 60
GRACE_SECONDS = 15  # beyond --stop-within: last words, and closing what is open


class ServiceError(Exception):
    """The service cannot be installed or taken away. The message says why and what to do."""


def unit_path() -> Path:
    """Where systemd looks for a user's own units."""
    configuration = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(configuration) / "systemd" / "user" / NAME


def unit_text(command: Sequence[str], stop_seconds: float, variables: dict[str, str]) -> str:
    """The unit that runs `command`, with these environment variables. systemd.service(5), systemd.exec(5)."""
    stop = "infinity" if stop_seconds == float("inf") else f"{stop_seconds + GRACE_SECONDS:.0f}"
    lines = [
        "[Unit]",
        "Description=Ouvert: open-weight models on this machine",
        "",
        "[Service]",
        "Type=exec",
        "ExecStart=" + " ".join(quoted(word).replace("$", "$$") for word in command),
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(variables.items())),
        "Restart=on-failure",
        "RestartSec=5",
        f"TimeoutStopSec={stop}",
        "NoNewPrivileges=yes",
        "LimitCORE=0",
        "UMask=0077",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def quoted(word: str) -> str:
    """The text escaped for any setting of systemd, where % begins a specifier. Raises ServiceError."""
    if any(ord(letter) < 32 for letter in word):
        raise ServiceError(f"installing the service: {word!r} has a control character, which no unit can hold.")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def install(words: Sequence[str], stop_seconds: float) -> Path:
    """Write the unit for `ouvert serve` with these words, start it now and with every session. Raises ServiceError."""
    variables = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    text = unit_text([sys.executable, "-m", "ouvert", "serve", *words], stop_seconds, variables)
    path = unit_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    systemctl("daemon-reload", f"{path} is written")
    systemctl("enable", f"{path} is written", NAME)
    systemctl("restart", f"{path} is written and enabled", NAME)
    return path


def uninstall() -> Path | None:
    """Stop it and take the unit away; None if there is none. Raises ServiceError."""
    path = unit_path()
    if not path.exists():
        return None
    systemctl("disable", f"{path} is still there", "--now", NAME)
    path.unlink()
    systemctl("daemon-reload", f"{path} is gone")
    return path


def systemctl(action: str, so_far: str, *arguments: str) -> None:
    program = shutil.which("systemctl")
    advice = f"`systemctl --user {' '.join((action, *arguments))}` in a session of yours does it."
    if program is None:
        raise ServiceError(f"{so_far}, but this system has no systemctl. Start `ouvert serve` as your system does it.")
    command = [program, "--user", action, *arguments]
    ran = subprocess.run(  # noqa: S603 - a fixed program with fixed words
        command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, stdin=subprocess.DEVNULL
    )
    if ran.returncode:
        raise ServiceError(f"{so_far}, but systemd refused to {action} it ({ran.stderr.strip()}). {advice}")
