#!/usr/bin/env python3
"""The most anonymous memory that a command has, which is what `ptq run --dry-run` says of a cell: a mapped model is not in it.

    bench/peak_anon.py build/ptq run X.yaml -o /tmp/x.h5
"""
import re
import subprocess
import sys
import time


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    peak, process = 0, subprocess.Popen(sys.argv[1:])
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as status:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read())  # a process that ends has none
        peak = max(peak, int(found.group(1)) if found else 0)
        time.sleep(0.005)
    print(f"most anonymous memory: {peak / 1024:.0f} MiB", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
