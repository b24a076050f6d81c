"""Ctrl-C amid a long call of the core, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

AT_ONCE = 0.3  # seconds of CPU time from the signal to the exception, for each thread

PROGRAM = """
import os, signal, threading, time
import bitterfly
from bitterfly import transforms

def send():
    while time.process_time() < start + 0.3:
        time.sleep(0.01)
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)

sent = []
signal.signal(signal.SIGINT, signal.default_int_handler)
{setup}
bitterfly.quantize(transforms.random(64, rng=0, dtype="c16"), bits=2)  # what a first call sets up
start = time.process_time()
threading.Thread(target=send, daemon=True).start()
try:
    while True:
        {call}
except KeyboardInterrupt:
    print(time.process_time() - sent[0])
again = bitterfly.quantize(transforms.random(1 << 14, rng=0), bits=2, workers=2)  # the threads are there again
assert again.relative_error < 0.5
"""

DYADIC = 'op = transforms.random(1 << {p}, rng=0, dtype="{dtype}")'
CALLS = {
    "direction": (DYADIC.format(p=18, dtype="f4"), "bitterfly.quantize(op, bits=4, workers={workers})"),
    "sphere": (DYADIC.format(p=17, dtype="c8"), 'bitterfly.quantize(op, bits=4, code="sphere", workers={workers})'),
    "float": (
        DYADIC.format(p=12, dtype="c16"),
        'bitterfly.quantize(op, code="float", significand=6, driver="refined", workers={workers})',
    ),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_quantize_at_once(name: str, workers: int) -> None:
    setup, call = CALLS[name]
    program = PROGRAM.format(setup=setup, call=call.format(workers=workers))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=True)
    assert float(done.stdout) <= workers * AT_ONCE
