#!/usr/bin/env bash
# The default model against the golden perplexities of ../shared/golden/smollm2. Takes minutes a row, so it is no ctest;
# CI runs some of the rows:  tests/check_smollm2.sh build/ptq [SPEC...]
#
# Bounds: 0.1 % for fp16, rtn and salient (table1.json); for awq-gptq.json what the noise allows: AWQ 2 % at 3 bits and
# 1 % at 4, GPTQ 5 % and 3 %. The order of sums alone can move gptq:w3 by more than that (docs/methods.md, noise floor):
# where a GPTQ row is off, four more orders are printed beside it. The verdict is that of the given order.
set -euo pipefail
ptq=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
golden=$root/../shared/golden/smollm2
data=$root/../shared/data/wikitext-2
cache=${PTQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ptq}
model=$cache/models/smollm2-135m-instruct.gguf
for file in "$golden/table1.json" "$golden/awq-gptq.json" "$data/test.txt" "$data/valid.txt" "$model"; do
    if [ ! -r "$file" ]; then
        echo "skipped: $file is not there"
        exit 0
    fi
done

# "SPEC PPL CALIB_WINDOWS BOUND" a line; random is left out: its channels are ours to draw
mapfile -t cells < <(python3 -c '
import json, sys
folder, wanted = sys.argv[1], sys.argv[2:]
for name in "table1.json", "awq-gptq.json":
    golden = json.load(open(f"{folder}/{name}"))
    for spec, ppl in golden["ppl"].items():
        method, w3 = spec.split(":")[0], ":w3" in spec
        bound = {"awq": (0.01, 0.02), "gptq": (0.03, 0.05)}.get(method, (1e-3, 1e-3))[w3]
        if "random" not in spec and (not wanted or spec in wanted):
            print(spec, ppl, golden.get("calib_windows", {}).get(method, 64), bound)' "$golden" "$@")
[ ${#cells[@]} -gt 0 ] || { echo "no golden row is called: $*"; exit 1; }

# check SPEC WANT WINDOWS BOUND: runs one cell, prints it, says whether it is within the bound.
check() {
    local got
    got=$("$ptq" eval "$model" --text "$data/test.txt" --calib "$data/valid.txt" --window 2048 --max-windows 4 \
        --calib-windows "$3" --calib-window 512 --bos none --method "$1" --json --quiet |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["ppl"])')
    python3 -c 'import sys
spec, want, got, bound = sys.argv[1], *map(float, sys.argv[2:])
off = (got - want) / want
print(f"{spec:56} {got:.5f}  golden {want:.5f}  off by {100 * off:+.4f} %", "" if abs(off) <= bound else "  TOO FAR")
sys.exit(abs(off) > bound)' "$1" "$2" "$got" "$4"
}

bad=0
for cell in "${cells[@]}"; do
    read -r spec want windows bound <<<"$cell"
    check "$spec" "$want" "$windows" "$bound" && continue
    bad=1
    case $spec in
        gptq:*) for order in 1 2 3 4; do check "$spec,order=$order" "$want" "$windows" "$bound" || true; done ;;
    esac
done
exit $bad
