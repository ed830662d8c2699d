"""Training steps of transformers and PEFT in float32: tokens a second and peak memory, as one JSON line.

    python tune_peft.py SHAPE --threads 2 --tokens 512 --examples 16 --together 1 --steps 2

SHAPE is a JSON object: `config` names a configuration class of transformers, `values` are its, `targets` the linear
layers that carry a pair of rank 16. Weights are random, and every one is written: pages that nobody wrote count as no
memory. Half of the tokens are trained. `--together` examples share a pass. One step warms up and is not counted; the
optimiser is. Ends with an error where it would take more than 22 GB.
"""

import argparse
import json
import resource
import time

import torch
import transformers
from peft import LoraConfig, get_peft_model

RANK = 16
MOST_BYTES = 22 * 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape")
    for name in ("threads", "tokens", "examples", "together", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    torch.set_num_threads(args.threads)
    shape = json.loads(args.shape)
    config = getattr(transformers, shape["config"])(**shape["values"])
    torch.set_default_dtype(torch.float32)
    attention = shape.get("attention", "sdpa")
    with transformers.initialization.no_init_weights():
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    some = 0.02 * torch.randn(1 << 20)
    for each in model.parameters():
        for part in each.data.view(-1).split(len(some)):
            part.copy_(some[: len(part)])
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=shape["targets"]))
    model.train()
    optimiser = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-5)
    ids = torch.randint(0, config.vocab_size - 1, (args.examples, args.tokens))
    labels = ids.where(torch.arange(args.tokens) % 2 == 1, -100)
    taken = []
    for _ in range(args.steps + 1):
        began = time.perf_counter()
        optimiser.zero_grad()
        for some, wanted in zip(ids.split(args.together), labels.split(args.together), strict=True):
            loss = model(input_ids=some, labels=wanted, num_items_in_batch=labels.ge(0).sum()).loss
            loss.backward()
        optimiser.step()
        taken.append(time.perf_counter() - began)
    seconds = min(taken[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_a_second": args.examples * args.tokens / seconds, "peak_bytes": peak, "seconds": taken}))


if __name__ == "__main__":
    main()
