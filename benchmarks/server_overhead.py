"""What the server adds to each token: the engine's time between tokens, beside that of a stream over loopback.

    python benchmarks/server_overhead.py [--model smollm2] [--tokens 200] [--repeats 5]

Both run in one process on the same model; repeats are interleaved. Three figures: the median time between tokens of the
engine alone and of the stream, their difference, and the processor time that the server's own thread spent a token.
"""

import argparse
import asyncio
import itertools
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.assistant import load
from ouvert.serving import Settings, bound_socket, make_app, make_server
from ouvert.store import Store, default_home

QUESTION = [{"role": "user", "content": "Write a long story about a lighthouse."}]


def gaps(times: list[float]) -> list[float]:
    return [later - before for before, later in itertools.pairwise(times)]


def alone(model, tokens: int) -> list[float]:
    times = []
    for _ in model.chat(QUESTION, max_tokens=tokens, temperature=0, logit_bias=model_bias(model)):
        times.append(time.perf_counter())
    return gaps(times)


def model_bias(model) -> dict[int, float]:
    """Answers do not end before their limit."""
    return dict.fromkeys(model.tokenizer.end_ids, -100.0)


def streamed(port: int, name: str, tokens: int, bias: dict[int, float]) -> list[float]:
    body = json.dumps(
        {
            "model": name,
            "messages": QUESTION,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "logit_bias": {str(token): value for token, value in bias.items()},
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(body)}"
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        while piece := connection.recv(1 << 20):
            now = time.perf_counter()
            times += [now] * piece.count(b'"content":"')
    return gaps(times)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--store", type=Path, default=default_home())
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


@dataclass
class Serving:
    """A server in a thread of its own: its port, its model, and the clock of its thread's processor time."""

    port: int
    served: Any  # a loaded model of the server
    clock: int


@contextmanager
def serving(model: str, store: Store) -> Iterator[Serving]:
    """Serve the model until the block ends."""
    settings = Settings(port=0, models=(model,), load_options={"receipts": False})
    app = make_app(settings, store)
    server = make_server(app, settings)
    listening = bound_socket("127.0.0.1", 0)
    clock: dict[str, int] = {}

    def serve() -> None:
        clock["id"] = time.pthread_getcpuclockid(threading.get_ident())
        asyncio.run(server.serve([listening]))

    thread = threading.Thread(target=serve)
    thread.start()
    while not (server.started and app.state.service.loaded_models.loaded()):
        time.sleep(0.05)
    [served] = app.state.service.loaded_models.loaded()
    yield Serving(listening.getsockname()[1], served, clock["id"])
    server.should_exit = True
    thread.join()


def main() -> None:
    args = arguments()
    store = Store(args.store)
    engine, wire, spent = [], [], []
    with serving(args.model, store) as server, load(args.model, store=store, receipts=False) as model:
        bias = model_bias(server.served.model)
        for repeat in range(args.repeats + 1):
            one = alone(model, args.tokens)
            before = time.clock_gettime(server.clock)
            other = streamed(server.port, server.served.installed.name, args.tokens, bias)
            used = time.clock_gettime(server.clock) - before
            if repeat:  # the first warms up
                engine.append(statistics.median(one))
                wire.append(statistics.median(other))
                spent.append(used / max(1, len(other)))
    a, b = statistics.median(engine), statistics.median(wire)
    print(f"{args.model}: {args.repeats} interleaved repeats of {args.tokens} tokens, medians")
    print(f"  engine alone       {a * 1e3:7.3f} ms a token")
    print(f"  stream over HTTP   {b * 1e3:7.3f} ms a token")
    print(f"  difference         {(b - a) * 1e3:7.3f} ms a token")
    print(f"  server's thread    {statistics.median(spent) * 1e3:7.3f} ms of processor time a token")


if __name__ == "__main__":
    main()
