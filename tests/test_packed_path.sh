#!/usr/bin/env bash
# --path packed: perplexity within 1e-4 of --path fp32 for every kind of codes; --path packed-int8: within 2 %, and said
# to be another; both: the same bytes for any number of threads and from plain C, AVX2 and AVX-512.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=shell.bash
source "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
golden=$tree/../shared/golden/models
export PTQ_CACHE=$scratch/cache

methods="rtn:w4,g64 rtn:w3,g32 rtn:w2,g-1,sym=1 rtn:w8,g20 rtn:w5,g48,scale_dtype=fp16
    salient:w3,g32,select=activation,fraction=0.05 gptq:w4,g32,act_order=1 gptq:w3,g-1 awq:w3,g32,loss=gram
    scale:w3,g32,fraction=0.05,s=2 rtn:w8,g2"

# eval_ppl MODEL TEXT CALIB WINDOW WINDOWS METHOD ARGUMENTS...: "ppl bits"
eval_ppl() {
    "$ptq" eval "$1" --text "$2" --calib "$3" --window "$4" --max-windows "$5" --calib-window 32 --calib-windows 8 \
        --method "$6" "${@:7}" --json --quiet >"$scratch/cell.json" 2>"$scratch/err" || { cat "$scratch/err"; return 1; }
    python3 -c 'import json, sys; c = json.load(open(sys.argv[1])); print(repr(c["ppl"]), c["effective_bits"])' \
        "$scratch/cell.json"
}

