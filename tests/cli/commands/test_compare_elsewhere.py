"""`ouvert compare` with contestants that other servers compute: the permit, the question before, the folder behind."""

import io
import os
import subprocess
import sys

import pytest
from tests.evaluation.contestants.conftest import Reply, Stub, events, lines, whole

from ouvert.cli import main
from ouvert.evaluation import EvaluationError, Evidence, OtherServers, compare
from ouvert.evaluation.contestants.exchange import Patience

CHAT = "/v1/chat/completions"
ANSWER = events({"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}, b"[DONE]")
# No answer of the stub is waited for: it gives them at once.
ASKED = ("--suites", "ladder", "--time", "0.2s")


@pytest.fixture
def stub():
    made = Stub()
    made.says("/v1/models", whole({"data": [{"id": "m"}]}))
    made.says(CHAT, ANSWER)
    made.says("/api/tags", whole({"models": [{"name": "m:latest", "digest": "ab"}]}))
    made.says("/api/show", whole({}))
    made.says("/api/version", whole({"version": "1"}))
    made.says("/api/chat", lines({"message": {"content": "4"}, "done": True, "done_reason": "stop"}))
    yield made
    made.close()


@pytest.fixture
def allowing(tmp_path, monkeypatch):
    """The owner's configuration, which allows this machine's address as a remote one. No guard: it stays for good."""
    path = tmp_path / "config.toml"
    path.write_text('guard = false\n[remote]\nallow = ["127.0.0.1"]\n')
    monkeypatch.setenv("OUVERT_CONFIG", str(path))
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    return path


def asks(stub):
    return len(stub.bodies(CHAT))


def test_without_the_permit_no_socket_opens_from_the_command(tmp_path):
    body = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
from ouvert.cli import main
print(main(["compare", "--remote", "openai:gpt-5", "smollm2"]), seen)
"""
    ran = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={"HOME": str(tmp_path), "OPENAI_API_KEY": "sk-1"},
    )  # fmt: skip
    assert ran.stdout == "1 []\n"
    assert "no connection was opened" in ran.stderr
    assert not list(tmp_path.glob("comparison*"))


def test_two_servers_of_this_machine_are_compared_and_the_plan_says_where_they_are(stub, allowing, tmp_path, capsys):
    names = [f"openai:{stub.base}/m", f"ollama:{stub.base}/m"]
    assert main(["compare", *names, *ASKED, "--out", str(tmp_path / "found")]) == 0
    evidence = Evidence.open(tmp_path / "found")
    assert evidence.plan.labels == tuple(names)
    assert {facts.where for facts in evidence.plan.contestants} == {"local"}
    assert {each.outcome.text for each in evidence.answers()} == {"4"}
    assert not any(suite.remote for suite in evidence.plan.suites)
    assert "leaves the machine" not in capsys.readouterr().err


def test_nothing_is_sent_before_the_owner_says_yes_and_nothing_after_a_no(
    stub, allowing, tmp_path, monkeypatch, capsys
):
    words = ["compare", f"ollama:{stub.base}/m", "--remote", f"openai:{stub.base}/m", *ASKED, "--out"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main([*words, str(tmp_path / "no")]) == 1
    assert asks(stub) == 0
    assert not (tmp_path / "no").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main([*words, str(tmp_path / "nobody")]) == 1
    assert asks(stub) == 0
    said = capsys.readouterr().err
    assert "leaves the machine" in said
    assert "Nothing was sent." in said
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main([*words, str(tmp_path / "yes")]) == 0
    evidence = Evidence.open(tmp_path / "yes")
    assert asks(stub) == sum(row.count for row in evidence.plan.rows)
    assert all(suite.remote for suite in evidence.plan.suites)
    assert evidence.plan.contestants[1].about["leaves_machine"] is True


def test_a_plan_says_what_would_leave_and_sends_nothing(stub, allowing, capsys):
    words = ["compare", f"ollama:{stub.base}/m", "--remote", f"openai:{stub.base}/m", *ASKED, "--plan"]
    assert main(words) == 0
    assert "leaves the machine" in capsys.readouterr().err
    assert asks(stub) == 0


def test_the_owners_prompts_stay_until_the_owner_names_the_set(stub, allowing, tmp_path, capsys):
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text('{"prompt": "What is 2+2?", "expected": "4"}\n')
    words = [
        "compare",
        "--remote",
        f"openai:{stub.base}/m",
        f"ollama:{stub.base}/m",
        "--prompts",
        str(prompts),
        "--yes",
    ]
    assert main([*words, "--suites", "mine", "--out", str(tmp_path / "no")]) == 1
    assert "--send mine" in capsys.readouterr().err
    assert asks(stub) == 0
    assert main([*words, "--suites", "mine", "--send", "mine", "--out", str(tmp_path / "yes")]) == 0
    assert asks(stub) == 1
    (suite,) = Evidence.open(tmp_path / "yes").plan.suites
    assert (suite.name, suite.remote, suite.withheld) == ("mine", True, True)


def test_a_server_that_dies_ends_the_run_and_resume_goes_on_there(stub, allowing, tmp_path, capsys):
    folder = tmp_path / "found"
    names = [f"ollama:{stub.base}/m", f"openai:{stub.base}/m"]
    stub.says(CHAT, *[ANSWER] * 6, Reply([b'{"error": "out of order"}'], 418))
    assert main(["compare", *names, *ASKED, "--out", str(folder)]) == 1
    assert "out of order" in capsys.readouterr().err
    kept = {(each.contestant, each.item) for each in Evidence.open(folder).answers()}
    assert kept
    stub.says(CHAT, ANSWER)
    before = asks(stub)
    assert main(["compare", "resume", str(folder)]) == 0
    evidence = Evidence.open(folder)
    missing = sum(row.count for row in evidence.plan.rows) - sum(name == names[1] for name, _ in kept)
    assert asks(stub) - before == missing
    assert len(list(evidence.answers())) == 2 * sum(row.count for row in evidence.plan.rows)


def test_running_again_asks_again_before_anything_leaves(stub, allowing, tmp_path, monkeypatch, capsys):
    folder, again = tmp_path / "found", tmp_path / "again"
    words = ["compare", f"ollama:{stub.base}/m", "--remote", f"openai:{stub.base}/m", *ASKED]
    assert main([*words, "--yes", "--out", str(folder)]) == 0
    before = asks(stub)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["compare", "rerun", str(folder), "--out", str(again)]) == 1
    assert asks(stub) == before
    assert not again.exists()
    capsys.readouterr()
    assert main(["compare", "rerun", str(folder), "--yes", "--out", str(again)]) == 0
    said = capsys.readouterr()
    assert "leaves the machine" in said.err
    assert f"{len(Evidence.open(folder).answers())} answers were held together, 0 of them differ." in said.out
    assert "No contestant of this comparison promises the same answers again" in said.out
    assert asks(stub) == 2 * before
    allowing.write_text("guard = false\n")
    assert main(["compare", "rerun", str(folder), "--yes", "--out", str(tmp_path / "third")]) == 1
    assert "does not name" in capsys.readouterr().err


# --- Python ---


def test_python_asks_other_servers_by_name_and_remote_ones_by_a_permit(stub, tmp_path):
    others = OtherServers(allowed=["127.0.0.1"], key=os.environ.get, patience=Patience(attempts=1))
    found = compare(
        f"ollama:{stub.base}/m", others.remote(f"openai:{stub.base}/m"), suites=["ladder"], minutes=0.2 / 60,
        folder=tmp_path / "found",
    )  # fmt: skip
    assert [facts.where for facts in Evidence.open(found.folder).plan.contestants] == ["local", "remote"]
    with pytest.raises(EvaluationError, match="no connection was opened"):
        OtherServers().remote("openai:gpt-5")
    with pytest.raises(EvaluationError, match="another machine"):
        compare("openai:https://api.openai.com/v1/gpt-5", folder=tmp_path / "none")


def test_one_server_named_twice_is_refused(stub, tmp_path):
    with pytest.raises(EvaluationError, match="named twice"):
        compare(f"ollama:{stub.base}/m", f"ollama:{stub.base}/m", folder=tmp_path / "none")


def test_an_effort_for_all_makes_a_contestant_each(stub, allowing, tmp_path):
    stub.says("/api/show", whole({"capabilities": ["thinking"]}))
    folder = tmp_path / "found"
    assert main(["compare", f"ollama:{stub.base}/m", "--effort", "low,high", *ASKED, "--out", str(folder)]) == 0
    assert Evidence.open(folder).plan.labels == (f"ollama:{stub.base}/m:low", f"ollama:{stub.base}/m:high")


def test_both_languages_are_asked_by_one_word(stub, allowing, tmp_path, capsys):
    folder = tmp_path / "found"
    words = ["compare", f"ollama:{stub.base}/m", *ASKED, "--lang"]
    assert main([*words, "both", "--out", str(folder)]) == 0
    plan = Evidence.open(folder).plan
    assert plan.languages == ("en", "fr")
    assert [row.row for row in plan.rows] == ["ladder/en", "ladder/fr"]
    capsys.readouterr()
    assert main([*words, "de"]) == 1
    assert "--lang has 'de', expected en, fr or both." in capsys.readouterr().err
