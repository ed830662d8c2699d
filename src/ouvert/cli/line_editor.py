"""What reads the lines a person types: editing, history, completion of commands."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.answering import complain

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings


def history_path() -> Path:
    """The file that keeps what was typed; `ouvert cache clear --history` removes it."""
    from platformdirs import user_state_path

    return user_state_path("ouvert", appauthor=False) / "history"


def history_file() -> Path:
    """The same file, created if needed, readable by its owner only. Raises OSError, also for what is no file."""
    from ouvert.store import open_regular

    path = history_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(open_regular(path, os.O_CREAT | os.O_WRONLY, follow=True))
    path.chmod(0o600)
    return path


def make_session(commands: Mapping[str, str], history: Path | None, **terminal: Any) -> "PromptSession[str]":
    """What reads lines: editing, history, completion of `commands` (name -> meaning).

    Without a `history` file, what is typed is known as long as this goes on. `terminal`: other input and output, for
    tests.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    return PromptSession(
        "> ",
        history=InMemoryHistory() if history is None else kept_history(history),
        completer=make_completer(commands),
        complete_while_typing=False,
        key_bindings=key_bindings(),
        multiline=True,
        prompt_continuation=". ",
        **terminal,
    )


def kept_history(path: Path) -> "FileHistory":
    """What was typed, in a file. When that can no longer be written, it says so once and goes on without."""
    from prompt_toolkit.history import FileHistory

    class KeptHistory(FileHistory):
        said = False

        def store_string(self, string: str) -> None:
            try:
                super().store_string(string)
            except OSError as problem:
                if not self.said:
                    complain(f"what is typed is no longer kept: {problem}. Make room, or make that file yours.")
                self.said = True

    return KeptHistory(str(path))


def key_bindings() -> "KeyBindings":
    """Enter sends; Alt-Enter, or a backslash before Enter, begins a new line."""
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.char_before_cursor == "\\" and buffer.document.is_cursor_at_the_end:
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def make_completer(commands: Mapping[str, str]) -> Any:
    """Commands after a / at the start; files after /save, models after /model."""
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    from ouvert.cli.arguments import complete_stored

    class Commands(Completer):
        def get_completions(self, document: "Document", event: CompleteEvent) -> Iterator[Completion]:
            text = document.text_before_cursor
            name, space, rest = text.partition(" ")
            if not text.startswith("/"):
                return
            if not space:
                for each, meaning in commands.items():
                    if each.startswith(text):
                        yield Completion(each, start_position=-len(text), display_meta=meaning)
            elif name == "/model":
                yield from (Completion(each, start_position=-len(rest)) for each in complete_stored(rest))
            elif name == "/save":
                yield from PathCompleter(expanduser=True).get_completions(Document(rest), event)

    return Commands()


def lines_of(session: "PromptSession[str]") -> Iterator[str]:
    """What is typed, until Ctrl-D. Ctrl-C throws away the line it is pressed in."""
    while True:
        try:
            yield session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
