"""Fields that Ollama's endpoints do not read: taken as options, without effect, or refused with a remedy."""

from collections.abc import Mapping

from ouvert.serving.foreign_fields import CHOOSING, FORMS, WHAT_IS_READ

# What clients of Ollama send beside options, or in OpenAI's words -> the option that it is.
IN_OPTIONS: Mapping[str, str] = {
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "repetition_penalty": "repeat_penalty",
} | {
    name: name
    for name in (
        "frequency_penalty",
        "min_p",
        "num_ctx",
        "num_predict",
        "presence_penalty",
        "repeat_penalty",
        "seed",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    )
}
OLLAMA_REFUSED: Mapping[str, str] = {
    **CHOOSING,
    **WHAT_IS_READ,
    **FORMS,
    "functions": "declare `tools` instead",
    "function_call": "leave it out; whether a tool is called is the model's choice here",
    "instructions": "send them as a message of the role system",
    "logit_bias": "send messages to /v1/chat/completions",
    "n": "one answer is written; send the request again, or messages to /v1/chat/completions",
    "n_predict": "send options.num_predict",
    "output_config": "send format",
    "parallel_tool_calls": "leave it out, or send messages to /v1/chat/completions",
    "reasoning_effort": "send think",
    "response_format": "send format",
    "text": "send format",
    "tool_choice": "leave it out, or send messages to /v1/chat/completions",
}
OPTIONS_REFUSED: Mapping[str, str] = {
    **CHOOSING,
    "format": "send it beside options",
    "grammar": "send it beside options",
    "guided_choice": "send it beside options",
    "guided_grammar": "send it beside options",
    "guided_json": "send it beside options",
    "guided_regex": "send it beside options",
    "json_schema": "send it beside options, as format",
    "logit_bias": "send messages to /v1/chat/completions",
    "max_tokens": "send num_predict",
    "n_predict": "send num_predict",
    "repetition_penalty": "send repeat_penalty",
    "response_format": "send format beside options",
    "structured_outputs": "send it beside options",
    "system": "send it as a message of the role system",
    "think": "send it beside options",
}
# How Ollama uses a machine; this server knows its own.
OPTIONS_HARMLESS = frozenset(
    {
        "embedding_only",
        "f16_kv",
        "logits_all",
        "low_vram",
        "main_gpu",
        "mirostat_eta",
        "mirostat_tau",
        "num_batch",
        "num_gpu",
        "num_keep",
        "num_thread",
        "numa",
        "use_mlock",
        "use_mmap",
        "vocab_only",
    }
)
