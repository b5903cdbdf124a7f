#!/usr/bin/env bash
# The papers' tables and the claims, end to end on a tiny checkpoint: every experiment of the tree in its quick form, with
# its arrangement, cells shared between them, nothing run again; then the verdicts from what they left.
set -euo pipefail
ptq=$(realpath "$1")
# shellcheck source=tests/shell.bash
. "$(dirname "$0")/shell.bash"
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache
results=$scratch/results
mkdir -p "$results"
cd "$scratch"
# Two domains, each in two parts.
halves() {
    awk -v n="$(wc -l <"$1")" -v a="$2-eval" -v b="$2-calib" '{ print >(NR * 2 <= n ? a : b) }' "$1"
}
for _ in 1 2 3 4; do cat "$models/text.txt"; done >again
halves again essay
for _ in 1 2 3 4; do cat "$models/calib.txt"; done >again
halves again perl

# run NAME OPTION...: the quick form, cut down to the tiny model.
run() {
    local name=$1
    shift
    "$ptq" run "$tree/experiments/$name.yaml" -o "$results/$name.h5" --quick --reuse "$results" --quiet \
        --set "models=$models/llama" --set window=32 --set windows=24 --set calib_window=32 "$@"
}

one_text=(--set text=essay-eval --set calib=perl-calib)
tables=(table1 awq-table2 awq-table3 awq-table4 awq-table9 awq-figure8a gptq-table3 gptq-table4 gptq-table5 gptq-table8 bits-groups
    pareto)

# Every experiment, once for all tests.
run_all() {
    local name
    [ ! -f "$results/awq-figure8b.h5" ] || return 0
    for name in "${tables[@]}"; do expect_exit 0 run "$name" "${one_text[@]}"; done
    expect_exit 0 run awq-figure8b --set 'text=[essay-eval, perl-eval]' --set 'calib=[essay-calib, perl-calib]'
}

test_every_table() {
    local name
    run_all
    for name in "${tables[@]}"; do
        expect_exit 0 "$ptq" table "$results/$name.h5" --format md
        cp "$scratch/out" "$name.md"
        expect_text '^\*\*.*(AWQ, |GPTQ, |group size|effective bits)' "$name.md" # the experiment's title
        expect_no_text 'nan' "$name.md"
        expect_exit 0 "$ptq" table "$results/$name.h5" --format tex
        expect_text 'begin\{tabular\}' "$scratch/out"
        expect_exit 0 "$ptq" table "$results/$name.h5"
    done
    expect_text '^\| model +\| quantised +\| +FP16 \| +RTN \| +activation 0.1 %' table1.md
    expect_text '^\| +\| model +\| +FP16 \| +1 \| +1.25 \| +1.5 \| +2 \| +4 \|$' awq-table2.md
    expect_text '^\| w3 +\| OBQ, only=0.q' gptq-table8.md
    expect_text '^\| steps changed' awq-table2.md
    expect_text '^\| w3 g64 +\| GPTQ, act\\_order=1' awq-table4.md
    expect_text '^\| 2 +\| .* \(3\) \|' awq-figure8a.md # three seeds in one slot
    expect_text '^\| calib.* \| +RTN \|' awq-figure8a.md # which the claims are held against
    expect_text '\| +on the front \|$' pareto.md
}

test_two_domains() {
    run_all
    expect_exit 0 "$ptq" table "$results/awq-figure8b.h5" --format md
    expect_text 'essay-eval perplexity +\| +essay-eval above own domain +\| +perl-eval perplexity' "$scratch/out"
    expect_text '\| GPTQ.*\| perl-calib +\| .* \(3\) \| .*\] t, n = 3 \|' "$scratch/out"
    expect_text '^\| RTN +\| +\| +[0-9.]+ \| +\| +[0-9.]+ \| +\|$' "$scratch/out" # of no calibration
    expect_text ', on perl-eval\*\*' "$scratch/out"
    expect_exit 0 "$ptq" table "$results/awq-figure8b.h5" --format csv
    [ "$(grep -c '^id,' "$scratch/out")" = 1 ] || fail "more than one head line in the CSV"
}

