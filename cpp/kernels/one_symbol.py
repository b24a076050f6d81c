"""Fails unless the object of a tier exports one symbol, its table: `python one_symbol.py NM OBJECT TIER`.

A weak symbol of a file compiled for the CPU of its tier could be linked into everyone's code.
"""

import subprocess
import sys

nm, target, tier = sys.argv[1:]
table = f"k{tier.capitalize()}Kernels"
listed = subprocess.run([nm, "--defined-only", "--extern-only", target], check=True, stdout=subprocess.PIPE, text=True)
symbols = [line.split()[-1] for line in listed.stdout.splitlines()]
if len(symbols) != 1 or table not in symbols[0]:
    sys.exit(f"{target}: expected no external symbol but {table}, found {', '.join(symbols) or 'none'}")
