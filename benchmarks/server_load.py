"""Many clients at once, over loopback: what goes wrong, what memory does, whether cancels free their places.

    python benchmarks/server_load.py [--model smollm2] [--connections 200] [--streams 50] [--seconds 300]

`--streams` connections always have an answer streaming (one in eight is given up half-way); the others ask small things
(models, health, short answers). The server runs in a process of its own. Bounded by `--seconds`.
"""

import argparse
import asyncio
import collections
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx2

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
WORDS = ["light", "sea", "stone", "bread", "river", "cloud", "house", "garden", "winter", "morning", "letter", "road"]


def resident(pid: int) -> int:
    statm = Path(f"/proc/{pid}/statm").read_text().split()
    return int(statm[1]) * os.sysconf("SC_PAGE_SIZE")


class Tally:
    def __init__(self) -> None:
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.tokens = 0

    def status(self, kind: str, response: httpx2.Response) -> None:
        self.statuses[f"{kind} {response.status_code}"] += 1
        refused = response.status_code in (429, 503)
        if response.status_code != 200 and not (refused and "retry-after" in response.headers):
            self.wrong.append(f"{kind}: {response.status_code}")


async def stream(client: httpx2.AsyncClient, model: str, tally: Tally, until: float, number: int) -> None:
    chance = random.Random(number)
    while time.monotonic() < until:
        question = "Write about " + " ".join(chance.choices(WORDS, k=chance.randint(3, 60)))
        body = {"model": model, "messages": [{"role": "user", "content": question}], "stream": True}
        body |= {"max_tokens": chance.randint(20, 120)}
        leaves = chance.randrange(8) == 0
        seen = 0
        try:
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                tally.status("stream", response)
                async for line in response.aiter_lines():
                    if '"content":"' in line:
                        seen += 1
                    if leaves and seen > 10:
                        break
                else:
                    if response.status_code == 200 and line == "" and not seen:
                        tally.wrong.append("stream: no token came")
        except httpx2.HTTPError as problem:
            tally.wrong.append(f"stream: {problem!r}")
        tally.tokens += seen
        if response.status_code != 200:
            await asyncio.sleep(float(response.headers.get("retry-after", 1)))


async def small(client: httpx2.AsyncClient, model: str, tally: Tally, until: float, number: int) -> None:
    chance = random.Random(1000 + number)
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(1, 6))
        try:
            match chance.randrange(3):
                case 0:
                    tally.status("models", await client.get("/v1/models"))
                case 1:
                    tally.status("health", await client.get("/health"))
                case _:
                    body = {"model": model, "input": "Say " + chance.choice(WORDS), "max_output_tokens": 3}
                    tally.status("responses", await client.post("/v1/responses", json=body))
        except httpx2.HTTPError as problem:
            tally.wrong.append(f"small: {problem!r}")


async def run(base: str, pid: int, args: argparse.Namespace) -> int:
    tally, until = Tally(), time.monotonic() + args.seconds
    limits = httpx2.Limits(max_connections=args.connections, max_keepalive_connections=args.connections)
    async with httpx2.AsyncClient(base_url=base, timeout=120, limits=limits) as client:
        work = [stream(client, args.model, tally, until, n) for n in range(args.streams)]
        work += [small(client, args.model, tally, until, n) for n in range(args.connections - args.streams)]
        waiting = asyncio.gather(*work)
        while not waiting.done():
            await asyncio.sleep(min(15, args.seconds / 8))
            left = max(0, until - time.monotonic())
            print(f"  {left:4.0f} s left  {resident(pid) / 1e6:6.0f} MB  {tally.tokens} tokens", flush=True)
        await waiting
        began = time.monotonic()
        while (await client.get("/health")).json()["answers"]:
            if time.monotonic() - began > 5:
                tally.wrong.append("answers go on though nobody reads them")
                break
            await asyncio.sleep(0.01)
    print(dict(sorted(tally.statuses.items())))
    print(f"{tally.tokens / args.seconds:.0f} tokens a second, places free after {time.monotonic() - began:.2f} s")
    print(f"wrong: {collections.Counter(tally.wrong) or 'nothing'}")
    return 1 if tally.wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    args = parser.parse_args()
    command = [sys.executable, "-c", RUN, "serve", args.model, "--port", "0", "--receipts", "off"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            for line in server.stderr or ():
                if found := re.match(r"Ready at (\S+)", line):
                    return asyncio.run(run(found[1], server.pid, args))
            return 1
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
