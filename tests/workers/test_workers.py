"""Threads of factorize, quantize and compress: results that do not depend on them, forks, callers, the default."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest

import bitterfly
import strategies as own
from bitterfly import Chain, _core, transforms
from bitterfly.workers import available_cores, building_workers, get_workers, set_workers, threaded

COUNTS = (2, 3, 7)


def same_operator(a: Any, b: Any) -> bool:
    arrays = ("words", "scale") if isinstance(a, bitterfly.PackedButterfly) else ("factors",)
    equal = all(
        all(np.array_equal(p, q) for p, q in zip(getattr(a, name), getattr(b, name), strict=True)) for name in arrays
    )
    return equal and a.relative_error == b.relative_error


def assert_same_for_all_workers(build: Any) -> None:
    one = build(1)
    for workers in COUNTS:
        assert same_operator(one, build(workers))


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("n", [2, 4, 64, 128, 256, 1024])
def test_square_dyadic_factors(isa: str, dtype: Any, n: int) -> None:
    a = own.gaussian(np.random.default_rng(n), (n, n), dtype)
    for matrix in (a, np.asfortranarray(a), a[:, ::-1]):
        assert_same_for_all_workers(lambda w, m=matrix: bitterfly.factorize(m, permute=None, workers=w))
    assert_same_for_all_workers(lambda w: bitterfly.factorize(a, permute=("bit_reversal", "bit_reversal"), workers=w))


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("share", [-1.0, -0.95, 0.0, 0.9])
def test_square_dyadic_factors_of_any_scale(dtype: Any, share: float) -> None:
    info = np.finfo(dtype)
    a = own.gaussian(np.random.default_rng(0), (1024, 1024), dtype)
    a *= float(info.tiny) ** -share if share < 0 else float(info.max) ** share
    a[:7] = 0
    a[:, 5] = 0
    assert_same_for_all_workers(lambda w: bitterfly.factorize(a, permute=None, workers=w))


def test_no_numbers_but_zeros() -> None:
    assert_same_for_all_workers(lambda w: bitterfly.factorize(np.zeros((1024, 1024), np.float32), workers=w))


@pytest.mark.parametrize("at", [(0, 0), (700, 1000), (1023, 1023)])
def test_numbers_that_are_not_finite(at: tuple[int, int]) -> None:
    a = np.ones((1024, 1024), np.float32)
    a[at] = np.nan
    with pytest.raises(ValueError, match=rf"a: expected finite entries, got NaN or infinity at \({at[0]}, {at[1]}\)"):
        bitterfly.factorize(a, permute=None, workers=3)


GIVEN = Chain.butterfly((512, 512), rank=6, leaf=32, groups=4)


@pytest.mark.parametrize("asked", [{"rtol": 1e-2}, {"chain": GIVEN}, {"chain": GIVEN, "order": "balanced"}])
def test_factors_of_other_chains(asked: dict[str, Any]) -> None:
    a = bitterfly.gallery.nonuniform_dft(512).todense()
    assert_same_for_all_workers(lambda w: bitterfly.factorize(a, workers=w, **asked))


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("asked", [{"bits": 4}, {"bits": 1.25}, {"rtol": 0.05}, {"nbytes": 40000}])
def test_direction_codes(dtype: Any, asked: dict[str, Any]) -> None:
    op = transforms.random(2**12 if "bits" in asked else 2**10, rng=np.random.default_rng(1), dtype=dtype)
    assert_same_for_all_workers(lambda w: bitterfly.quantize(op, workers=w, **asked))


@pytest.mark.parametrize("scale", [1e-300, 1e300])
@pytest.mark.parametrize("bits", [2, 6.5])
def test_direction_codes_of_any_scale(scale: float, bits: float) -> None:
    op = transforms.random(2**12, rng=np.random.default_rng(2), dtype=np.float64)
    factors = [f.copy() for f in op.factors]
    factors[0] *= scale
    factors[-1] /= scale
    factors[3][:, :, 0] = 0
    op = bitterfly.ButterflyOperator(factors)
    assert_same_for_all_workers(lambda w: bitterfly.quantize(op, bits=bits, workers=w))


@pytest.mark.parametrize("code", ["skeleton", "lattice", "ternary"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_integer_codes(code: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    chain = Chain.butterfly((256, 256), rank=4, leaf=16, groups=4)
    op = bitterfly.ButterflyOperator([own.gaussian(rng, p, dtype) for p in chain])
    bits = {} if code == "ternary" else {"bits": 5}
    assert_same_for_all_workers(lambda w: bitterfly.quantize(op, code=code, workers=w, **bits))


@pytest.mark.parametrize("driver", ["left_to_right", "right_to_left", "pairwise", "refined"])
@pytest.mark.parametrize(("dtype", "n"), [(np.float64, 2**12), (np.float64, 8), (np.complex128, 64)])
def test_short_floats(driver: str, dtype: Any, n: int) -> None:
    op = transforms.random(n, rng=np.random.default_rng(4), dtype=dtype)
    assert_same_for_all_workers(lambda w: bitterfly.quantize(op, code="float", significand=3, driver=driver, workers=w))


def test_short_floats_of_other_chains() -> None:
    rng = np.random.default_rng(5)
    chain = Chain([(1, 3, 7, 40), (7, 5, 2, 8), (14, 8, 9, 1)])
    op = bitterfly.ButterflyOperator([own.gaussian(rng, p, np.complex128) for p in chain])
    for driver in ("pairwise", "refined"):
        assert_same_for_all_workers(
            lambda w, d=driver: bitterfly.quantize(op, code="float", significand=2, driver=d, workers=w)
        )


def test_compress() -> None:
    a = np.fft.fft(np.eye(64)) + 1e-3 * np.random.default_rng(6).standard_normal((64, 64))
    assert_same_for_all_workers(lambda w: bitterfly.compress(a, rtol=1e-2, workers=w))


TILED = [
    Chain([(1 << 13, 11, 13, 2)]),  # chunks that reach into the next block, one way
    Chain([(1 << 15, 9, 8, 1)]),
    Chain([(1 << 14, 6, 10, 3)]),  # lanes anywhere
    Chain([(1, 1024, 2050, 1)]),  # a block in groups of rows
    Chain([(64, 24, 40, 64)]),
    Chain.butterfly((8192, 8192), rank=8, leaf=32, groups=8),
]


@cache
def _general(chain: Chain, dtype: Any, bits: int) -> Any:
    rng = np.random.default_rng(7)
    op = bitterfly.ButterflyOperator([own.gaussian(rng, p, dtype) for p in chain])
    return bitterfly.quantize(op, bits=bits, code="lattice") if bits else op


@pytest.mark.parametrize("chain", TILED, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("bits", [0, 3])
def test_products_with_general_chains(isa: str, chain: Chain, dtype: Any, bits: int) -> None:
    rng, op = np.random.default_rng(7), _general(chain, dtype, bits)
    for mode in (op, op.T):
        for k in (1, 3, 16) if isa != "scalar" else (1,):
            x = own.gaussian(rng, (mode.shape[1], k), dtype)
            x = x[:, 0] if k == 1 else x
            one = mode.apply(x, workers=1)
            for workers in COUNTS:
                assert np.array_equal(one, mode.apply(x, workers=workers))


def test_many_callers_at_once() -> None:
    a = own.gaussian(np.random.default_rng(8), (1024, 1024), np.float32)
    op = transforms.random(2**12, rng=np.random.default_rng(9), dtype=np.float32)

    def build(_: int) -> tuple[Any, Any]:
        return bitterfly.factorize(a, permute=None, workers=3), bitterfly.quantize(op, bits=4, workers=3)

    one = build(0)
    with ThreadPoolExecutor(6) as callers:
        for found in callers.map(build, range(24)):
            assert all(same_operator(p, q) for p, q in zip(one, found, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    a = own.gaussian(np.random.default_rng(10), (1024, 1024), np.float32)
    one = bitterfly.factorize(a, permute=None, workers=2)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if same_operator(one, bitterfly.factorize(a, permute=None, workers=2)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert building_workers(None) == available_cores()
    assert building_workers(3) == 3
    for text, expected in [("1", 1), ("1000", available_cores()), ("0", available_cores()), ("4,2", available_cores())]:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert building_workers(None) == expected
    with bitterfly.set_workers(5):
        assert building_workers(None) == 5
        assert building_workers(2) == 2


def test_the_default_of_the_environment() -> None:
    code = "from bitterfly.workers import *; print(get_workers(), building_workers(None))"
    for text, expected in [("3", "3 3"), ("", f"1 {available_cores()}")]:
        env = {**os.environ, "BITTERFLY_NUM_THREADS": text}
        env.pop("OMP_NUM_THREADS", None)
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected


def test_the_default_is_back_afterwards() -> None:
    before = bitterfly.get_workers()
    bitterfly.factorize(np.eye(8), workers=2)
    with pytest.raises(ValueError, match="finite"):
        bitterfly.factorize(np.full((8, 8), np.nan), workers=2)
    assert bitterfly.get_workers() == before


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (-(10**6), ValueError), (1.5, TypeError)])
def test_wrong_numbers(workers: Any, error: type[Exception]) -> None:
    op = transforms.hadamard(8)
    for call in (
        lambda: bitterfly.factorize(np.eye(8), workers=workers),
        lambda: bitterfly.quantize(op, bits=2, workers=workers),
        lambda: bitterfly.compress(np.eye(8), bits=2, workers=workers),
    ):
        with pytest.raises(error, match="workers: expected"):
            call()


# ---- threads of Python ----


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("allowed", [0, 1, 10])
def test_fewer_threads_than_asked_do_the_work(monkeypatch: pytest.MonkeyPatch, workers: int, allowed: int) -> None:
    """The system starts so many threads and no more: the work is done all the same, once each, in order."""
    start, left = threading.Thread.start, iter(range(allowed))

    def limited(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    seen: list[int] = []

    def work(task: int) -> tuple[int, int]:
        seen.append(task)
        return task**2, get_workers()

    with set_workers(workers):
        results = threaded(work, range(40))
    inner = workers if workers == 1 else 1
    assert results == [(task**2, inner) for task in range(40)] and sorted(seen) == list(range(40))


def test_the_first_failure_is_raised_and_nothing_is_begun_after_it() -> None:
    begun: list[int] = []

    def work(task: int) -> None:
        begun.append(task)
        time.sleep(0.01 if task == 3 else 0.001)
        if task in (3, 4):
            raise KeyError(task)

    with set_workers(3), pytest.raises(KeyError):
        threaded(work, range(1000))
    assert len(begun) < 1000
    with set_workers(2):
        assert threaded(len, []) == [] and threaded(abs, [-1, -2]) == [1, 2]


def others_run_amid(call: Callable[[], Any]) -> bool:
    """Whether another thread gets the interpreter's lock during a call: nothing else hands it over."""
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1
            time.sleep(1e-5)

    thread, interval = threading.Thread(target=tick), sys.getswitchinterval()
    thread.start()
    try:
        sys.setswitchinterval(1000)
        for _ in range(50):
            before = ticks[0]
            call()
            if ticks[0] > before:
                return True
        return False
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()


