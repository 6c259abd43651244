"""What a fit frees stays with the process until the fit ends."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import gc
from pathlib import Path

from training.heap import KeptMemory

MIB = 2**20

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // MIB

def used_and_freed():
    # More than what glibc keeps at the end of the heap by itself.
    blocks = [bytearray(b"x") * (16 * MIB) for _ in range(8)]
    del blocks
    gc.collect()

used_and_freed()
before = resident_mib()
kept = KeptMemory()
for end in (kept.on_fit_end, kept.on_exception):
    kept.on_fit_start()
    used_and_freed()
    within = resident_mib()
    end()
    print(within - before, resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_stays_until_the_end() -> None:
    """However a fit ends. In a process of its own: what other tests left in this heap would be counted."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    ends = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(ends) == 2
    for within, after in ends:
        assert within >= 64
        assert after <= 16
