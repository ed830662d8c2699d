"""A conversation: commands on a scripted model, keys through prompt_toolkit, and the whole at a real terminal."""

import argparse
import io
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from ouvert.assistant import ContextExceeded, Finished, Message, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from ouvert.cli.answering import Screen, show_answer
from ouvert.cli.conversing import COMMANDS, Talk, hold
from ouvert.cli.line_editor import history_file, lines_of, make_completer, make_session
from ouvert.cli.thinking import ThinkingWindow, wrapped
from ouvert.engine import EngineError

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
SECONDS = {"queued": 0.0, "prefill": 0.1, "decode": 0.4}


def finished(reason="stop"):
    usage = Usage(prompt=5, reused=2, output=5, reasoning=0)
    return Finished(reason=reason, usage=usage, tool_calls=(), receipt={"seconds": SECONDS})


class ScriptedModel:
    """Says the next of its answers; an exception is raised."""

    def __init__(self, *answers, name="tiny", thinks=True):
        self.answers, self.asked, self.closed = list(answers), [], False
        self.info = SimpleNamespace(name=name, family="llama", parameters=1e6, context=64)
        self.called = name
        abilities = SimpleNamespace(efforts=("low", "medium", "high") if thinks else (), thinks=thinks)
        self.assistant = SimpleNamespace(chat=SimpleNamespace(abilities=abilities))

    def chat(self, messages, **settings):
        self.asked.append((list(messages), settings))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer

        class Answer:
            left_out = {1: ("user", 9)} if settings.get("truncate") and len(messages) > 2 else {}

            def __iter__(self):
                return iter([TextDelta(answer), finished()])

            def cancel(self):
                pass

        return Answer()

    def close(self):
        self.closed = True


def args(**changes):
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "repetition_guard", "seed", "max_tokens")
    names += ("effort", "think_budget", "response_schema", "response_grammar")
    return argparse.Namespace(**{**dict.fromkeys(names), "stop": [], **changes})


def talked(model, *lines, open_other=None, **settings):
    """(stdout, stderr, talk) of a conversation of these lines."""
    out, aside = io.StringIO(), io.StringIO()
    talk = Talk(model)
    assert hold(talk, iter(lines), Screen(out, aside), args(**settings), open_other) == 0
    return out.getvalue(), aside.getvalue(), talk


def test_what_is_said_is_remembered_and_the_model_hears_all_of_it():
    model = ScriptedModel("four", "eight")
    out, aside, _ = talked(model, "2+2?", "", "  twice?  ", temperature=0.0)
    assert out == "four\neight\n"
    assert aside.count("5 tokens, 10.0 tokens/s, first token after 0.10 s") == 2
    messages, settings = model.asked[1]
    assert [(message.role, message.content) for message in messages] == [
        ("user", "2+2?"),
        ("assistant", "four"),
        ("user", "twice?"),
    ]
    assert settings["temperature"] == 0.0


def test_a_full_context_is_said_with_the_ways_on_and_shortened_where_that_is_chosen():
    model = ScriptedModel("one", ContextExceeded(70, 64), "three")
    out, aside, talk = talked(model, "a", "b", "/shorten")
    assert "The context of 64 tokens is full. /shorten goes on without the oldest turns, /summary begins" in aside
    assert out == "one\nthree\n"  # what did not fit was said again
    assert [settings["truncate"] for _, settings in model.asked] == [False, False, True]
    assert "read without the 1 oldest messages of the conversation; the receipt names them" in aside
    assert [message.content for message in talk.said] == ["a", "one", "b", "three"]


def test_a_message_that_is_too_long_by_itself_is_not_offered_what_cannot_help():
    _, aside, talk = talked(ScriptedModel(ContextExceeded(70, 64)), "b")
    assert "This message is too long by itself" in aside
    assert "/shorten" not in aside
    assert (talk.said, talk.unsaid) == ([], None)
    model = ScriptedModel("one", ContextExceeded(170, 64), ContextExceeded(70, 64))
    _, aside, talk = talked(model, "a", "b", "/shorten")
    assert "/shorten goes on" in aside
    assert "This message is too long by itself" in aside
    assert [message.content for message in talk.said] == ["a", "one"]


