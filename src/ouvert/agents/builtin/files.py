"""`files`: the files of the run itself. Nothing outside its folder is reached, so none of these is an effect."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ouvert.agents.error import ToolError
from ouvert.agents.tools import AgentTool, tool_of

MOST_FILES, LARGEST = 1000, 10_000_000
Name = Annotated[str, Field(description="such as notes.md or drafts/letter.md", max_length=200)]


def files_tools(folder: Path) -> list[AgentTool]:
    """`list_files`, `read_file` and `write_file` below one folder. Raises nothing."""

    def list_files() -> str:
        """List the files of this task, with their sizes in bytes."""
        found = [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.is_symlink()]
        lines = [f"{each.relative_to(folder)} {each.stat().st_size}" for each in found[:MOST_FILES]]
        return "\n".join(lines) or "There are no files."

    def read_file(name: Name) -> str:
        """Read a file of this task, as text."""
        place = inside(folder, name)
        if not place.is_file():
            raise ToolError(f"there is no file {name!r}. list_files lists them.")
        if place.stat().st_size > LARGEST:
            raise ToolError(f"{name} is larger than {LARGEST:,} bytes.")
        return place.read_bytes().decode(errors="replace")

    def write_file(name: Name, text: str) -> str:
        """Write a file of this task; one of that name is replaced."""
        place = inside(folder, name)
        if len(text.encode()) > LARGEST:
            raise ToolError(f"the text is larger than {LARGEST:,} bytes.")
        if place.is_dir():
            raise ToolError(f"{name} is a folder.")
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".writing-{place.name}")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, place)
        return f"{name} is written: {len(text.encode()):,} bytes."

    return [
        tool_of(list_files, effect="read", foreign=False),
        tool_of(read_file, effect="read", foreign=True),  # whoever wrote it
        tool_of(write_file, effect="read", foreign=False),
    ]


def inside(folder: Path, name: str) -> Path:
    """The place of that name. Raises ToolError for one that is elsewhere, or reached by a link."""
    place = folder / name
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or not parts or "\0" in name:
        raise ToolError(f"{name!r} is not below this task's folder. Give a plain name.")
    for each in (place, *place.parents):
        if each == folder:
            return place
        if each.is_symlink():
            raise ToolError(f"{name!r} is a link, and links are not followed.")
    raise ToolError(f"{name!r} is not below this task's folder. Give a plain name.")
