"""The tools that the conformance suite asks for, behind the doors of our server: `python everything.py PORT FOLDER`.

Ouvert has none of them; what is tested is that everything the protocol can say comes through /mcp of `ouvert serve`.
"""

import asyncio
import base64
import sys
from pathlib import Path

import mcp.types as types
from mcp.server import Server

from ouvert.serving import Settings, bound_socket, make_app, make_server
from ouvert.serving.mcp import protocol
from ouvert.store import Store

PIXEL = base64.b64encode(bytes.fromhex("89504e470d0a1a0a")).decode()
SOUND = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVE").decode()
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
SCHEMA = {
    "$schema": DIALECT, "type": "object", "$defs": {"address": ADDRESS}, "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
}  # fmt: skip
USER = {
    "type": "object", "required": ["username", "email"],
    "properties": {name: {"type": "string", "description": name} for name in ("username", "email")},
}  # fmt: skip
DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
OPTIONS = ["option1", "option2", "option3"]
TITLED = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)]
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": OPTIONS},
        "titledSingle": {"type": "string", "oneOf": TITLED},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
    },
}


def text(said):
    return types.TextContent(text=said)


def resource(uri, kind, said):
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=kind, text=said))


async def progress(context):
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100)
        await asyncio.sleep(0.05)


CONTENTS = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [types.ImageContent(data=PIXEL, mime_type="image/png")],
    "test_audio_content": [types.AudioContent(data=SOUND, mime_type="audio/wav")],
    "test_embedded_resource": [
        resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        types.ImageContent(data=PIXEL, mime_type="image/png"),
        resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
    "json_schema_2020_12_tool": [text("done")],
    "test_tool_with_progress": [text("done")],
}
ASKS = {
    "test_elicitation": USER,
    "test_elicitation_sep1034_defaults": DEFAULTS,
    "test_elicitation_sep1330_enums": ENUMS,
}
NAMES = (*CONTENTS, *ASKS, "test_error_handling")


async def list_tools(context, params):
    plain = {"type": "object", "properties": {}}
    schemas = {"json_schema_2020_12_tool": SCHEMA}
    return types.ListToolsResult(
        tools=[types.Tool(name=each, description=each, input_schema=schemas.get(each, plain)) for each in NAMES]
    )


async def call_tool(context, params):
    if params.name == "test_tool_with_progress":
        await progress(context)
    if params.name in CONTENTS:
        return types.CallToolResult(content=CONTENTS[params.name])
    if params.name in ASKS:
        message = (params.arguments or {}).get("message", "Who are you?")
        reply = await context.session.elicit_form(message, ASKS[params.name], context.request_id)
        said = f"action={reply.action}, content={reply.content}"
        return types.CallToolResult(content=[text(f"Elicitation completed: {said}. User response: {said}")])
    wrong = "This tool intentionally returns an error for testing"
    return types.CallToolResult(content=[text(wrong)], is_error=True)


def main(port, folder):
    protocol.made_server = lambda *_: Server("everything", on_list_tools=list_tools, on_call_tool=call_tool)
    settings = Settings(port=port, state=folder / "state")
    server = make_server(make_app(settings, Store(folder)), settings)
    with bound_socket(settings.host, settings.port) as listening:
        asyncio.run(server.serve([listening]))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