# near WHAT FP32 PACKED [BOUND]: within 1e-4 relative
near() {
    python3 - "$2" "$3" "${4:-1e-4}" <<'PY' || fail "$1: $2 by fp32, $3 packed"
import sys
a, b, bound = map(float, sys.argv[1:])
sys.exit(not abs(a - b) <= bound * a)
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

# 8 bits of activations are worth something of their own, and it is little; the codes are the same.
test_int8_is_near() {
    local method fp32 packed packed_bits int8 int8_bits
    for method in $methods; do
        read -r fp32 _ < <(eval_ppl "$models/llama3" "$models/text.txt" "$models/calib.txt" 32 8 "$method")
        read -r packed packed_bits < <(eval_ppl "$models/llama3" "$models/text.txt" "$models/calib.txt" 32 8 "$method" \
            --path packed)
        read -r int8 int8_bits < <(eval_ppl "$models/llama3" "$models/text.txt" "$models/calib.txt" 32 8 "$method" \
            --path packed-int8)
        near "$method, 8 bits" "$fp32" "$int8" 0.02
        [ "$packed" != "$int8" ] || fail "$method: $packed by packed, and by packed-int8"
        [ "$packed_bits" = "$int8_bits" ] || fail "$method: $packed_bits bits a weight, and $int8_bits"
    done
}

# same_bytes PATH METHOD
same_bytes() {
    local one again kernels cell=("$models/llama3" "$models/text.txt" "$models/calib.txt" 64 6 "$2" --path "$1")
    one=$(eval_ppl "${cell[@]}" --threads 1)
    again=$(eval_ppl "${cell[@]}" --threads 2)
    [ "$one" = "$again" ] || fail "$1, $2: $one on one thread, $again on two"
    for kernels in ref avx2; do
        again=$(PTQ_PACKED=$kernels eval_ppl "${cell[@]}")
        [ "$one" = "$again" ] || fail "$1, $2: $one here, $again with PTQ_PACKED=$kernels"
    done
}

test_same_bytes() {
    local method path
    for path in packed packed-int8; do
        for method in salient:w3,g32,select=activation,fraction=0.05 gptq:w4,g32,act_order=1 rtn:w8,g20; do
            same_bytes $path $method
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

# Codes of others are packed as they are (test_packed_import has the containers); each says what it was computed by.
test_codes_of_others() {
    local path fp32 packed cell=(--text "$models/text.txt" --window 32 --max-windows 4)
    expect_exit 0 "$ptq" quantize "$models/opt" --method rtn:w4,g32 --format awq -o "$scratch/awq" --quiet
    for path in fp32 packed; do
        expect_exit 0 "$ptq" eval "$scratch/awq" "${cell[@]}" --path $path
        expect_text "weights in the file: awq 4 bits, g32; computed by path $path\$" "$scratch/out"
        expect_exit 0 "$ptq" eval "$scratch/awq" "${cell[@]}" --path $path --json
        expect_text "^ \"path\": \"$path\"" "$scratch/out"
    done
    read -r fp32 _ < <(eval_ppl "$scratch/awq" "$models/text.txt" none 32 99 fp16)
    read -r packed _ < <(eval_ppl "$scratch/awq" "$models/text.txt" none 32 99 fp16 --path packed)
    near "awq, read back" "$fp32" "$packed"
    [ "$fp32" != "$packed" ] || fail "the paths are one"
    expect_exit 0 "$ptq" generate "$scratch/awq" --prompt "the old" -n 3 --path packed
    expect_text 'awq 4 bits, g32 packed, 4\.[0-9]+ bits a weight' "$scratch/err"
    expect_exit 0 "$ptq" generate "$scratch/awq" --prompt "the old" -n 3 --path fp32
    expect_text 'weights as in the file \(awq 4 bits, g32\), computed in float32' "$scratch/err"
}

# What has no codes is no packed cell: refused where it was asked for by name, said where it stands beside others.
test_without_codes() {
    local model command
    expect_exit 2 "$ptq" eval "$models/llama" --text "$models/text.txt" --path int8
    expect_text 'it must be one of fp32 packed packed-int8' "$scratch/err"
    expect_exit 2 "$ptq" eval "$models/llama" --text "$models/text.txt" --path packed-int8 --device cuda
    expect_text '^ptq: path packed-int8 is computed on the CPU alone; take device cpu, or path packed on cuda$' \
        "$scratch/err"
    for model in llama "llama-gqa/model.gguf"; do
        for command in "eval $models/$model --text $models/text.txt --window 32" "generate $models/$model --prompt a"; do
            # shellcheck disable=SC2086 # words
            expect_exit 1 "$ptq" $command --path packed --quiet
            expect_text "$model: --path packed needs codes of every linear, and these weights \(.*--path fp32" "$scratch/err"
            [ "$(wc -l <"$scratch/err")" = 1 ] || fail "$(cat "$scratch/err")"
        done
    done
    expect_exit 1 "$ptq" eval "$models/llama" --text "$models/text.txt" --path packed --method exact -o "$scratch/a.h5"
    [ ! -e "$scratch/a.h5" ] || fail "a refused cell left a file"
    expect_exit 0 "$ptq" generate "$models/llama" --prompt "the old" -n 2
    expect_text 'computed in float32' "$scratch/err"
    cat >"$scratch/both.yaml" <<YAML
models: [$models/llama]
methods: [fp16, "rtn:w4,g32"]
calib: {text: none}
eval: {text: $models/text.txt, window: 32, windows: 2}
path: packed
YAML
    expect_exit 0 "$ptq" run "$scratch/both.yaml" -o "$scratch/both.h5" --quiet
    expect_exit 0 "$ptq" table "$scratch/both.h5" --format csv
    expect_text ',fp16,.*,fp32,' "$scratch/out"
    expect_text ',"?rtn:w4,g32"?,.*,packed,' "$scratch/out"
}

# Its name goes wherever a path does, and no table holds it beside the others.
test_int8_is_named() {
    local cell=(eval "$models/llama" --text "$models/text.txt" --window 32 --max-windows 8 --quiet) path
    expect_exit 0 "$ptq" "${cell[@]}" -o "$scratch/fp16.h5"
    for path in packed packed-int8; do
        cp "$scratch/fp16.h5" "$scratch/$path.h5"
        expect_exit 0 "$ptq" "${cell[@]}" --method rtn:w4,g32 --path $path -o "$scratch/$path.h5"
    done
    expect_exit 0 "$ptq" "${cell[@]}" --method rtn:w4,g32 --path packed-int8
    expect_text '^path packed-int8: activations are rounded to 8 bits, too' "$scratch/out"
    expect_exit 0 "$ptq" "${cell[@]}" --method rtn:w4,g32 --path packed-int8 --json
    expect_text '"path": "packed-int8"' "$scratch/out"
    expect_exit 0 "$ptq" table "$scratch/packed-int8.h5" --format csv
    expect_text ',packed-int8,' "$scratch/out"
    expect_exit 0 "$ptq" table "$scratch/packed-int8.h5"
    expect_text 'Path packed-int8 rounds activations to 8 bits, too: ' "$scratch/out"
    expect_exit 0 "$ptq" table "$scratch/packed.h5"
    expect_no_text 'rounds activations' "$scratch/out"
    expect_exit 0 "$ptq" inspect "$scratch/packed-int8.h5" --json
    expect_text '"path": "packed-int8"' "$scratch/out"
    cat >"$scratch/sweep.yaml" <<YAML
models: ["$models/llama"]
methods: [rtn]
group_size: 32
calib: {text: none}
eval: {text: "$models/text.txt", windows: 2, window: 32}
path: packed-int8
YAML
    expect_exit 0 "$ptq" run "$scratch/sweep.yaml" -o "$scratch/sweep.h5" --quiet
    expect_exit 0 "$ptq" table "$scratch/sweep.h5" --format csv
    expect_text ',packed-int8,' "$scratch/out"
    expect_exit 1 "$ptq" table "$scratch/packed.h5" "$scratch/packed-int8.h5"
    expect_text '\(path packed\) and .* \(path packed-int8\) do not stand in one table' "$scratch/err"
    expect_exit 0 "$ptq" diff "$scratch/packed.h5" "$scratch/packed-int8.h5"
    expect_text 'rtn:w4,g32  \(other path\)' "$scratch/out"
    expect_exit 0 "$ptq" generate "$models/llama" --prompt "the old" -n 4 --method rtn:w4,g32 --path packed-int8 --json
    expect_text '"path": "packed-int8"' "$scratch/out"
    expect_text 'rtn:w4,g32 packed-int8, [0-9.]+ bits a weight' "$scratch/err"
}

# One token at a time, from codes in registers, and a prompt by panels.
test_int8_decodes_alike() {
    local how=(generate "$models/llama3" --method "rtn:w4,g32" --path packed-int8 -n 8 --quiet) one kernels
    expect_exit 0 "$ptq" "${how[@]}" --prompt "the old man" --threads 1
    one=$(cat "$scratch/out")
    for kernels in ref avx2; do
        PTQ_PACKED=$kernels expect_exit 0 "$ptq" "${how[@]}" --prompt "the old man" --threads 2
        [ "$one" = "$(cat "$scratch/out")" ] || fail "other words with PTQ_PACKED=$kernels"
    done
}

run_tests
