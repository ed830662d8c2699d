"""Times transformers on CPU, bfloat16 weights decoded from a GGUF file of the llama family. Started by
side_by_side.py as

    time_transformers.py MODEL.gguf THREADS CONTEXT
"""

import json
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging


def main() -> None:
    path, threads = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.bfloat16)
    print(
        json.dumps({"ready": True, "load_seconds": time.perf_counter() - began, "system": torch.__version__}),
        flush=True,
    )
    vocabulary = model.config.vocab_size

    def ids(start: int, count: int) -> torch.Tensor:
        return torch.tensor([[(7919 * (start + i) + 13) % (vocabulary - 300) for i in range(count)]])

    for line in sys.stdin:
        request = json.loads(line)
        with torch.inference_mode():
            if request["do"] == "prefill":
                began = time.perf_counter()
                model(ids(0, request["tokens"]), logits_to_keep=1)
            else:
                depth = max(1, request["depth"])
                past = model(ids(0, depth), logits_to_keep=1, use_cache=True).cache
                began = time.perf_counter()
                for i in range(request["tokens"]):
                    past = model(ids(depth + i, 1), cache=past, use_cache=True).cache
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
