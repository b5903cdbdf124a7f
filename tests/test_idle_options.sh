#!/usr/bin/env bash
# Options that change nothing in what was asked for: each is said in a line on standard error, or refused where something
# was asked for that there cannot be; and where the same option counts, nothing is said.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=shell.bash
source "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache
calib=(--calib "$models/calib.txt")
windows=(--calib-windows 2 --calib-window 32)

# Each evaluates, quantises, generates in as little time as it takes.
evaluate() {
    "$ptq" eval "$models/$1" --text "$models/text.txt" --window 32 --max-windows 2 "${@:2}"
}

quantize() {
    rm -rf "$scratch/q"
    "$ptq" quantize "$models/opt" --format gptq_v2 -o "$scratch/q" "$@"
}

generate() {
    "$ptq" generate "$models/llama" --prompt "the old" -n 1 "$@"
}

# said WHAT COMMAND...: the one note, and the command goes on.
said() {
    expect_exit 0 "${@:2}"
    grep '^note: ' "$scratch/err" >"$scratch/notes" || true
    [ "$(cat "$scratch/notes")" = "note: $1" ] || fail "${*:2}: $(cat "$scratch/notes")"
}

silent() {
    expect_exit 0 "$@"
    expect_no_text '^note: ' "$scratch/err"
}

# refused WHAT COMMAND...: in one sentence.
refused() {
    expect_exit 2 "${@:2}"
    [ "$(cat "$scratch/err")" = "ptq: $1" ] || fail "${*:2}: $(cat "$scratch/err")"
}

test_calibration() {
    local none="no --calib names a text"
    said "--calib-windows and --calib-window have no effect: $none" evaluate llama "${windows[@]}" --method rtn:w3,g32
    said "--calib-sample has no effect: $none" evaluate llama --calib-sample random
    said "--calib-windows, --calib-window and --calib-sample have no effect: $none" quantize --method rtn:w4,g32 \
        "${windows[@]}" --calib-sample random
    said "--calib-window has no effect: $none" generate --calib-window 32
    said "--calib-window has no effect: $none" generate --calib-window 32 --calib none
    said "--calib, --calib-windows and --calib-window have no effect: fp16 quantises nothing" evaluate llama "${calib[@]}" \
        "${windows[@]}"
    said "--calib has no effect: exact quantises nothing" evaluate llama "${calib[@]}" --method exact
    silent evaluate llama "${calib[@]}" "${windows[@]}" --method rtn:w3,g32 # output errors
    silent evaluate llama "${calib[@]}" "${windows[@]}" --method gptq:w4,g32
    said "--calib, --calib-windows and --calib-window have no effect: rtn:w4,g32 makes the same codes without calibration" \
        quantize "${calib[@]}" "${windows[@]}" --method rtn:w4,g32
    silent quantize "${calib[@]}" "${windows[@]}" --method gptq:w4,g32
    said "--calib has no effect: fp16 makes the same codes without calibration" generate "${calib[@]}"
    silent generate "${calib[@]}" "${windows[@]}" --method gptq:w4,g32
}

test_seed() {
    local none="--seed has no effect: nothing is drawn at random"
    said "$none" evaluate llama --seed 3
    said "$none" evaluate llama --seed 3 --method gptq:w4,g32 "${calib[@]}" "${windows[@]}"
    said "$none" quantize --seed 3 --method rtn:w4,g32
    said "$none" generate --seed 3
    said "$none" generate --seed 3 --temperature 0
    silent evaluate llama --seed 3 --method salient:w3,g32,select=random
    silent evaluate llama --seed 3 --method gptq:w4,g32 "${calib[@]}" "${windows[@]}" --calib-sample random
    silent generate --seed 3 --temperature 0.5
    silent generate --seed 3 --top-k 3
    silent generate --seed 3 --top-p 0.5
}

test_reference() {
    expect_exit 0 "$ptq" quantize "$models/opt" --method rtn:w4,g32 --format awq -o "$scratch/awq" --quiet
    refused "--reference has no effect: $scratch/awq has codes alone, and no full precision to compare with; leave it out" \
        "$ptq" eval "$scratch/awq" --text "$models/text.txt" --window 32 --reference
    said "--reference has no effect: fp16 quantises nothing, and is not compared with itself" evaluate llama --reference
    silent evaluate llama --reference --method rtn:w3,g32
}

# A sweep compares by itself, but not codes with themselves: nothing is kept for it.
test_reference_of_codes() {
    cat >"$scratch/codes.yaml" <<YAML
models: [$models/opt, $scratch/awq]
methods: [fp16]
calib: {text: none}
eval: {text: $models/text.txt, window: 32, windows: 2}
YAML
    rm -rf "$PTQ_CACHE"
    expect_exit 0 "$ptq" run "$scratch/codes.yaml" -o "$scratch/codes.h5" --quiet
    [ "$(find "$PTQ_CACHE/reference" -mindepth 1 -type d | wc -l)" = 1 ] || fail "a reference of codes is kept"
}

test_bos() {
    said "--bos has no effect: $models/gpt2 has a tokenizer without a BOS" evaluate gpt2 --bos window
    silent evaluate opt --bos window
    silent evaluate gpt2
}

test_quantize_alone() {
    said "--window and --max-windows have no effect: without --text nothing is evaluated" quantize --method rtn:w4,g32 \
        --window 32 --max-windows 2
    said "--bos and --device have no effect: no text goes through the model" quantize --method rtn:w4,g32 --bos none \
        --device cpu
    silent quantize --method rtn:w4,g32 --text "$models/text.txt" --window 32 --max-windows 2 --bos none --device cpu
    silent quantize --method gptq:w4,g32 "${calib[@]}" "${windows[@]}" --bos none --device cpu
}

test_generate_alone() {
    local why="--temperature 0 takes the likeliest token always; leave"
    refused "--top-k has no effect: $why it out" generate --temperature 0 --top-k 3
    refused "--top-k and --top-p have no effect: $why them out" generate --temperature 0 --top-k 3 --top-p 0.5
    silent generate --temperature 1 --top-k 3
}

test_run() {
    cat >"$scratch/one.yaml" <<YAML
models: [$models/llama]
methods: [fp16]
calib: {text: none}
eval: {text: $models/text.txt, window: 32, windows: 2}
YAML
    silent "$ptq" run "$scratch/one.yaml" -o "$scratch/one.h5" --jobs 2
    said "--launcher and --jobs have no effect: --merge runs nothing" "$ptq" run "$scratch/one.yaml" -o "$scratch/one.h5" \
        --merge --jobs 2 --launcher local
    silent "$ptq" run "$scratch/one.yaml" -o "$scratch/one.h5" --merge
}

# What is said goes to standard error, once for several reasons, and not where nothing is to be said there.
test_where_it_is_said() {
    evaluate llama "${windows[@]}" --seed 3 --json >"$scratch/out" 2>"$scratch/err"
    python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$scratch/out" || fail "standard output is no JSON"
    [ "$(grep -c '^note: ' "$scratch/err")" = 2 ] || fail "$(cat "$scratch/err")"
    silent evaluate llama "${windows[@]}" --seed 3 --quiet
}

run_tests
