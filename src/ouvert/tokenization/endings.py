"""At which tokens an answer ends.

The rule: eos, whatever else the files name as an end (GGUF's eot and eom, generation_config.json's list), and every
control token of the table below that the vocabulary has. In Harmony vocabularies `<|end|>` ends a message, not the
answer, so it does not count where `<|return|>` exists.
"""

from collections.abc import Iterable, Mapping

# text of the token: which models end a turn with it
END_OF_TURN = {
    "</s>": "Llama 2, Mistral, Mixtral",
    "<EOT>": "Code Llama and Mellum",
    "<end_of_turn>": "Gemma and models trained on its template",
    "<|call|>": "gpt-oss: a tool is called",
    "<|end_of_text|>": "Llama 3 base models, Granite",
    "<|endoftext|>": "GPT-2 vocabularies: Qwen, SmolLM2, Mamba, gpt-oss",
    "<|end|>": "Phi-3 and models trained on its template",
    "<|eom_id|>": "Llama 3.1: a tool is called",
    "<|eot_id|>": "Llama 3",
    "<|im_end|>": "ChatML: Qwen, SmolLM2, Kimi K2",
    "<|return|>": "gpt-oss: the answer is finished",
    "<｜end▁of▁sentence｜>": "DeepSeek",
    "[EOS]": "Kimi K2",
    "[EOT]": "Kimi K2",
}


def end_ids(named: Iterable[int | None], control_tokens: Mapping[str, int]) -> frozenset[int]:
    """`named`: what the files say; None stands for a key that is not there."""
    texts = set(END_OF_TURN)
    if "<|return|>" in control_tokens:
        texts.remove("<|end|>")
    listed = {token for text, token in control_tokens.items() if text in texts}
    return frozenset({token for token in named if token is not None} | listed)
