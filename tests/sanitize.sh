#!/usr/bin/env bash
# Builds the extension with the address sanitizer, and all but the kernels with the one for undefined behaviour, in a
# scratch environment; runs the numerical tests. Of the kernels, memory on the heap is watched, their stack is not.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "$root[test]" --config-settings=cmake.define.BITTERFLY_SANITIZE=ON \
    --config-settings=build-dir="$work/build"
readelf -d "$work"/venv/lib/python3*/site-packages/bitterfly/_core*.so | grep libasan  # else it would prove nothing
cd "$root"
# CPython itself keeps memory at exit: leak detection is off. libstdc++ must be loaded with the runtime for exceptions.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
# Capturing descriptors would swallow the report.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so) $(g++ -print-file-name=libstdc++.so)" \
    "$work/venv/bin/python" -m pytest -n auto -q -p no:cacheprovider --capture=sys tests/factorization/test_factorize.py \
    tests/quantization/test_quantize.py tests/stores/test_pack.py tests/operators/test_apply.py tests/operators/test_columns.py tests/operators/test_products.py \
    tests/files/test_storage.py tests/files/test_hostile.py tests/stores/test_tiles.py tests/quantization/test_rank_one.py tests/workers/test_workers.py \
    tests/factorization/test_skeletons.py tests/quantization/test_closest.py "$@"
