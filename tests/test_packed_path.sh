#!/usr/bin/env bash
# --path packed: perplexity within 1e-4 of --path fp32 for every kind of codes, and the same bytes for any number of
# threads and from plain C, AVX2 and AVX-512.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=shell.bash
source "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
golden=$tree/../shared/golden/models
export PTQ_CACHE=$scratch/cache

methods="rtn:w4,g64 rtn:w3,g32 rtn:w2,g-1,sym=1 rtn:w8,g20 rtn:w5,g48,scale_dtype=fp16
    salient:w3,g32,select=activation,fraction=0.05 gptq:w4,g32,act_order=1 gptq:w3,g-1 awq:w3,g32,loss=gram
    scale:w3,g32,fraction=0.05,s=2"

# eval_ppl MODEL TEXT CALIB WINDOW WINDOWS METHOD ARGUMENTS...: "ppl bits"
eval_ppl() {
    "$ptq" eval "$1" --text "$2" --calib "$3" --window "$4" --max-windows "$5" --calib-window 32 --calib-windows 8 \
        --method "$6" "${@:7}" --json --quiet >"$scratch/cell.json" 2>"$scratch/err" || { cat "$scratch/err"; return 1; }
    python3 -c 'import json, sys; c = json.load(open(sys.argv[1])); print(repr(c["ppl"]), c["effective_bits"])' \
        "$scratch/cell.json"
}

# near WHAT FP32 PACKED: within 1e-4 relative
near() {
    python3 - "$2" "$3" <<'PY' || fail "$1: $2 by fp32, $3 packed"
import sys
a, b = float(sys.argv[1]), float(sys.argv[2])
sys.exit(not abs(a - b) <= 1e-4 * a)
PY
}

test_packed_is_fp32() {
    local model method fp32 packed
    for model in llama3 opt350; do
        for method in $methods; do
            if [ $model = opt350 ] && [[ $method != *act_order* && $method != rtn:w3* ]]; then continue; fi
            read -r fp32 _ < <(eval_ppl "$models/$model" "$models/text.txt" "$models/calib.txt" 32 8 "$method")
            read -r packed _ < <(eval_ppl "$models/$model" "$models/text.txt" "$models/calib.txt" 32 8 "$method" \
                --path packed)
            near "$model $method" "$fp32" "$packed"
        done
    done
}

test_same_bytes() {
    local method one again kernels
    for method in salient:w3,g32,select=activation,fraction=0.05 gptq:w4,g32,act_order=1; do
        one=$(eval_ppl "$models/llama3" "$models/text.txt" "$models/calib.txt" 64 6 "$method" --path packed --threads 1)
        again=$(eval_ppl "$models/llama3" "$models/text.txt" "$models/calib.txt" 64 6 "$method" --path packed --threads 2)
        [ "$one" = "$again" ] || fail "$method: $one on one thread, $again on two"
        for kernels in ref avx2; do
            again=$(PTQ_PACKED=$kernels eval_ppl "$models/llama3" "$models/text.txt" "$models/calib.txt" 64 6 "$method" \
                --path packed)
            [ "$one" = "$again" ] || fail "$method: $one here, $again with PTQ_PACKED=$kernels"
        done
    done
}

test_golden_models() {
    local model method fp32 packed
    [ -d "$golden" ] || { echo "skipped: $golden is not there"; return 0; }
    for model in "$golden"/*/; do
        for method in rtn:w3,g32 gptq:w4,g32,act_order=1; do
            read -r fp32 _ < <(eval_ppl "$model" "$golden/test.txt" "$golden/test.txt" 128 4 "$method")
            read -r packed _ < <(eval_ppl "$model" "$golden/test.txt" "$golden/test.txt" 128 4 "$method" --path packed)
            near "$(basename "$model") $method" "$fp32" "$packed"
        done
    done
}

test_what_it_is_called() {
    expect_exit 2 "$ptq" eval "$models/llama" --text "$models/text.txt" --path int8
    expect_text 'it must be one of fp32 packed' "$scratch/err"
    # without codes nothing is packed: the cell is the fp32 one
    expect_exit 0 "$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --path packed -o "$scratch/a.h5"
    expect_exit 0 "$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 -o "$scratch/b.h5"
    expect_exit 0 "$ptq" table "$scratch/a.h5" --format csv
    expect_text ',fp32,' "$scratch/out"
}

run_tests
