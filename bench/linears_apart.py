#!/usr/bin/env python3
"""How far two runs of one quantised cell are apart, linear by linear: A.h5 B.h5 BOUND, one cell each. Needs h5py.

Fails where a search chose another grid point, or where a linear's output error (of its calibration) differs by more
than BOUND of it."""
import sys

import h5py


def linears(path):
    (cell,) = h5py.File(path)["cells"].values()
    group = cell["linears"]
    return [(name.decode(), alpha, error) for name, alpha, error in
            zip(group["name"], group["alpha"], group["output_error"])]


def main():
    here, there = (linears(path) for path in sys.argv[1:3])
    bound = float(sys.argv[3])
    if [row[0] for row in here] != [row[0] for row in there]:
        sys.exit("not the same linears")
    other = [a[0] for a, b in zip(here, there) if a[1] != b[1] and not (a[1] != a[1] and b[1] != b[1])]
    apart, worst = max((abs(b[2] / a[2] - 1), a[0]) for a, b in zip(here, there))
    print(f"{len(here)} linears: {len(other)} with another grid point{''.join(' ' + name for name in other)}, output errors within "
          f"{apart:.1e} ({worst}; bound {bound:g})")
    sys.exit(bool(other) or not apart <= bound)


main()
