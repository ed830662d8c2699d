"""Tiny random checkpoints that vLLM can serve, a llama and a gpt-oss in BF16, each with a tokenizer of 256 bytes.

    python make_checkpoints.py FOLDER     (in the environment with vLLM, which has torch and transformers)

vLLM refuses gpt-oss in MXFP4 on a CPU, so its experts are in BF16 here. Weights are large enough for logits to lie
apart: greedy answers are then the same wherever arithmetic is rounded.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GptOssConfig, LlamaConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssForCausalLM
from transformers.models.llama.modeling_llama import LlamaForCausalLM

CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMALL = {
    "vocab_size": 264,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "eos_token_id": 257,
    "bos_token_id": 258,
    "pad_token_id": 258,
}
CASES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SMALL)),
    "gpt_oss": (
        GptOssForCausalLM,
        GptOssConfig(
            **SMALL,
            num_local_experts=8,
            num_experts_per_tok=2,
            sliding_window=32,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 4.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 128,
                "truncate": False,
            },
        ),
    ),
}


def write_tokenizer(folder: Path) -> None:
    """Every byte is a token, and the control tokens come after."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: n for n, sign in enumerate(signs)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHATML,
        "model_max_length": SMALL["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    for name, (kind, config) in CASES.items():
        folder = Path(sys.argv[1]) / name
        torch.manual_seed(20)
        model = kind(config)
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "norm" in key:
                    value.copy_(1 + 0.2 * torch.randn_like(value))
                else:
                    value.copy_(torch.randn_like(value) * (0.3 if "lm_head" in key else 0.1))
        model.to(torch.bfloat16).save_pretrained(folder)
        write_tokenizer(folder)


if __name__ == "__main__":
    main()
