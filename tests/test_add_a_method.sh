#!/usr/bin/env bash
# docs/add-a-method.md's worked examples, taken out of the page, added to a copy of the tree as the page says (one file,
# one word each), built and run: shrink with ratio=1 must give RTN's perplexity, with ratio=0.5 another one; wmse reads the
# moments, and less of its weighted error is less error of the outputs.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
for folder in base kernels data core methods experiments bench tests; do cp -r "$root/$folder" "$work/tree/"; done
cp "$root/CMakeLists.txt" "$work/tree/"

# example NUMBER: of the page's pieces of C
example() {
    awk -v number="$1" '/^```c$/ {n++; inside = 1; next} /^```$/ {inside = 0} inside && n == number' "$root/docs/add-a-method.md"
}
example 1 >"$work/tree/methods/shrink.c"
example 3 >"$work/tree/methods/wmse.c"
word=$(example 2)
grep -v '^#define PTQ_METHODS' "$root/methods/registry.h" | sed "s|^#endif|$word X(wmse)\n\n#endif|" >"$work/tree/methods/registry.h"

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
wmse() {
    PTQ_CACHE=$work/cache "$work/build/ptq" eval "$model" --text "$root/methods/grid.h" --window 32 --max-windows 8 --quiet --json \
        --calib "$root/tests/fixtures/models/calib.txt" --calib-window 32 --calib-windows 4 --method "$1" -o "$work/$2" "${@:3}" >/dev/null
}
# mean FILE: of the relative error of the linears' outputs
mean() {
    "$work/build/ptq" inspect "$1" --json | grep -o '"output_error": *[0-9.e+-]*' | awk '{ sum += $2 } END { print sum / NR }'
}
wmse rtn:w3,g32 rtn.h5
wmse wmse:w3,g32,power=1 wmse.h5
wmse wmse:w3,g32,power=1 again.h5 --threads 1
wmse wmse:w3,g32,power=1.5 more.h5 # a fraction, though 0, 1 and 2 are whole numbers
echo "output error  rtn $(mean "$work/rtn.h5"), wmse $(mean "$work/wmse.h5")"
awk -v a="$(mean "$work/wmse.h5")" -v b="$(mean "$work/rtn.h5")" 'BEGIN { exit !(a > 0 && a < b) }'
"$work/build/ptq" diff "$work/wmse.h5" "$work/again.h5" | grep -q '^equal$'
for bad in power=3 power=1,scale_dtype=fp16; do
    if wmse "wmse:w3,g32,$bad" bad.h5 2>>"$work/err"; then
        echo "$bad was taken"
        exit 1
    fi
done
grep -q "power is '3'; it must be a number from 0 to 2" "$work/err"
grep -q "wmse's arithmetic is fp32" "$work/err"
echo "one file and one word: built and run"
