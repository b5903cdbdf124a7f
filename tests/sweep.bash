# A sweep of twelve cells on a tiny model, and how two runs of it are compared. Sourced behind shell.bash.
# shellcheck disable=SC2154 # tree, scratch and ptq are set by who sources this
models=$tree/tests/fixtures/models

# make_sweep WINDOWS: $scratch/sweep.yaml, with a text so long that a cell takes a while and can be killed in its middle.
make_sweep() {
    for _ in $(seq $((40 + $1 / 10))); do cat "$models/text.txt"; done >"$scratch/text.txt"
    cat >"$scratch/sweep.yaml" <<YAML
title: "twelve cells"
models: ["$models/llama"]
w_bit: [3, 4]
group_size: 32
methods:
  - fp16
  - rtn
  - salient: {fraction: [0.03, 0.1]}
  - gptq
  - awq: {loss: gram}
calib: {text: "$models/calib.txt", windows: 4, window: 32}
eval: {text: "$scratch/text.txt", windows: $1, window: 64}
include:
  - {methods: rtn, w_bit: 8}
YAML
    export PTQ_CACHE=$scratch/cache
}

# numbers FILE: every scalar of every cell that is not of the run that made it (its host, hour, seconds and memory).
numbers() {
    "$ptq" table "$1" --format csv | python3 -c '
import csv, sys
of_a_run = {"host", "cpu", "started", "threads", "tokens_per_second"}
for row in csv.DictReader(sys.stdin):
    print(*(f"{key}={value}" for key, value in row.items() if key not in of_a_run and not key.startswith(("seconds", "peak"))))'
}

# expect_same_table A B: all numbers, the nll of every token, and the printed table but for its last column, the seconds.
expect_same_table() {
    local file
    for file in "$1" "$2"; do
        numbers "$file" >"$file.numbers"
        "$ptq" table "$file" --format md | sed 's/|[^|]*|$/|/' >"$file.md"
    done
    expect_file "$1.numbers" "$2.numbers"
    expect_file "$1.md" "$2.md"
    grep -q '|' "$1.md" || fail "no table in $1"
    expect_exit 0 "$ptq" diff "$1" "$2"
    expect_text '^equal$' "$scratch/out"
    rm -f "$1.numbers" "$2.numbers" "$1.md" "$2.md"
}