def test_a_conversation_begins_anew_with_a_summary_that_the_model_writes():
    model = ScriptedModel("one", ContextExceeded(70, 64), "in short: a", "four")
    _, aside, talk = talked(model, "a", "b", "/summary")
    assert [message.content for message in model.asked[-1][0]][1:] == ["in short: a", "b"]
    assert [message.role for message in talk.said] == ["user", "assistant"] * 2
    assert talk.said[0].content.startswith("Summarise our conversation")
    assert "The conversation goes on from this summary." in aside
    _, aside, _ = talked(ScriptedModel(), "/summary", "/shorten")
    assert "/summary: nothing was said yet." in aside
    assert "From here on the oldest turns are left out" in aside


def test_instructions_stand_first_until_they_are_taken_away():
    model = ScriptedModel("a", "b")
    _, aside, _ = talked(model, "/system Be brief.", "/system", "one", "/system -", "/system", "two")
    assert model.asked[0][0][0] == Message(role="system", content="Be brief.")
    assert [message.role for message in model.asked[1][0]] == ["user", "assistant", "user"]
    assert "Instructions: Be brief." in aside
    assert "There are no instructions." in aside


def test_clear_forgets_what_was_said_and_keeps_instructions():
    model = ScriptedModel("a", "b")
    talked(model, "/system S", "one", "/clear", "two")
    assert [message.content for message in model.asked[1][0]] == ["S", "two"]


def test_another_model_goes_on_with_the_conversation():
    first, second = ScriptedModel("a"), ScriptedModel("b", name="other")
    _, aside, talk = talked(first, "one", "/model other", "two", "/model", open_other=lambda name: second)
    assert first.closed
    assert [message.content for message in second.asked[0][0]] == ["one", "a", "two"]
    assert aside.count("other: llama, 1 million parameters") == 2
    assert talk.model is second
    assert second.closed  # whoever opened the first one closes that


def test_an_error_is_one_line_and_the_conversation_goes_on_as_if_nothing_had_been_said():
    model = ScriptedModel(EngineError("it has 70 tokens, and this engine's context holds 64"), "b")
    out, aside, _ = talked(model, "long", "short")
    assert "ouvert: it has 70 tokens" in aside
    assert [message.content for message in model.asked[1][0]] == ["short"]
    assert out == "b\n"


def test_help_lists_every_command_and_unknown_ones_are_refused():
    model = ScriptedModel("a")
    _, aside, _ = talked(model, "/help", "/nonsense", "/etc/passwd is a file", "/quit", "never")
    assert all(command in aside for command in COMMANDS)
    assert "there is no command /nonsense" in aside
    assert len(model.asked) == 1  # a path is not a command


def test_save_writes_text_or_json_for_the_owner_only_and_never_over_a_file(tmp_path):
    text, facts = tmp_path / "talk.txt", tmp_path / "talk.json"
    _, aside, _ = talked(
        ScriptedModel("four"),
        "/system S",
        "2+2?",
        f"/save {text}",
        f"/save {facts}",
        f"/save {text}",
        "/save",
        f"/save {tmp_path / 'no' / 'where'}",
    )
    assert text.read_text() == "system:\nS\n\nuser:\n2+2?\n\nassistant:\nfour\n"
    saved = json.loads(facts.read_text())
    assert [message["content"] for message in saved["messages"]] == ["S", "2+2?", "four"]
    assert saved["receipts"] == [{"seconds": SECONDS}]
    assert stat.S_IMODE(text.stat().st_mode) == 0o600
    assert "3 messages written to" in aside
    assert "is there already" in aside
    assert "/save needs the name of a file" in aside
    assert "cannot be written" in aside


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ("one\rtwo\r", ["one", "two"]),
        ("one\\\rtwo\r", ["one\ntwo"]),  # a backslash before Enter goes on
        ("one\x1b\rtwo\r", ["one\ntwo"]),  # so does Alt-Enter
        ("thrown away\x03kept\r", ["kept"]),
        ("abd\x1b[Dc\r", ["abcd"]),
    ],
)
def test_keys_do_what_people_expect(tmp_path, keys, lines):
    with create_pipe_input() as given:
        given.send_text(keys + "\x04")
        session = make_session(COMMANDS, tmp_path / "history", input=given, output=DummyOutput())
        assert list(lines_of(session)) == lines


def test_history_is_kept_in_a_file(tmp_path):
    with create_pipe_input() as given:
        given.send_text("first\rsecond\r\x04")
        session = make_session(COMMANDS, tmp_path / "history", input=given, output=DummyOutput())
        assert list(lines_of(session)) == ["first", "second"]
    assert list(FileHistory(str(tmp_path / "history")).load_history_strings()) == ["second", "first"]


def completions(text):
    return [each.text for each in make_completer(COMMANDS).get_completions(Document(text), None)]


