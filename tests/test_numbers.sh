#!/usr/bin/env bash
# Numbers out of the ordinary, with every method and on export: tests/malformed/numbers.tsv says what becomes of them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$(realpath "$1")
export PTQ_CACHE=$scratch/cache PYTHONDONTWRITEBYTECODE=1

test_numbers() {
    expect_exit 0 python3 "$tree/tests/malformed/make_numbers.py" "$scratch/models"
    expect_exit 0 python3 "$tree/tests/malformed/check.py" "$ptq" "$tree/tests/malformed/numbers.tsv" "$scratch/models"
    cat "$scratch/out" "$scratch/err"
    expect_text "\`numbers.tsv\` runs $(grep -oE '^[0-9]+ commands' "$scratch/out")" "$tree/docs/reliability.md"
}

run_tests
