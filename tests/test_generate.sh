#!/usr/bin/env bash
# ptq generate from outside: the same text for any number of threads, draws that follow the seed, what it says of itself,
# what it refuses; and ptq bench, whose numbers are looked at for being there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=shell.bash
source "$(dirname "$0")/shell.bash"
ptq=$1
model=$tree/tests/fixtures/models/llama3
export PTQ_CACHE=$scratch/cache

# value KEY: of the JSON object on the last command's standard output
value() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$scratch/out" "$1"
}

generate() {
    expect_exit 0 "$ptq" generate "$model" --prompt "the old" -n 12 --quiet --json "$@"
}

test_same_for_threads_and_kernels() {
    local one
    for method in fp16 rtn:w4,g32 salient:w3,g32,select=weight,fraction=0.05; do
        generate --method $method --threads 1
        one=$(value ids)
        generate --method $method --threads 2
        [ "$(value ids)" = "$one" ] || fail "$method: other tokens on two threads"
        PTQ_PACKED=ref generate --method $method --threads 2
        [ "$(value ids)" = "$one" ] || fail "$method: other tokens with the plain kernels"
    done
}

test_draws_follow_the_seed() {
    local one
    generate --temperature 1 --seed 3
    one=$(value ids)
    generate --temperature 1 --seed 3 --threads 1
    [ "$(value ids)" = "$one" ] || fail "seed 3 twice: two texts"
    generate --temperature 1 --seed 4
    [ "$(value ids)" != "$one" ] || fail "seeds 3 and 4: one text"
    generate --top-k 1
    one=$(value ids)
    generate
    [ "$(value ids)" = "$one" ] || fail "--top-k 1 is not the likeliest token"
}

test_what_it_says() {
    generate --method rtn:w3,g32
    [ "$(value tokens)" = 12 ] || [ "$(value stopped)" != length ] || fail "$(value tokens) tokens"
    python3 - "$scratch/out" <<'PY' || fail "the numbers of rtn:w3,g32"
import json, sys
cell = json.load(open(sys.argv[1]))
# 3 bits, a scale of 16 or 32 bits and a zero a group of 32
sys.exit(not (3.5 < cell["bits"] < 5 and cell["tokens_per_second"] > 0 and cell["path"] == "packed"))
PY
    expect_exit 0 "$ptq" generate "$model" --prompt "the old" -n 12 --quiet
    [ -s "$scratch/out" ] || fail "no text on standard output"
    expect_exit 0 "$ptq" generate "$model" --prompt "the old" -n 1
    expect_text 'prompt [0-9]+ tokens, [0-9.]+ tokens/s; 1 new \(' "$scratch/err"
}

# A pipe gets the text as it is; a terminal nothing that it would obey, of the prompt or of the model.
test_terminal() {
    local prompt=$'the\e[31m old\n\xc2\x9b' # U+009B, by its bytes: bash knows \u in a locale of UTF-8 alone
    "$ptq" generate "$model" --prompt "$prompt" -n 3 --quiet >"$scratch/out"
    grep -q $'^the\e\[31m old$' "$scratch/out" || fail "the prompt is not there as it was given"
    python3 -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))' "$ptq" generate "$model" --prompt "$prompt" -n 3 \
        --quiet >"$scratch/shown" </dev/null
    expect_text '^the\?\[31m old' "$scratch/shown"
    expect_no_text $'\e|\u009b' "$scratch/shown"
}

# Where the text goes nowhere, no more of it is computed: each token costs more than the one before.
to_nowhere() {
    local code=0
    timeout 60 "$ptq" generate "$model" --prompt "the old" -n 100000 --quiet 2>"$scratch/err" || code=$?
    echo $code >"$scratch/code"
}

test_nobody_reads() {
    to_nowhere >/dev/full
    [ "$(cat "$scratch/code")" = 1 ] || fail "a full disk: exit $(cat "$scratch/code")"
    expect_text '^ptq: standard output cannot be written$' "$scratch/err"
    (trap '' PIPE; to_nowhere) | head -c 20 >"$scratch/out"
    [ "$(cat "$scratch/code")" = 1 ] || fail "a reader that has gone: exit $(cat "$scratch/code")"
    expect_text '^ptq: standard output cannot be written$' "$scratch/err"
}

test_refused() {
    expect_exit 2 "$ptq" generate "$model" -n 3
    expect_text "prompt" "$scratch/err"
    expect_exit 2 "$ptq" generate "$model" --prompt a --temperature -1
    expect_text "temperature" "$scratch/err"
    expect_exit 2 "$ptq" generate "${model%llama3}opt" --prompt a -n 100000
    expect_text "positions|tokens" "$scratch/err"
    expect_exit 2 "$ptq" generate "$model" --prompt a --method rtn:w4,g32 --path sideways
    expect_text "path" "$scratch/err"
    expect_exit 2 "$ptq" generate "$model" --prompt a --device sideways
    expect_text "device" "$scratch/err"
}

# More tokens than the model was made for: both numbers, once; as many as it was made for: nothing.
test_beyond_the_positions() {
    expect_exit 0 "$ptq" generate "$model" --prompt "the old" -n 100 --json
    expect_text '^prompt and text may take 10[0-9] tokens, but .*llama3 was made for 64 positions; ' "$scratch/err"
    [ "$(grep -c positions "$scratch/err")" = 1 ] || fail "said more than once: $(cat "$scratch/err")"
    expect_exit 0 "$ptq" generate "$model" --prompt "the old" -n 40 --json
    expect_no_text positions "$scratch/err"
}

# Without a device one sentence; with one the same tokens as here.
test_device() {
    local here
    if ! "$ptq" --version | grep -q 'device 0'; then
        expect_exit 1 "$ptq" generate "$model" --prompt "the old" -n 3 --device cuda --quiet
        expect_text "device cuda: .*--device cpu" "$scratch/err"
        [ "$(wc -l <"$scratch/err")" = 1 ] || fail "$(cat "$scratch/err")"
        return
    fi
    generate --method fp16
    here=$(value ids)
    generate --method fp16 --device cuda
    [ "$(value ids)" = "$here" ] || fail "other tokens on the device"
    generate --method rtn:w4,g32 --device cuda --temperature 1 --seed 3
    [ "$(value tokens)" -gt 0 ] || fail "no token was drawn on the device"
}

test_bench() {
    expect_exit 0 "$ptq" bench rmsnorm --threads 1 --json
    python3 - "$scratch/out" <<'PY' || fail "bench rmsnorm"
import json, sys
found = json.load(open(sys.argv[1]))
rows = found["rows"]
sys.exit(not rows or not all(row["op"] == "rmsnorm" for row in rows))
PY
    expect_exit 0 "$ptq" bench rmsnorm --threads 1
    expect_text ", 1 thread: reads" "$scratch/out"
    expect_exit 2 "$ptq" bench nothing
    expect_text "'nothing' is not known; known: linear, .*, packed-int8-shared$" "$scratch/err"
    expect_text "nothing" "$scratch/err"
}

run_tests
