"""Measures what the machine can do at this moment. Started by side_by_side.py as

    time_limits.py THREADS

A request {"do": "decode", ...} is answered with the seconds that reading one gigabyte takes, {"do": "prefill", ...}
with the seconds of a billion 8-bit multiply-adds from registers.
"""

import json
import sys

import numpy as np

from ouvert.kernels import _native, limits


def main() -> None:
    threads = int(sys.argv[1])
    data = np.full(limits.READ_BYTES, 1, np.uint8)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if json.loads(line)["do"] == "decode":
            seconds = 1e9 / limits.READ_BYTES * float(_native.measure_read(data, threads, 3))
        else:
            seconds = 1e9 / limits.multiply_adds(threads, 2)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
