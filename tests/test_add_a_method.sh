#!/usr/bin/env bash
# docs/add-a-method.md's worked example, taken out of the page, added to a copy of the tree as the page says (one file,
# one word), built and run: ratio=1 must give RTN's perplexity, ratio=0.5 another one.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
for folder in base kernels data core methods experiments bench tests; do cp -r "$root/$folder" "$work/tree/"; done
cp "$root/CMakeLists.txt" "$work/tree/"

awk '/^```c$/ {n++; inside = 1; next} /^```$/ {inside = 0} inside && n == 1' "$root/docs/add-a-method.md" \
    >"$work/tree/methods/shrink.c"
word=$(awk '/^```c$/ {n++; inside = 1; next} /^```$/ {inside = 0} inside && n == 2' "$root/docs/add-a-method.md")
grep -v '^#define PTQ_METHODS' "$root/methods/registry.h" | sed "s|^#endif|$word\n\n#endif|" >"$work/tree/methods/registry.h"

cmake -S "$work/tree" -B "$work/build" -DPTQ_WERROR=ON -DPTQ_CUDA=OFF >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
cmake --build "$work/build" --target ptq -j"$(nproc)" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

"$work/build/ptq" methods >"$work/methods"
grep -q '^shrink ' "$work/methods"
model=$root/tests/fixtures/models/llama
ppl() {
    "$work/build/ptq" eval "$model" --text "$root/methods/grid.h" --window 32 --max-windows 8 --method "$1" --json --quiet |
        grep -o '"ppl": [0-9.e+-]*'
}
rtn=$(ppl rtn:w3,g32)
echo "rtn           $rtn"
echo "shrink 1      $(ppl shrink:w3,g32,ratio=1)"
echo "shrink 0.5    $(ppl shrink:w3,g32,ratio=0.5)"
[ "$rtn" = "$(ppl shrink:w3,g32,ratio=1)" ]
[ "$rtn" != "$(ppl shrink:w3,g32,ratio=0.5)" ]
if "$work/build/ptq" eval "$model" --text "$root/methods/grid.h" --window 32 --method shrink:ratio=2 2>"$work/err"; then
    echo "ratio=2 was taken"
    exit 1
fi
grep -q 'ratio is .2.; it must be' "$work/err"
echo "one file and one word: built and run"
