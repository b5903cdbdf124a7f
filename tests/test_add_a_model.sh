#!/usr/bin/env bash
# docs/add-a-model.md's worked example, taken out of the page, applied to a copy of the tree as the page says, built, and
# held against what transformers gives (tests/fixtures/models/starcoder2); AWQ runs with its groups and not without them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
mkdir "$tree"
for folder in base kernels data core methods experiments bench tests; do cp -r "$root/$folder" "$tree/"; done
cp "$root/CMakeLists.txt" "$tree/"

piece() { # N: the page's N-th piece of code
    awk -v wanted="$1" '/^```c$/ {n++; inside = 1; next} /^```$/ {inside = 0} inside && n == wanted' "$root/docs/add-a-model.md"
}
insert() { # FILE LINE PIECE: the piece before the first line that begins so
    awk -v line="$2" -v piece="$(piece "$3")" 'index($0, line) == 1 && !done {print piece; print ""; done = 1} {print}
        END {exit !done}' "$tree/$1" >"$work/changed"
    cp "$work/changed" "$tree/$1"
}
build() {
    cmake --build "$work/build" --target "$1" -j"$(nproc)" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
}
eval_with() { # SPEC
    "$work/build/ptq" eval "$root/tests/fixtures/models/starcoder2" --text "$root/tests/fixtures/models/text.txt" \
        --calib "$root/tests/fixtures/models/calib.txt" --calib-window 32 --calib-windows 4 --window 32 --bos none \
        --json --quiet --method "$1"
}

# 1 and 2: the file and the word.
piece 1 >"$tree/core/family_starcoder2.c"
piece 2 >"$work/word"
sed -i -e "/^#define PTQ_FAMILIES/{r $work/word" -e 'd}' "$tree/core/families.h"
# Not optimised: the build is most of this test's time.
cmake -S "$tree" -B "$work/build" -DPTQ_WERROR=ON -DPTQ_CUDA=OFF -DCMAKE_BUILD_TYPE=Debug >"$work/log" 2>&1 ||
    { cat "$work/log"; exit 1; }
build ptq
"$work/build/ptq" models | grep '^starcoder2 .*LayerNorm, rotary positions, GELU (tanh)'
eval_with gptq:w3,g16 | grep -o '"ppl": [0-9.]*'
export PTQ_CACHE=$work/cache
if eval_with awq:w3,g16 2>"$work/err"; then
    echo "awq ran without groups"
    exit 1
fi
grep 'AWQ of starcoder2 is not known' "$work/err"

# 3 and 4: AWQ's groups and their row.
insert methods/awq_groups.c '/* Not clipped is what' 3
insert methods/awq_groups.c '    {"llama", gated' 4
# 5 and 6: the test, and its word in the list.
insert tests/test_models.c 'int main(void)' 5
insert tests/test_models.c '        cmocka_unit_test(test_bloom),' 6
build ptq
build test_models
eval_with awq:w3,g16 | grep -o '"ppl": [0-9.]*'
CMOCKA_TEST_FILTER=test_starcoder2 "$work/build/tests/test_models" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep 'starcoder2' "$work/log"
grep -q 'OK \] test_starcoder2' "$work/log"
echo "one file, one word, AWQ's groups: built and run"
