"""Guards over mapped files."""

import signal
import subprocess
import sys


def test_a_guarded_range_reads_as_zeros_where_the_file_is_no_longer(tmp_path):
    """In a process of its own: without a guard it ends by SIGBUS, as the second one does."""
    program = """
import os, sys
import numpy as np
from pathlib import Path
from ouvert.kernels import Guarded
from ouvert.weights.mapping import map_file
path = Path(sys.argv[1])
path.write_bytes(b"\\x01" * 100_000)
data = map_file(path)
guard = Guarded(data)
assert (int(data.sum()), guard.lost) == (100_000, False)
if sys.argv[2] == "unguarded":
    guard.close()
os.truncate(path, 4096)
print(int(data[:4096].sum()), guard.lost, int(data.sum()), guard.lost)
"""
    for how, status, printed in (("guarded", 0, "4096 False 4096 True"), ("unguarded", -signal.SIGBUS, "")):
        found = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "file"), how], check=False, capture_output=True, text=True
        )
        assert (found.returncode, found.stdout.strip()) == (status, printed), found.stderr
