"""Fields that Anthropic's endpoints do not read: without effect, or refused with a remedy."""

from collections.abc import Mapping

from ouvert.serving.foreign_fields import CHOOSING, FORMS, OPTIONS, SEND_MAX_TOKENS, SEND_MESSAGES, WHAT_IS_READ

ANTHROPIC_HARMLESS = frozenset(
    {
        "billing_policy",
        "betas",
        "cache_control",
        "diagnostics",
        "fallback_credit_token",
        "inference_geo",
        "metadata",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)
ANTHROPIC_REFUSED: Mapping[str, str] = {
    **CHOOSING,
    **WHAT_IS_READ,
    **FORMS,
    "container": "nothing runs in a container here; declare a tool of your own",
    "fallbacks": "one model answers; send the request again with another",
    "frequency_penalty": "send messages to /v1/chat/completions",
    "functions": "declare `tools` instead",
    "function_call": "send `tool_choice` instead",
    "input": "it is called messages here",
    "instructions": "send system",
    "logit_bias": "send messages to /v1/chat/completions",
    "logprobs": "send messages to /v1/chat/completions",
    "max_completion_tokens": SEND_MAX_TOKENS,
    "max_new_tokens": SEND_MAX_TOKENS,
    "max_output_tokens": SEND_MAX_TOKENS,
    "max_tokens_to_sample": SEND_MAX_TOKENS,
    "mcp_servers": "this server calls no other; declare their tools, and call them yourself",
    "min_p": "send messages to /v1/chat/completions",
    "n": "one message is written; send the request again",
    "n_predict": SEND_MAX_TOKENS,
    "num_predict": SEND_MAX_TOKENS,
    "options": OPTIONS,
    "parallel_tool_calls": "send tool_choice.disable_parallel_tool_use",
    "presence_penalty": "send messages to /v1/chat/completions",
    "prompt": SEND_MESSAGES,
    "reasoning": "send thinking, or output_config.effort",
    "reasoning_effort": "send output_config.effort",
    "repeat_penalty": "send messages to /v1/chat/completions",
    "repetition_penalty": "send messages to /v1/chat/completions",
    "response_format": "send output_config.format",
    "stop": "send stop_sequences",
    "text": "send output_config.format",
}