def test_commands_are_completed_and_nothing_else():
    assert completions("/s") == ["/system", "/shorten", "/summary", "/save"]
    assert completions("/") == list(COMMANDS)
    assert completions("hello /s") == []


def shown(*events, tty=False, **settings):
    out, aside = io.StringIO(), io.StringIO()
    aside.isatty = lambda: tty
    answer = show_answer([*events, finished()], Screen(out, aside, **settings))
    return out.getvalue(), aside.getvalue(), answer


THOUGHT = re.compile(r"thought for 0\.\d s(, \d+ tokens)?\n")


def test_thinking_passes_by_dimmed_and_is_folded_into_one_line():
    out, aside, answer = shown(ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("four"), tty=True)
    assert out == "four\n"
    assert aside.startswith("\x1b[2mh\x1b[0m\r\x1b[J\x1b[2mhm\x1b[0m\r\x1b[J\x1b[2mthought for 0.0 s")
    assert (answer.text, answer.reasoning) == ("four", "hm")


def test_all_thinking_stays_where_that_was_asked_for():
    aside = shown(ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("4"), tty=True, show_thinking=True)[1]
    assert aside.startswith("\x1b[2mhm\x1b[0m\n\n\x1b[2mthought for 0.0 s")


def test_thinking_can_be_hidden_and_is_plain_where_nobody_looks():
    assert shown(ReasoningDelta("hm"), TextDelta("four"), hide_thinking=True)[:2] == ("four\n", "")
    before, line = shown(ReasoningDelta("hm"), TextDelta("four"))[1].split("\n\n")
    assert before == "hm"
    assert THOUGHT.fullmatch(line)


def test_each_thought_has_its_own_size():
    class Answer(list):
        thought_tokens = 0

        def __iter__(self):
            for event in super().__iter__():
                self.thought_tokens += 4 if isinstance(event, ReasoningDelta) else 0
                yield event

    aside = io.StringIO()
    events = [ReasoningDelta("a"), TextDelta("x"), ReasoningDelta("b"), ReasoningDelta("c"), TextDelta("y"), finished()]
    show_answer(Answer(events), Screen(io.StringIO(), aside))
    assert re.findall(r"(\d+) tokens", aside.getvalue()) == ["4", "8"]


def test_the_window_shows_the_last_rows_and_leaves_nothing():
    screen = io.StringIO()
    window = ThinkingWindow(screen, rows=2)
    window.write("one\ntwo\nthr")
    window.write("ee" + "x" * 100)
    window.close()
    first, second, third = screen.getvalue().split("\x1b[J")
    assert first == "\x1b[2mtwo\nthr\x1b[0m\r\x1b[1A"
    assert second == f"\x1b[2mthree{'x' * 74}\n{'x' * 26}\x1b[0m\r\x1b[1A"
    assert third == ""
    assert list(wrapped("日本語\x1b[31mab", 4)) == ["日本", "語[3", "1mab"]  # wide signs, and no escapes of the model's


def test_effort_and_budget_can_be_changed_on_the_way():
    model = ScriptedModel("a", "b", "c")
    lines = [
        "one",
        "/effort low",
        "/think 9",
        "/effort",
        "two",
        "/effort -",
        "/think -",
        "three",
        "/effort x",
        "/think y",
    ]
    _, aside, _ = talked(model, *lines)
    assert [(settings["effort"], settings["think_budget"]) for _, settings in model.asked] == [
        (None, None),
        ("low", 9),
        (None, None),
    ]
    assert "Effort: low." in aside
    assert "Thoughts end after 9 tokens." in aside
    assert "low, medium, high" in aside
    assert "a number of tokens" in aside


def test_what_a_model_cannot_do_is_refused_when_it_is_asked_for_and_not_with_every_line_after_it():
    model = ScriptedModel("one", "two", thinks=False)
    _, aside, talk = talked(model, "/effort high", "/think 9", "hi")
    assert "/effort high: tiny has no efforts to choose" in aside
    assert "/think 9: tiny does not think before it answers" in aside
    assert (talk.effort, talk.think_budget) == (None, None)
    assert model.asked[0][1]["effort"] is None


def test_another_model_is_not_asked_for_what_it_cannot_do():
    thinker, toy = ScriptedModel("a"), ScriptedModel("b", name="toy", thinks=False)
    talked(thinker, "/effort low", "/think 9", "one", "/model toy", "two", open_other=lambda name: toy)
    assert thinker.asked[0][1]["effort"] == "low"
    assert (toy.asked[0][1]["effort"], toy.asked[0][1]["think_budget"]) == (None, None)