# What another experiment has run is taken over, byte for byte; what is unchanged runs nothing.
test_shared_cells() {
    run_all
    rm -f "$results/awq-table3.h5"
    local again=("$ptq" run "$tree/experiments/awq-table4.yaml" --quick --set "models=$models/llama" --set window=32
        --set windows=24 --set calib_window=32 "${one_text[@]}")
    # a cell that was stopped has left a part, and its file nothing else
    mkdir -p "$results/stopped.h5.cells/0000000000000000000000000000000000000000000000000000000000000000.part"
    expect_exit 0 "${again[@]}" -o other.h5 --reuse "$results" --dry-run
    expect_text '^awq-table4: 17 cells would be taken from' "$scratch/out"
    if [ -e other.h5 ] || [ -e other.h5.cells ]; then fail "a dry run wrote"; fi
    expect_exit 0 "${again[@]}" -o other.h5 --reuse "$results"
    expect_text '^awq-table4: 17 cells taken from' "$scratch/err"
    rm -r "$results/stopped.h5.cells"
    expect_no_text '^\[' "$scratch/err"
    expect_exit 0 "$ptq" diff "$results/awq-table4.h5" other.h5
    expect_text '^equal$' "$scratch/out"
    expect_exit 0 "${again[@]}" -o none.h5 --reuse /no/such/folder
    expect_text '^awq-table4: no cell taken from /no/such/folder, which is not there$' "$scratch/err"
    expect_exit 0 "$ptq" diff none.h5 other.h5
    echo garbage >"$results/zz.h5" # no results file: passed over in a folder, an error by name
    expect_exit 0 run awq-table3 "${one_text[@]}"
    rm -f "$results/awq-table3.h5"
    expect_exit 1 run awq-table3 "${one_text[@]}" --reuse "$results/zz.h5"
    rm -f "$results/zz.h5"
}

test_claims() {
    run_all
    expect_exit 0 "$ptq" claims "$tree/experiments/claims/awq-gptq.yaml" "$results" --format md
    cp "$scratch/out" claims.md
    # the tiny model's weights are random: it knows less than a guess does, and so nothing is said of methods by it
    expect_text '^\| Rounding to nearest at 3 bits .* cannot be tested here +\| w3 g[0-9]+; perplexity of 24 windows of 32 tokens of ' claims.md
    expect_text '^\*\*awq-as-good-as-gptq: .*\(w3 g[0-9]+ and w4 g[0-9]+; calibrated on 8 windows of 32 tokens of [^;]*; perplexity of 24 ' \
        claims.md
    expect_text 'are above that of a guess among [0-9]+ words' claims.md
    expect_text '^\| Of one sequence, weights of 4 bits generate .* (holds|does not hold) here' claims.md # results/bench has the numbers
    expect_text '^\| accuracy: perplexity at 4 bits +\| [0-9]' claims.md
    expect_text 'linears at 4 bits by AWQ, .* % +\| below 30 %' claims.md
    # the tests on the two texts name the default ones, which were not used here
    expect_text "awq-figure8b has no cell 'gptq:w3 text=anarchism-eval calib=perldoc-calib'" claims.md
    expect_exit 0 "$ptq" claims "$tree/experiments/claims/awq-gptq.yaml" "$results" --format json
    python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))["claims"]) >= 12' "$scratch/out" || fail "no JSON"
    expect_exit 2 "$ptq" claims
    expect_exit 1 "$ptq" claims /no/such/claims.yaml
    expect_exit 0 "$ptq" claims "$tree/experiments/claims/awq-gptq.yaml" --dry-run
    expect_text '^awq-table4$' "$scratch/out"
}

