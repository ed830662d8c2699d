"""HTTP: one file per endpoint family, wire types, event streams. May import assistant, chat, safety, agents, inspection
and store.

Every dialect is a translation of the assistant's events; the core is synchronous, and `answers` carries its events to
the event loop.
"""

from ouvert.serving.app import make_app
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.keys import Key, KeyFileError, Keys
from ouvert.serving.server import make_server
from ouvert.serving.service import Service
from ouvert.serving.settings import Settings

__all__ = [
    "Call",
    "Endpoint",
    "Key",
    "KeyFileError",
    "Keys",
    "Refusal",
    "Service",
    "Settings",
    "make_app",
    "make_server",
]
