#!/usr/bin/env bash
# Builds the pool of threads with the thread sanitizer, and runs it from several callers at once.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CXX:-g++}" -std=c++20 -O1 -g -fsanitize=thread -Wall -Wextra -I"$root/cpp" \
    "$root/tests/workers/parallel.cpp" "$root/cpp/parallel.cpp" -o "$work/parallel" -pthread
TSAN_OPTIONS=halt_on_error=1 "$work/parallel"
