#!/usr/bin/env bash
# The default model against the golden perplexities of ../shared/golden/smollm2/table1.json, each within 0.1 %. Takes
# minutes, so it is no ctest; CI runs four of the rows:  tests/check_smollm2.sh build/ptq [SPEC...]
set -euo pipefail
ptq=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
golden=$root/../shared/golden/smollm2/table1.json
data=$root/../shared/data/wikitext-2
cache=${PTQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ptq}
model=$cache/models/smollm2-135m-instruct.gguf
for file in "$golden" "$data/test.txt" "$data/valid.txt" "$model"; do
    if [ ! -r "$file" ]; then
        echo "skipped: $file is not there"
        exit 0
    fi
done
# random is left out: its channels are ours to draw
mapfile -t cells < <(python3 -c '
import json, sys
for spec, ppl in json.load(open(sys.argv[1]))["ppl"].items():
    if "random" not in spec and (len(sys.argv) == 2 or spec in sys.argv[2:]):
        print(spec, ppl)' "$golden" "$@")
bad=0
for cell in "${cells[@]}"; do
    spec=${cell% *} want=${cell#* }
    got=$("$ptq" eval "$model" --text "$data/test.txt" --calib "$data/valid.txt" --window 2048 --max-windows 4 \
        --calib-windows 64 --calib-window 512 --bos none --method "$spec" --json --quiet |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["ppl"])')
    verdict=$(python3 -c 'import sys
want, got = map(float, sys.argv[1:])
off = abs(got - want) / want
print(f"{got:.5f}  golden {want:.5f}  off by {100 * off:.4f} %", "" if off <= 1e-3 else "  TOO FAR")' "$want" "$got")
    printf '%-52s %s\n' "$spec" "$verdict"
    case $verdict in *TOO*) bad=1 ;; esac
done
exit $bad