# The claims about speed read what the benchmarks write: each file is a target's, each row a metric of it.
test_claims_benchmarks() {
    local files file row column
    sed -n 's/.*measure: bench, file: \(\[[^]]*\]\|[^,]*\), row: "\([^"]*\)", column: "*\([^",}]*\).*/\1|\2|\3/p' \
        "$tree/experiments/claims/awq-gptq.yaml" | sort -u | while IFS='|' read -r files row column; do
        for file in ${files//[][,]/ }; do echo "$file|$row|$column"; done
    done >bench
    [ "$(wc -l <bench)" -ge 9 ] || fail "the claims name no benchmark"
    while IFS='|' read -r file row column; do
        if [[ $file == results/gpu/* ]]; then # what a device gave is kept; bench/gpu.sh writes such tables
            grep -q "^| $row |" "$tree/$file" || fail "$file has no row '$row'"
            grep -q "| $column |" "$tree/bench/gpu.sh" || fail "bench/gpu.sh writes no column '$column'"
            continue
        fi
        make --no-print-directory --directory "$tree" --file Makefile.bench --dry-run PYTHON=/bin/true \
            "$(basename "$file" .md)" >dry 2>&1 || fail "Makefile.bench has no target for $file"
        grep -q -e "--out $file" dry || fail "no target of Makefile.bench writes $file"
        grep -q -e "--metric [a-z_]* \"${row%, *}\" \"${row#*, }\"" dry || fail "$file will have no row '$row'"
    done <bench
}

# A second call prints what the first did and runs nothing; whatever a table depends on makes it anew.
test_unchanged() {
    local settings=(NAME=bits-groups QUICK=1 WINDOWS=1 MODEL="$models/llama" TEXT="$scratch/long" CALIB="$scratch/long"
        RESULTS="$scratch/stamped" PTQ="$scratch/counted")
    local h5
    for _ in 1 2 3 4 5 6 7 8 9 10; do cat "$models/text.txt"; done >long
    cat >counted <<SH
#!/bin/sh
echo "\$1" >>"$scratch/calls"
exec "$ptq" "\$@"
SH
    chmod +x counted
    env "${settings[@]}" "$tree/scripts/table" >first 2>err || fail "scripts/table: $(cat err)"
    : >calls
    env "${settings[@]}" "$tree/scripts/table" >second 2>err || fail "the second time: $(cat err)"
    [ ! -s calls ] || fail "the second call ran ptq: $(tr '\n' ' ' <calls)"
    cmp first second || fail "another table"
    expect_text '^unchanged: ' err
    h5=$(ls stamped/quick/*.h5)
    touch "${h5%.h5}.md"
    env "${settings[@]}" "$tree/scripts/table" >second 2>err || fail "after a change: $(cat err)"
    expect_text '^run$' calls
    expect_text ': 9 done, 0 to run$' err
    cmp first second || fail "another table after a change"
    : >calls
    rm "${h5%.h5}.csv"
    env "${settings[@]}" "$tree/scripts/table" >second 2>err || fail "without the CSV: $(cat err)"
    [ -s "${h5%.h5}.csv" ] || fail "the CSV was not made again"
    : >calls
    touch long # may be another text
    env "${settings[@]}" "$tree/scripts/table" >second 2>err || fail "a text that was touched: $(cat err)"
    expect_text '^run$' calls
    cmp first second || fail "another table of the same text"
    local drawn # every table has its picture
    drawn=$(ls stamped/quick/plots/*/*-cells.png stamped/quick/plots/*/*-groups.svg) || fail "no picture of the table"
    [ "$(wc -l <<<"$drawn")" = 2 ] || fail "other pictures: $drawn"
    # results that go elsewhere take everything with them
    env "${settings[@]}" OUT="$scratch/elsewhere/mine.h5" "$tree/scripts/table" >second 2>err || fail "OUT: $(cat err)"
    for h5 in mine.md plots/mine/llama-cells.svg; do [ -s elsewhere/$h5 ] || fail "beside OUT is $(ls -R elsewhere)"; done
    expect_text "^tables: $scratch/elsewhere/mine.md .csv .tex; plots: $scratch/elsewhere/plots/mine;" err
    expect_exit 1 env "${settings[@]}" OUT=one.h5 "$tree/scripts/tables" bits-groups pareto
    expect_text 'OUT is one.h5; it must be a folder' "$scratch/err"
}

# A setting that a goal has no use for is refused before anything is built or run.
test_make_settings() {
    # what `make test` itself was told is no matter here
    local make=(env -u MAKEFLAGS -u MAKEOVERRIDES make --no-print-directory --directory "$tree" --dry-run) words
    while read -r -a words; do
        expect_exit 2 "${make[@]}" "${words[@]}"
        expect_text "make ${words[0]} knows no ${words[-1]%=*}; it knows " "$scratch/err"
        [ ! -s "$scratch/out" ] || fail "it would run something: ${words[*]}"
    done <<'END'
table NAME=table1 GRUOP=32
table1 NAME=pareto
table1 PLOTS=x
tables NAME=pareto
claims OUT=x.h5
report FILE=x.h5
fuzz t=3
END
    while read -r -a words; do expect_exit 0 "${make[@]}" "${words[@]}"; done <<'END'
table NAME=table1 MODEL=m TEXT=t CALIB=c BITS=3 GROUP=32 WINDOW=64 WINDOWS=2 CALIB_WINDOW=32 CALIB_WINDOWS=4 SEED=1 THREADS=1 OUT=x.h5 QUICK=1
tables QUICK=1 OUT=folder BUILD=b JOBS=1
claims QUICK=1 MODEL=m CLAIMS=mine.yaml
report FILES=x.h5 REPORT=r CLAIMS=mine.yaml
fuzz T=3 TARGETS=gguf
table1 report OUT=x.h5 FILES=x.h5
END
    # a value may hold spaces and signs of equality
    expect_exit 0 "${make[@]}" table1 CMAKE_FLAGS="-DPTQ_WERROR=ON -DPTQ_CUDA=OFF" TEXT="a text=b.txt"
    expect_exit 2 "${make[@]}" table1 CMAKE_FLAGS="-DPTQ_WERROR=ON -DPTQ_CUDA=OFF" GRUOP=32
}

# Figures 8a and 8b have cells in common (two methods, three draws, FP16, RTN); each domain has its picture.
test_figure8() {
    local images
    run_all
    mkdir only
    cp "$results/awq-figure8a.h5" only
    expect_exit 0 "$ptq" run "$tree/experiments/awq-figure8b.yaml" -o "$scratch/8b.h5" --quick --reuse only --set "models=$models/llama" \
        --set window=32 --set windows=24 --set calib_window=32 --set 'text=[essay-eval, perl-eval]' --set 'calib=[essay-calib, perl-calib]'
    expect_text '^awq-figure8b: 8 cells taken from' "$scratch/err"
    if ! command -v gnuplot >/dev/null; then
        echo "  skipped: gnuplot is not installed (scripts/install-deps --for plot)"
        return
    fi
    expect_exit 0 "$ptq" plot "$scratch/8b.h5" -o "$scratch/8b" --quiet
    images=$(ls "$scratch/8b/"*-cells-essay-eval.png "$scratch/8b/"*-cells-perl-eval.png) || fail "no picture a domain"
    [ "$(wc -l <<<"$images")" = 2 ] || fail "other pictures: $images"
}

test_needs() {
    expect_exit 0 "$ptq" experiments "$tree/experiments/awq-figure8b.yaml" --quick
    expect_text '^perldoc-calib$' "$scratch/out"
    [ "$(wc -l <"$scratch/out")" = 5 ] || fail "not one model and four texts"
    expect_exit 2 "$ptq" experiments a b
}

run_tests
