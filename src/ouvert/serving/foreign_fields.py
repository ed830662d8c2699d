"""Fields of other servers and other dialects that mean something, and what to send here instead: for all dialects.

Sources of these tables and of those in the rooms: OpenAI's and Anthropic's types (openai 3.57.0, anthropic 2.13.0), the
references of vLLM, SGLang, llama.cpp's server, TGI and Ollama. A field that stands in none of the tables, and is not
read, is named beside the answer.
"""

from collections.abc import Mapping

LIKELIHOODS = "choose with temperature, top_k, top_p and min_p"
SEND_MAX_TOKENS = "send max_tokens"
SEND_MESSAGES = "send its text in messages"
OPTIONS = "send its fields as fields of the request"
ENDS_BY_ITSELF = "an answer ends where the model ends it"
# How tokens are chosen, in other servers' words: these would change the answer.
CHOOSING: Mapping[str, str] = {
    "allowed_token_ids": "send a grammar, or logit_bias",
    "bad_words": "send logit_bias",
    "bad_words_ids": "send logit_bias",
    "banned_tokens": "send logit_bias",
    "dry_multiplier": LIKELIHOODS,
    "dynatemp_range": LIKELIHOODS,
    "early_stopping": "one answer is sampled at a time; send n for several",
    "epsilon_cutoff": LIKELIHOODS,
    "eta_cutoff": LIKELIHOODS,
    "ignore_eos": ENDS_BY_ITSELF,
    "length_penalty": "one answer is sampled at a time; send n for several",
    "logits_processors": "send logit_bias",
    "lora": "this server serves models as they are",
    "lora_path": "this server serves models as they are",
    "lora_request": "this server serves models as they are",
    "min_length": ENDS_BY_ITSELF,
    "min_new_tokens": ENDS_BY_ITSELF,
    "min_tokens": ENDS_BY_ITSELF,
    "mirostat": LIKELIHOODS,
    "mirostat_mode": LIKELIHOODS,
    "no_repeat_ngram_size": "send repetition_penalty",
    "num_beams": "one answer is sampled at a time; send n for several",
    "smoothing_factor": LIKELIHOODS,
    "stop_regex": "send stop",
    "stop_token_ids": "send the tokens' text as stop",
    "tfs": LIKELIHOODS,
    "tfs_z": LIKELIHOODS,
    "top_a": LIKELIHOODS,
    "top_n_sigma": LIKELIHOODS,
    "typical": LIKELIHOODS,
    "typical_p": LIKELIHOODS,
    "use_beam_search": "one answer is sampled at a time; send n for several",
    "xtc_probability": LIKELIHOODS,
}
# What a prompt is made of, or what an answer shows: these would change what a client gets.
WHAT_IS_READ: Mapping[str, str] = {
    "add_special_tokens": "a conversation begins as its model's template says",
    "chat_template": "a model's template is chosen by the owner, with --template",
    "continue_final_message": "an answer that has been begun is not continued here; send its text to /v1/completions",
    "documents": "put their text into a message",
    "include_stop_str_in_output": "append it yourself",
    "prompt_logprobs": "send the text to /v1/completions with echo and logprobs",
    "truncate_prompt_tokens": "shorten the messages",
    "web_search_options": "this server looks nothing up; declare a tool of your own",
}
# A form of the answer in words that no server of ours reads as a form.
FORMS: Mapping[str, str] = {
    "guided_whitespace_pattern": "white space between the parts of JSON is bounded here anyway",
    "structural_tag": "send response_format with a schema",
}
