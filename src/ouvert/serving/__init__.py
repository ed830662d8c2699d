"""HTTP: one folder per dialect, and what all share at the root.

May import assistant, chat, safety, agents, inspection and store. Every dialect is a translation of the assistant's
events; the core is synchronous, and `answers` carries its events to the event loop. The folders (openai, anthropic,
ollama, web) import the root and never each other; only `app` imports them.
"""

from ouvert.serving.app import ENDPOINTS as EVERY_ENDPOINT
from ouvert.serving.app import ENGINE_ENDPOINTS, JOB_KINDS, make_app, serve_mcp
from ouvert.serving.comparisons import (
    COMPARISON,
    Competitor,
    OpenComparison,
    Question,
    Recorded,
    comparison_folder,
)
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.job_kinds import JobKind, Work
from ouvert.serving.keys import Key, KeyFileError, Keys
from ouvert.serving.openai import BatchOptions, BatchOutcome, batch, facts_of, run_batch
from ouvert.serving.peers import this_user, user_who_listens, users_can_be_told
from ouvert.serving.server import allow_more_files, bound_socket, make_server
from ouvert.serving.service import Service
from ouvert.serving.settings import Settings
from ouvert.serving.tunings import TUNING, Rows

__all__ = [
    "COMPARISON",
    "ENGINE_ENDPOINTS",
    "EVERY_ENDPOINT",
    "JOB_KINDS",
    "TUNING",
    "BatchOptions",
    "BatchOutcome",
    "Call",
    "Competitor",
    "Endpoint",
    "JobKind",
    "Key",
    "KeyFileError",
    "Keys",
    "OpenComparison",
    "Question",
    "Recorded",
    "Refusal",
    "Rows",
    "Service",
    "Settings",
    "Work",
    "allow_more_files",
    "batch",
    "bound_socket",
    "comparison_folder",
    "facts_of",
    "make_app",
    "make_server",
    "run_batch",
    "serve_mcp",
    "this_user",
    "user_who_listens",
    "users_can_be_told",
]
