"""`ouvert mcp`, started and spoken to over its standard input and output, as a program would."""

import asyncio
import json
import os
import sys

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from ouvert.cli import main
from ouvert.cli.commands import mcp as command

HELLO = "Hello from a tiny model."


@pytest.fixture
def started(speaking_model, tmp_path):
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "ouvert", "mcp", str(model), "--threads", "1", "--receipts", "off"],
        env={**os.environ, "OUVERT_HOME": str(tmp_path / "home"), "XDG_DATA_HOME": str(tmp_path / "data")},
    )


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_program_that_starts_it_asks_as_its_owner(started, mode):
    async def ask():
        async with Client(stdio_client(started), mode=mode) as client:
            tools = (await client.list_tools()).tools
            answer = await client.call_tool("ask_model", {"question": "Who are you?"})
            documents = await client.call_tool("documents_collections", {})
            return tools, answer, documents

    tools, answer, documents = asyncio.run(ask())
    assert len(tools) == 8
    assert answer.structured_content["answer"] == HELLO
    assert documents.structured_content == {"collections": []}


def test_nothing_but_the_protocol_is_written_and_it_ends_with_its_input(started):
    async def speak():
        process = await asyncio.create_subprocess_exec(
            started.command, *started.args, env=started.env, stdin=-1, stdout=-1, stderr=-1
        )
        said, _ = await asyncio.wait_for(process.communicate(b"no JSON\n\n"), 60)
        return said, process.returncode

    said, status = asyncio.run(speak())
    for line in said.splitlines():
        assert json.loads(line)["jsonrpc"] == "2.0"
    assert status == 0


def test_without_the_library_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setenv("OUVERT_GUARD", "off")
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert main(["mcp"]) == 1
    assert ".[mcp]" in capsys.readouterr().err


def test_a_closed_input_is_said(monkeypatch, capsys):
    monkeypatch.setenv("OUVERT_GUARD", "off")
    monkeypatch.setattr("sys.stdin", None)
    assert main(["mcp"]) == 1
    assert "its standard input or output is closed" in capsys.readouterr().err
