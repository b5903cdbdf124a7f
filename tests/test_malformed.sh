#!/usr/bin/env bash
# The catalogue of malformed inputs: tests/malformed/make.py makes them, table.tsv says what ptq does with each, and
# check.py goes through it. Results files, which need h5py, are in test_malformed_h5.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$(realpath "$1")
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache PYTHONDONTWRITEBYTECODE=1

test_every_entry_is_there() {
    seq 118 >"$scratch/wanted"
    grep -v '^#' "$tree/tests/malformed/table.tsv" | cut -f 1 | tr -d '[:lower:]' | sort -nu >"$scratch/there"
    expect_file "$scratch/wanted" "$scratch/there"
}

test_catalogue() {
    expect_exit 0 python3 "$tree/tests/malformed/make.py" "$scratch/bad"
    # A checkpoint that is quantised already, for the entry that quantises it again.
    expect_exit 0 "$ptq" quantize "$models/llama-gqa/model.gguf" --method rtn:w4,g32 --calib "$models/calib.txt" \
        --calib-window 32 --calib-windows 1 --format gptq_v2 -o "$scratch/bad/export" --quiet
    expect_exit 0 python3 "$tree/tests/malformed/check.py" "$ptq" "$tree/tests/malformed/table.tsv" "$scratch/bad" --but h5/
    cat "$scratch/out" "$scratch/err"
    [ -z "$(find "$scratch/bad/good" -newer "$scratch/bad/export/config.json")" ] || fail "a model's folder was written in"
}

run_tests
