"""Token ids in, token ids out: the engine alone over HTTP, in vLLM's words. docs/formats/engine-http.md."""

from ouvert.serving.token_ids.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
