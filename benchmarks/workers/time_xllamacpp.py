"""Times llama.cpp's server inside the prebuilt wheel xllamacpp. Started by side_by_side.py as

    time_xllamacpp.py MODEL.gguf THREADS CONTEXT

Reads one JSON request a line, answers one JSON object a line. Seconds are the server's own timings.
"""

import json
import os
import sys
import time

import xllamacpp


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")  # the server writes its log to standard output
    os.dup2(2, 1)

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    path, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = context, 2048, 512, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.endpoint_metrics = False
    began = time.perf_counter()
    server = xllamacpp.Server(params)
    say(ready=True, load_seconds=time.perf_counter() - began, system=xllamacpp.get_system_info().strip())

    salt = 0
    for line in sys.stdin:
        request = json.loads(line)
        prompt_tokens = request["tokens"] if request["do"] == "prefill" else max(1, request["depth"])
        # A prompt measured for prefill differs from its first token on, so that nothing is reused.
        salt += request["do"] == "prefill"
        prompt = [(7919 * i + 13 + 31 * salt) % 30000 for i in range(prompt_tokens)]
        wanted = 1 if request["do"] == "prefill" else request["tokens"] + 1
        result = server.handle_completions(
            {
                "prompt": prompt,
                "n_predict": wanted,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": request["do"] == "decode",
            }
        )
        timings = (json.loads(result) if isinstance(result, str) else result)["timings"]
        if request["do"] == "prefill":
            say(seconds=timings["prompt_ms"] / 1e3)
        else:
            say(seconds=timings["predicted_per_token_ms"] * request["tokens"] / 1e3)


if __name__ == "__main__":
    main()
