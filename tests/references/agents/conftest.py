"""Harmony's encoding and ours, as the comparisons of chat formats have them."""

import importlib.util
from pathlib import Path

spec = importlib.util.spec_from_file_location("chat_fixtures", Path(__file__).parents[1] / "chat" / "conftest.py")
assert spec
assert spec.loader
chat_fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chat_fixtures)
make_chat, o200k = chat_fixtures.make_chat, chat_fixtures.o200k
encoding, chat = chat_fixtures.encoding, chat_fixtures.chat
