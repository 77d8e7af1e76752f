"""Speed of `evokd serve` under load, with batches across requests and without.

    python bench/serve_load.py MODEL -l en-de --json FILE

MODEL is a folder that evokd saved or exported. Two servers, one that translates up to 64 lines at
once and one that takes a line at a time, are asked in turns (A B A B …) by so many clients at once,
each of which sends a sentence of the phrasebook on a connection of its own, waits for the answer
and sends the next. Clients and servers share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import measuring

from evokd.data.phrasebook import phrasebook

BATCHES = (64, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("-l", "--direction", default="en-de")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    source, target = args.direction.split("-")
    asked = ({"q": line[source], "source": source, "target": target} for line in phrasebook("test"))
    bodies = itertools.cycle(json.dumps(each).encode() for each in asked)
    found: dict[tuple[int, int], list[list[float]]] = {}
    rates: dict[tuple[int, int], list[float]] = {}
    with ExitStack() as running:
        ports = {size: running.enter_context(_server(args.model, size)) for size in BATCHES}
        for clients in args.clients:
            for turn in range(args.rounds + 1):  # the first one warms up
                for size in BATCHES:
                    seconds = args.seconds if turn else 1.0
                    times, rate = asyncio.run(_load(ports[size], clients, bodies, seconds))
                    if turn:
                        found.setdefault((clients, size), []).append(times)
                        rates.setdefault((clients, size), []).append(rate)
    rows = []
    for (clients, size), turns in found.items():
        times = sorted(itertools.chain(*turns))
        told = [1000 * times[min(len(times) - 1, int(len(times) * p))] for p in (0.5, 0.95, 0.99)]
        gain = measuring.ratios(rates[clients, size], rates[clients, BATCHES[-1]])
        rate = measuring.spread(rates[clients, size]).median
        rows.append([clients, size, f"{rate:.0f}", *(f"{ms:.0f}" for ms in told), str(gain)])
    headers = ["clients", "batch", "requests/s", "p50 ms", "p95 ms", "p99 ms", "÷ one at a time"]
    machine = measuring.machine()
    print(measuring.describe(machine))
    print(measuring.table(headers, rows))
    if args.json:
        results = [dict(zip(headers, row, strict=True)) for row in rows]
        measuring.write_json(args.json, {"machine": machine, "results": results})


@contextmanager
def _server(model: str, batch: int) -> Iterator[int]:
    """A server's port, while it runs."""
    command = [sys.executable, "-m", "evokd", "serve", model, "--port", "0"]
    command += ["--batch-size", str(batch)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = (re.search(r"answering at \S+:(\d+)", line) for line in process.stderr)
        port = next(filter(None, found), None)
        if port is None:
            raise SystemExit("the server didn't start")
        try:
            yield int(port[1])
        finally:
            process.terminate()


async def _load(
    port: int, clients: int, bodies: itertools.cycle[bytes], seconds: float
) -> tuple[list[float], float]:
    """Seconds of each request, and requests per second."""
    times: list[float] = []
    began = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - began < seconds:
            body = next(bodies)
            start = time.perf_counter()
            head = f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = re.search(rb"content-length: (\d+)", answer)
            assert length
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return times, len(times) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
