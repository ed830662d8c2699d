"""OpenAI's dialect, and what vLLM adds to it: Chat Completions, Responses, Completions, Embeddings, tokens, batches."""

from ouvert.serving.openai import (
    batches,
    chat_completions,
    completions,
    embeddings,
    files,
    model_list,
    not_offered,
    responses,
    tokens,
)
from ouvert.serving.openai.batch_job import Batches
from ouvert.serving.openai.local_batch import BatchOptions, BatchOutcome, batch, facts_of, run_batch
from ouvert.serving.openai.response_store import ResponseStore

__all__ = [
    "ENDPOINTS",
    "TOKENIZER_ENDPOINTS",
    "BatchOptions",
    "BatchOutcome",
    "Batches",
    "ResponseStore",
    "batch",
    "facts_of",
    "run_batch",
]

TOKENIZER_ENDPOINTS = (*tokens.ENDPOINTS, *model_list.ENDPOINTS)
ENDPOINTS = (
    *not_offered.ENDPOINTS,
    *chat_completions.ENDPOINTS,
    *responses.ENDPOINTS,
    *completions.ENDPOINTS,
    *embeddings.ENDPOINTS,
    *TOKENIZER_ENDPOINTS,
    *files.ENDPOINTS,
    *batches.ENDPOINTS,
)
