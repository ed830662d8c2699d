"""Agents of other programs: what they may do is mapped, or refused by name."""

import pytest

from ouvert.agents import AgentError, import_agent

CLAUDE = """---
name: Code Reviewer
description: Reviews code. Use it after changes.
tools: Read, Grep, Glob
model: sonnet
color: blue
---
You review code.
"""
OPENCODE = """---
description: Reviews code
mode: subagent
temperature: 0.1
tools:
  read: true
  write: false
  bash: false
---
You review code.
"""
GEMINI = """---
name: reviewer
description: Reviews code
kind: local
tools: [read_file, list_directory]
max_turns: 10
---
You review code.
"""
CODEX = """name = "reviewer"
description = "Reviews code"
sandbox_mode = "read-only"
developer_instructions = \"\"\"
You review code.
\"\"\"
"""


@pytest.mark.parametrize(
    ("name", "text", "called", "tools"),
    [
        ("reviewer.md", CLAUDE, "code-reviewer", ("files",)),
        ("reviewer.md", OPENCODE, "reviewer", ("files",)),
        ("reviewer.md", GEMINI, "reviewer", ("files",)),
        ("reviewer.toml", CODEX, "reviewer", ()),
    ],
)
def test_each_format_becomes_an_agent(tmp_path, name, text, called, tools):
    (tmp_path / name).write_text(text)
    imported = import_agent(tmp_path / name, "smollm2")
    assert imported.agent.name == called
    assert imported.agent.header.model == "smollm2"
    assert imported.agent.header.tools == tools
    assert imported.agent.header.approve == "default"
    assert imported.agent.instructions == "You review code."
    assert imported.notes


def test_a_tool_without_a_likeness_is_refused_by_name_and_can_be_left_out(tmp_path):
    (tmp_path / "a.md").write_text(CLAUDE.replace("Glob", "Bash(git:*, ls)"))
    with pytest.raises(AgentError, match=r"uses the tool .*Bash.*, and commands are not run on this machine"):
        import_agent(tmp_path / "a.md", "smollm2")
    assert import_agent(tmp_path / "a.md", "smollm2", without=["bash"]).agent.header.tools == ("files",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Glob", "mcp__crm__lookup", "named with their command in `mcp`"),
        ("Glob", "Teleport", "it is not known here"),
        ("color: blue", "disallowedTools: Write", "disallowedtools is not known here"),
        ("color: blue", "hooks: {}", "hooks is not known here"),
    ],
)
def test_what_may_be_a_bound_is_not_dropped(tmp_path, old, new, said):
    (tmp_path / "a.md").write_text(CLAUDE.replace(old, new))
    with pytest.raises(AgentError, match=said):
        import_agent(tmp_path / "a.md", "smollm2")


def test_toml_that_is_no_agent_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('name = "x"\n')
    with pytest.raises(AgentError, match="has no developer_instructions"):
        import_agent(tmp_path / "a.toml", "smollm2")


def test_the_names_of_tools_have_no_white_space_around_them(tmp_path):
    """Claude Code writes `Read, Bash`: the remedy has to be a command that can be typed."""
    (tmp_path / "a.md").write_text("---\nname: a\ntools: Read, Grep, Bash\n---\nHelp.\n")
    with pytest.raises(AgentError, match=r"uses the tool 'Bash', .*--without Bash`"):
        import_agent(tmp_path / "a.md", "smollm2")
    assert "the tool Grep became files" in import_agent(tmp_path / "a.md", "smollm2", without=["bash"]).notes
