"""OpenAI's dialect, and what vLLM adds to it: Chat Completions, Responses, Completions, Embeddings, tokens."""

from ouvert.serving.openai import chat_completions, completions, embeddings, model_list, not_offered, responses, tokens
from ouvert.serving.openai.response_store import ResponseStore

__all__ = ["ENDPOINTS", "TOKENIZER_ENDPOINTS", "ResponseStore"]

TOKENIZER_ENDPOINTS = (*tokens.ENDPOINTS, *model_list.ENDPOINTS)
ENDPOINTS = (
    *not_offered.ENDPOINTS,
    *chat_completions.ENDPOINTS,
    *responses.ENDPOINTS,
    *completions.ENDPOINTS,
    *embeddings.ENDPOINTS,
    *TOKENIZER_ENDPOINTS,
)
