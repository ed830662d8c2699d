"""The frame of the command: instant, its table honest, its complaints one line."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ouvert import cli
from ouvert.cli import COMMANDS, KNOWN_ERRORS, build_parser, main, parsed

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"

# What costs time to import, and what no --help needs.
LITTLE = 80  # modules: 36 on Python 3.11; numpy alone brings 150
HEAVY = ("numpy", "huggingface_hub", "httpx2", "tqdm", "tokenizers", "jinja2", "prompt_toolkit", "ouvert.store")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_says_what_the_command_says(command: str) -> None:
    module = importlib.import_module(f"ouvert.cli.commands.{command}")
    assert COMMANDS[command] == module.SUMMARY
    assert build_parser(command).parse_known_args(
        [
            command,
            *{
                "run": [],
                "list": [],
                "doctor": [],
                "box": ["run", "file.py"],
                "cache": ["show"],
                "receipt": ["list"],
                "key": ["list"],
                "jobs": ["list"],
                "direction": ["list"],
                "adapter": ["list"],
                "agent": ["list"],
                "corrections": ["list"],
                "documents": ["list"],
                "tune": ["check", "data.jsonl", "--model", "model"],
                "patch": ["model", "a", "b", "--for", "x", "--against", "y"],
            }.get(command, ["bash"]),
        ]
    )


@pytest.mark.parametrize(("module", "name"), KNOWN_ERRORS)
def test_the_known_errors_exist(module: str, name: str) -> None:
    assert issubclass(getattr(importlib.import_module(module), name), Exception)


@pytest.mark.parametrize("arguments", [["--help"], [], ["pull", "--help"], ["completion", "bash"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys, contextlib, io\n"
        "from ouvert.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(sys.argv[1:])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_help_imports_little() -> None:
    """What makes it answer at once: of the standard library, argparse and what that needs."""
    script = (
        "import sys, contextlib, io\n"
        "before = len(sys.modules)\n"
        "from ouvert.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(len(sys.modules) - before)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < LITTLE


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("ouvert 0.")


@pytest.mark.parametrize(
    ("word", "advice"), [("pul", "Did you mean 'ouvert pull'?"), ("xyzzy", "There are: run, pull, list,")]
)
def test_an_unknown_command_gets_advice(word: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "--anything"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"ouvert: there is no command '{word}'. {advice}")


Install = Callable[[BaseException | None], None]


class Scripted:
    """A command that does what a test wants."""

    SUMMARY = "."

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem

    def add_arguments(self, parser: object) -> None:
        pass

    def run(self, args: object) -> int:
        if self.problem:
            raise self.problem
        return 7


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(problem: BaseException | None) -> None:
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: Scripted(problem))

    return install


def test_a_command_decides_the_status(scripted: Install) -> None:
    scripted(None)
    assert main(["list"]) == 7


def test_known_errors_are_one_line_and_others_are_not_hidden(
    scripted: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    from ouvert.store import StoreError, Unreachable
    from ouvert.weights import CheckpointError

    for problem in (StoreError("it is so"), Unreachable("it is so"), CheckpointError("it is so")):
        scripted(problem)
        assert main(["list"]) == 1
        assert capsys.readouterr().err == "ouvert: it is so\n"
    from ouvert.safety import Denied

    scripted(Denied("it is so"))  # an OSError too, but nothing is wrong with the store
    assert main(["list"]) == 1
    assert capsys.readouterr().err == "ouvert: it is so\n"
    scripted(OSError("It is so."))
    assert main(["list"]) == 1
    assert capsys.readouterr().err.startswith("ouvert: It is so. `ouvert doctor`")
    scripted(ZeroDivisionError())
    assert main(["list"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_interrupting_is_no_error_message(scripted: Install, capsys: pytest.CaptureFixture[str]) -> None:
    scripted(KeyboardInterrupt())
    assert main(["list"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_error_message(tmp_path: Path) -> None:
    surroundings = {**os.environ, "OUVERT_HOME": str(tmp_path)}
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-c", RUN, "list", "--all"], stdout=writer, stderr=subprocess.PIPE, env=surroundings
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_and_how_to_install_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"# {shell}: ")
    assert any("ouvert" in line for line in rest)


def completions(line: str, home: Path) -> set[str]:
    """What Tab offers after `line`, asked as bash asks."""
    answer = home.parent / "answer"
    surroundings = {
        **os.environ,
        "OUVERT_HOME": str(home),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    script = "import sys; sys.argv[0] = 'ouvert'; from ouvert.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", script], env=surroundings, check=True, cwd=home.parent)
    return set(answer.read_text().split("\n"))


def test_tab_completes_commands_names_and_files(tmp_path: Path) -> None:
    from ouvert.store import Store

    home = tmp_path / "home"
    (tmp_path / "mine.gguf").write_bytes(b"GGUF....")
    (tmp_path / "notes.txt").touch()
    Store(home).pull(str(tmp_path / "mine.gguf"), name="my-model")
    assert completions("ouvert rem", home) == {"remove "}
    assert completions("ouvert show m", home) == {"my-model", "mine.gguf"}
    assert completions("ouvert run my", home) == {"my-model "}
    assert completions("ouvert remove m", home) == {"my-model "}
    assert "gpt-oss:20b" in {word.strip().replace("\\", "") for word in completions("ouvert pull gpt", home)}
    assert completions("ouvert completion z", home) == {"zsh "}


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--max-tokens", "3", "small", "What is", "--seed", "1", "2+2?", "--temperature", "0"],
        ["run", "small", "What is", "2+2?", "--max-tokens", "3", "--seed", "1", "--temperature", "0"],
        ["run", "--max-tokens", "3", "--seed", "1", "--temperature", "0", "small", "What is 2+2?"],
    ],
)
def test_options_stand_before_between_and_after_the_words(words: list[str]) -> None:
    args = parsed("run", words)
    assert (args.model, " ".join(args.prompt)) == ("small", "What is 2+2?")
    assert (args.max_tokens, args.seed, args.temperature) == (3, 1, 0.0)


@pytest.mark.parametrize("command", ["pull", "show", "key", "receipt", "completion"])
def test_a_command_that_needs_words_explains_itself_without_any(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([command])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"usage: ouvert {command}")
    assert importlib.import_module(f"ouvert.cli.commands.{command}").SUMMARY in " ".join(said.err.split())


@pytest.mark.parametrize("command", ["run", "serve", "list", "config", "doctor", "fit", "box"])
def test_a_command_that_means_something_by_itself_is_done_without_words(command: str) -> None:
    """A conversation with the default model, the server of every model here: not a page of help."""
    assert callable(parsed(command, [command]).run)


@pytest.mark.parametrize(
    ("word", "meant"), [("help", "--help"), ("rm", "remove"), ("chat", "run"), ("version", "--version")]
)
def test_words_of_other_programs_are_told_what_they_are_here(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    assert f"Did you mean 'ouvert {meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--temperature", "0.3", "run", "small", "hi"], ["--temperature=0.3", "run"]])
def test_an_option_before_the_command_is_told_where_it_belongs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("ouvert: --temperature stands before the command")
    assert "`ouvert run --temperature ...`" in said


def test_a_mistyped_option_is_told_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "small", "hi", "--temprature", "0.3"])
    assert "--temprature 0.3. Did you mean --temperature?" in capsys.readouterr().err


def test_wrong_use_of_run_is_told_with_its_own_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "small", "--nope", "hi"])
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: ouvert run [OPTIONS] [MODEL] [PROMPT]"
    assert error.startswith("ouvert run: error: unrecognized arguments: --nope")
