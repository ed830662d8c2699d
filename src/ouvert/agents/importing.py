"""Agents that were written for other programs: Markdown of Claude Code, OpenCode and Gemini CLI, TOML of Codex.

What they may do is mapped to what there is here, or refused by name: an agent that silently lost a tool, or silently
kept one, is not the agent that was imported.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ouvert.agents.agent_file import FENCE, Agent, agent_of, parted, text_of
from ouvert.agents.error import AgentError

# A tool of theirs -> ours. Sources: Claude Code's and OpenCode's documentation of subagents, Gemini CLI's of tools.
TOOLS = {
    **dict.fromkeys(("read", "glob", "grep", "ls", "list", "read_file", "read_many_files", "list_directory"), "files"),
    **dict.fromkeys(("search_file_content", "write", "write_file"), "files"),
    **dict.fromkeys(("python", "code_interpreter", "notebookedit"), "python"),
}
# A tool of theirs -> why there is none like it.
LACKING = {
    **dict.fromkeys(("webfetch", "web_fetch", "websearch", "google_web_search"), "nothing here reaches the web"),
    **dict.fromkeys(("bash", "shell", "run_shell_command", "local_shell"), "commands are not run on this machine"),
    **dict.fromkeys(("edit", "multiedit", "patch", "replace", "apply_patch"), "files outside the run are not changed"),
    **dict.fromkeys(("task", "agent", "todowrite", "todoread", "save_memory"), "name other agents in `agents`"),
}
# Keys that say nothing about what the agent may do, or only to their program.
DROPPED = (
    *("color", "mode", "hidden", "permissionmode", "disable", "top_p", "nickname_candidates", "kind", "display_name"),
    *("sandbox_mode", "approval_policy", "model", "temperature", "steps", "max_turns", "maxturns", "timeout_mins"),
)
KNOWN = ("name", "description", "tools", *DROPPED)
CODEX_TEXT = ("developer_instructions", "instructions")


@dataclass(frozen=True, slots=True)
class Imported:
    """The agent, and what of the other file it does not have: its user should read that."""

    agent: Agent
    notes: tuple[str, ...]


def import_agent(path: Path, model: str, *, without: Iterable[str] = ()) -> Imported:
    """`model`: which of this machine's models answers. `without`: tools of theirs to be left out. Raises AgentError for
    a tool that there is nothing like, for a key that may be a bound, and for a file that is none of these formats."""
    try:
        text = text_of(path)
    except (OSError, ValueError) as problem:
        raise AgentError(
            f"importing {path.name}: {problem}, expected a text in UTF-8. Give an agent's file."
        ) from problem
    given, body = codex(text, path.name) if path.suffix == ".toml" else parted(text, path.name)
    given = {str(key).lower(): value for key, value in given.items()}
    unknown = [key for key in given if key not in KNOWN]
    if unknown:
        raise AgentError(
            f"importing {path.name}: {unknown[0]} is not known here, expected one of {', '.join(sorted(KNOWN))}. "
            "It may be a bound that this agent relies on: take it out of the file if it is not."
        )
    left_out = {each.lower() for each in without}
    tools, notes = tools_of(given.get("tools"), path.name, left_out)
    notes += [f"{key} was left out: {given[key]!r:.60}" for key in DROPPED if key in given]
    header = {
        "name": name_of(str(given.get("name") or path.stem)),
        "description": " ".join(str(given.get("description") or f"Imported from {path.name}.").split())[:1024],
        "model": model,
        "tools": tools,
    }
    written = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000)
    return Imported(agent_of(f"{FENCE}\n{written}{FENCE}\n{body.strip()}\n", path.name), tuple(notes))


def codex(text: str, place: str) -> tuple[dict[str, Any], str]:
    """Header and instructions of Codex's TOML. Raises AgentError."""
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as problem:
        raise AgentError(
            f"importing {place}: it is no TOML ({problem}), expected an agent of Codex. Correct it."
        ) from None
    body = next((str(given.pop(each)) for each in CODEX_TEXT if each in given), None)
    if body is None:
        raise AgentError(f"importing {place}: it has no {CODEX_TEXT[0]}, expected an agent of Codex. Add them.")
    if "model_reasoning_effort" in given:
        given.pop("model_reasoning_effort")
    return given, body


def tools_of(given: Any, place: str, left_out: set[str]) -> tuple[list[str], list[str]]:
    """Ours for theirs, and notes. Raises AgentError."""
    if given is None:
        return [], ["tools: it named none, which elsewhere means all; here it has none. Add those it needs."]
    found: dict[str, None] = {}
    notes = []
    for each in names_in(given):
        plain = re.sub(r"\(.*\)$", "", each.strip()).lower()
        if plain in left_out:
            notes.append(f"the tool {each} was left out, as you asked")
        elif plain in TOOLS:
            found[TOOLS[plain]] = None
            notes.append(f"the tool {each} became {TOOLS[plain]}")
        else:
            why = LACKING.get(plain, "it is not known here")
            if plain.startswith("mcp__"):
                why = "servers are named with their command in `mcp`"
            raise AgentError(
                f"importing {place}: it uses the tool {each!r:.80}, and {why}; expected {', '.join(sorted(TOOLS))}. "
                f"`ouvert agent import FILE --without {each}` imports it without."
            )
    return list(found), notes


def names_in(given: Any) -> list[str]:
    """Claude's text with commas, OpenCode's mapping to true and false, anybody's list."""
    match given:
        case str():
            return [each.strip() for each in re.split(r",(?![^(]*\))", given) if each.strip()]
        case Mapping():
            return [str(name) for name, wanted in given.items() if wanted]
        case list() | tuple():
            return [str(each) for each in given]
        case _:
            return [str(given)]


def name_of(given: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")
    return plain[:64].strip("-") or "imported"
