"""Many clients at once, over loopback: what goes wrong, what memory does, whether cancels free their places.

    python benchmarks/server_load.py [--model smollm2] [--connections 200] [--streams 50] [--seconds 300] [--kept 100]

`--streams` connections always have an answer streaming (one in eight is given up half-way); the others ask small things
(models, health, short answers). The server runs in a process of its own, with at most `--kept` MB of kept beginnings of
prompts, so that they stop growing early. Bounded by `--seconds`.

Exit status 0 only if all of this is true:
- nothing went wrong but 429 and 503, each with Retry-After;
- memory is flat: the median of the last quarter of the samples is at most 3 % above that of the second quarter;
- then `--streams` answers are begun, and all given up at once: their places are free within two steps of that batch
  (the one under way, and none after it; a step is the median time between two tokens of one stream) and 50 ms.
"""

import argparse
import asyncio
import collections
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

# The share of memory for kept prefixes has no option: it is set where it stands.
RUN = (
    "import sys, ouvert.engine.loading as loading; loading.SHARE_FOR_KEPT = int(sys.argv[1]); "
    "from ouvert.cli import main; sys.exit(main(sys.argv[2:]))"
)
FLAT = 1.03
SLACK = 0.05  # seconds: two looks at /health, and a busy machine
WORDS = ["light", "sea", "stone", "bread", "river", "cloud", "house", "garden", "winter", "morning", "letter", "road"]


def resident(pid: int) -> int:
    statm = Path(f"/proc/{pid}/statm").read_text().split()
    return int(statm[1]) * os.sysconf("SC_PAGE_SIZE")


class Tally:
    def __init__(self) -> None:
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.tokens = 0
        self.memory: list[int] = []

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
        said = time.monotonic()
        while not waiting.done():
            await asyncio.sleep(min(1, args.seconds / 40))
            tally.memory.append(resident(pid))
            if time.monotonic() - said > min(15, args.seconds / 8):
                said = time.monotonic()
                left = max(0, until - said)
                print(f"  {left:4.0f} s left  {tally.memory[-1] / 1e6:6.0f} MB  {tally.tokens} tokens", flush=True)
        await waiting
        step, freed = await give_up_together(client, args.model, args.streams)
    quarters = [statistics.median(quarter) for quarter in in_quarters(tally.memory)]
    if quarters[3] > quarters[1] * FLAT:
        tally.wrong.append("memory is not flat")
    if freed > 2 * step + SLACK:
        tally.wrong.append("cancelled answers keep their places for longer than a step")
    print(dict(sorted(tally.statuses.items())))
    print("memory, median of each quarter: " + ", ".join(f"{each / 1e6:.0f} MB" for each in quarters))
    print(
        f"{tally.tokens / args.seconds:.0f} tokens a second; a step of {args.streams} takes {step:.3f} s, places free"
    )
    print(f"  places are free {freed:.3f} s after all are given up")
    print(f"wrong: {collections.Counter(tally.wrong) or 'nothing'}")
    return 1 if tally.wrong else 0


def in_quarters(samples: list[int]) -> list[list[int]]:
    size = len(samples) // 4
    return [samples[n * size : (n + 1) * size] for n in range(4)]


async def idle(client: httpx2.AsyncClient) -> float:
    """Seconds until nothing is being answered."""
    began = time.monotonic()
    while (await client.get("/health")).json()["answers"]:
        if time.monotonic() - began > 60:
            raise SystemExit("answers go on though nobody reads them")
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def give_up_together(client: httpx2.AsyncClient, model: str, streams: int) -> tuple[float, float]:
    """(seconds of a step, seconds until all places are free) where so many answers are given up at once."""
    await idle(client)
    gaps: list[float] = []
    reading, leave = asyncio.Barrier(streams + 1), asyncio.Event()

    async def one(number: int) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": f"Tell a long story, number {number}."}]}
        body |= {"stream": True, "max_tokens": 1000, "temperature": 1, "logit_bias": {"2": -100}}
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            before, seen = time.monotonic(), 0
            async for line in response.aiter_lines():
                if '"content":"' not in line:
                    continue
                now, seen = time.monotonic(), seen + 1
                if seen == 6:
                    await reading.wait()
                elif seen > 6:
                    gaps.append(now - before)
                before = now
                if leave.is_set():
                    return

    tasks = [asyncio.create_task(one(number)) for number in range(streams)]
    await asyncio.wait_for(reading.wait(), 120)
    await asyncio.sleep(2)
    leave.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return statistics.median(gaps), await idle(client)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--kept", type=int, default=100, metavar="MB")
    args = parser.parse_args()
    share = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (args.kept * 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", RUN, str(share), "serve", args.model, "--port", "0", "--receipts", "off"]
        command += ["--prefix-cache", folder, "--prefix-cache-quota", "0.1"]
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
