#!/usr/bin/env bash
# The catalogue of malformed inputs: tests/malformed/make.py makes them, table.tsv says what ptq does with each, and
# check.py goes through it. Results files, which need h5py, are in test_malformed_h5.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$(realpath "$1")
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache PYTHONDONTWRITEBYTECODE=1

test_every_entry_is_there() {
    seq 119 >"$scratch/wanted"
    grep -v '^#' "$tree/tests/malformed/table.tsv" | cut -f 1 | tr -d '[:lower:]' | sort -nu >"$scratch/there"
    expect_file "$scratch/wanted" "$scratch/there"
}

test_catalogue() {
    expect_exit 0 python3 "$tree/tests/malformed/make.py" "$scratch/bad"
    # A checkpoint that is quantised already, for the entry that quantises it again.
    expect_exit 0 "$ptq" quantize "$models/llama-gqa/model.gguf" --method rtn:w4,g32 --calib "$models/calib.txt" \
        --calib-window 32 --calib-windows 1 --format gptq_v2 -o "$scratch/bad/export" --quiet
    expect_exit 0 "$ptq" quantize "$models/llama-gqa/model.gguf" --method salient:w4,g32,fraction=0.05 --calib "$models/calib.txt" \
        --calib-window 32 --calib-windows 1 --format packed -o "$scratch/own" --quiet
    expect_exit 0 python3 "$tree/tests/malformed/make_packed.py" "$scratch/bad" "$scratch/own"
    expect_exit 0 python3 "$tree/tests/malformed/check.py" "$ptq" "$tree/tests/malformed/table.tsv" "$scratch/bad" --but h5/
    cat "$scratch/out" "$scratch/err"
    while read -r line; do
        grep -qF -- "$line" "$tree/docs/reliability.md" || fail "docs/reliability.md lacks: $line"
    done < <(grep -E '^\||^[0-9]+ kinds' "$scratch/out")
    # A bias in blocks is the bias that it stands for.
    for place in attn_q attn_output; do
        for kind in f32 q8_0; do
            expect_exit 0 "$ptq" eval "$scratch/bad/gguf/104-$place-$kind.gguf" --text "$models/text.txt" --window 32 \
                --max-windows 1 --quiet --json
            grep '"ppl"' "$scratch/out" >"$scratch/$kind"
        done
        expect_file "$scratch/f32" "$scratch/q8_0"
    done
    [ -z "$(find "$scratch/bad/good" -newer "$scratch/bad/export/config.json")" ] || fail "a model's folder was written in"
}

# A command that does each thing that check.py must notice, and one line of a table for each.
test_the_check_notices() {
    cat >"$scratch/fake" <<'END'
#!/bin/bash
say() { echo "ptq: $file: byte 7 is odd" >&2; }
case $1-$2 in *-/*) file=$2 ;; esac
case $1 in
    --version) exit 0 ;;
    right) say ;;
    named) echo "ptq: $file: cannot be read" >&2 ;;
    nameless) echo "ptq: byte 7 is odd" >&2 ;;
    talks) say; say ;;
    prints) say; echo data ;;
    takes) say; exit 0 ;;
    dies) say; kill -9 $$ ;;
    works) { (ulimit -t 2; while :; do :; done); } 2>/dev/null; say ;;
    sleeps) sleep 6; say ;;
    grows) data=$(head -c 90000000 /dev/zero | tr '\0' a); say ;;
esac
exit 1
END
    chmod +x "$scratch/fake"
    for row in 1:right 2:named 3:nameless 4:talks 5:prints 6:takes 7:dies 8:works 9:sleeps 10:grows; do
        printf '%s\tis-odd.bin\t%s {}\t1\tis odd\t\n' "${row%:*}" "${row#*:}"
    done | sed '2s/is odd/odd/' >"$scratch/table.tsv"
    expect_exit 1 python3 -c "import sys; sys.path.insert(0, '$tree/tests/malformed'); import check; check.WALL = 5; check.main()" \
        "$scratch/fake" "$scratch/table.tsv" "$scratch/fakes"
    expect_no_text '^1 ' "$scratch/out"
    expect_text "^2 .*: lacks 'odd'$" "$scratch/out"
    expect_text '^3 .*: does not name the file$' "$scratch/out"
    expect_text '^4 .*: is not one line that begins with ptq:$' "$scratch/out"
    expect_text '^5 .*: 5 bytes on standard output$' "$scratch/out"
    expect_text '^6 .*: exit 0, not 1$' "$scratch/out"
    expect_text '^7 .*: exit -9, not 1$' "$scratch/out"
    expect_text '^8 .*: [0-9.]+ seconds of processor time' "$scratch/out"
    expect_text '^9 .*: [0-9]+ seconds$' "$scratch/out"
    expect_text '^10 .* [0-9]+ MB more than ptq --version$' "$scratch/out"
}

run_tests