def test_tool_calls_are_shown_on_lines_of_their_own():
    out, _, _ = shown(
        TextDelta("Well"),
        ToolCallDelta(0, "1", "f", ""),
        ToolCallDelta(0, None, None, '{"x": 1}'),
        ToolCallDelta(1, "2", "g", "{}"),
    )
    assert out == 'Well\nf {"x": 1}\ng {}\n'


# --- at a terminal ----------------------------------------------------------------------------------------------------

SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    """A command at a pseudo-terminal: type into it, wait for what it shows."""

    def __init__(self, command, environment):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""
        self.read_to = 0

    def type(self, text):
        """At the next prompt: before it the terminal is not in raw mode, and Ctrl-D would mean something else."""
        self.wait_for(">")
        os.write(self.master, text.encode())

    def wait_for(self, text, seconds=30):
        """Everything shown up to `text`, from where the last wait ended."""
        until = time.monotonic() + seconds
        while (found := SEQUENCES.sub("", self.seen).find(text, self.read_to)) < 0:
            ready, _, _ = select.select([self.master], [], [], max(0, until - time.monotonic()))
            assert ready, f"{text!r} was not shown in {seconds} s, but: {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        plain = SEQUENCES.sub("", self.seen)[self.read_to : found]
        self.read_to = found + len(text)
        return plain

    def close(self):
        """The status it ends with, within half a minute."""
        until = time.monotonic() + 30
        try:
            while select.select([self.master], [], [], max(0, until - time.monotonic()))[0]:
                if not os.read(self.master, 4096):
                    break
        except OSError:  # how Linux says that nobody is at the other end any more
            pass
        os.close(self.master)
        return self.process.wait(max(1, until - time.monotonic()))


@pytest.fixture
def terminal(tmp_path):
    def terminal(*words):
        environment = {
            **os.environ,
            "OUVERT_HOME": str(tmp_path / "store"),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        opened.append(Terminal([sys.executable, "-c", RUN, "run", *map(str, words)], environment))
        return opened[-1]

    opened = []
    yield terminal
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def test_a_conversation_at_a_terminal(terminal, speaking_model, tmp_path):
    at = terminal(speaking_model())
    at.wait_for("/help shows the commands.")
    at.type("Who are you?\r")
    at.wait_for("Hello from a tiny model.")
    at.wait_for("first token after")
    at.type("And again?\r")
    at.wait_for("Hello from a tiny model.")
    assert int(re.search(r"(\d+) tokens of the conversation were still known", at.wait_for("known") + "known")[1]) > 30
    at.type(f"/save {tmp_path / 'talk.json'}\r")
    at.wait_for("4 messages written")
    at.type("/quit\r")
    assert at.close() == 0
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert [message["content"] for message in saved["messages"]][:2] == ["Who are you?", "Hello from a tiny model."]
    history = tmp_path / "state" / "ouvert" / "history"
    assert "Who are you?" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_ctrl_c_at_a_terminal_stops_the_answer_and_keeps_the_conversation(terminal, speaking_model, tmp_path):
    at = terminal(speaking_model({"\n": "again", "again": "again"}))
    at.type("Go on\r")
    at.wait_for("againagainagain")
    at.process.send_signal(signal.SIGINT)
    at.wait_for("stopped by you")
    at.type(f"/save {tmp_path / 'talk.json'}\r")
    at.wait_for("2 messages written")
    at.type("\x04")
    assert at.close() == 0
    [_, answer] = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert answer["content"].startswith("againagainagain")


def test_a_history_that_can_no_longer_be_written_ends_no_conversation(tmp_path, capsys):
    with create_pipe_input() as given:
        given.send_text("first\rsecond\r\x04")
        (tmp_path / "history").mkdir()
        session = make_session(COMMANDS, tmp_path / "history" / "below" / "none", input=given, output=DummyOutput())
        assert list(lines_of(session)) == ["first", "second"]
    assert capsys.readouterr().err.count("no longer kept") == 1


@pytest.mark.skipif(os.name != "posix", reason="FIFOs are POSIX's")
def test_a_history_that_is_no_file_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "ouvert").mkdir()
    os.mkfifo(tmp_path / "ouvert" / "history")
    with pytest.raises(OSError, match="a FIFO stands where a file should"):
        history_file()
    with create_pipe_input() as given:
        given.send_text("first\r\x04")
        assert list(lines_of(make_session(COMMANDS, None, input=given, output=DummyOutput()))) == ["first"]