SIZE = 1 << 20
CODES, NUMBERS = np.zeros(SIZE, np.uint32), np.ones(SIZE)
PAIR = [NUMBERS.reshape(1, 2, 2, SIZE // 4), NUMBERS.reshape(2, 2, 2, SIZE // 8)]
LONG_CALLS: dict[str, Callable[[], Any]] = {
    "pack": lambda: _core.pack(CODES.reshape(1, 2, -1), 4),
    "unpack": lambda: _core.unpack(CODES[: SIZE // 8], SIZE, 1, 4),
    "pack_lanes": lambda: _core.pack_lanes(CODES.reshape(-1, 16, 16), 4),
    "unpack_lanes": lambda: _core.unpack_lanes(CODES[: SIZE // 8], SIZE // 256, 16, 4),
    "encode_floats": lambda: _core.encode_floats(NUMBERS, 8, 4),
    "decode_floats": lambda: _core.decode_floats(CODES, 8, 4),
    "chain_error": lambda: _core.chain_error(PAIR, PAIR),
    "stream_of_values": lambda: _core.stream_of_values(np.ones((16, 1 << 17))),
}


@pytest.mark.parametrize("name", LONG_CALLS)
def test_other_threads_run_amid_long_calls(name: str) -> None:
    assert others_run_amid(LONG_CALLS[name])


def test_other_threads_wait_where_the_lock_is_kept() -> None:
    assert not others_run_amid(lambda: sum(range(10**5)))


def test_factorize_at_exit() -> None:
    """No new threads may start then: arrays are factorized on the calling one."""
    program = (
        "import atexit, numpy, bitterfly\n"
        "a = bitterfly.gallery.bessel_j0(512).todense()\n"
        "print(bitterfly.factorize(a, rtol=1e-3, workers=2).relative_error)\n"
        "atexit.register(lambda: print(bitterfly.factorize(a, rtol=1e-3, workers=2).relative_error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    before, after = done.stdout.split()
    assert before == after
