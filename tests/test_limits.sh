#!/usr/bin/env bash
# What the machine does to a run besides its disk: little address space, a clock that jumps, other BLAS kernels, readers
# while results are joined, and a sweep of many cells, whose memory and descriptors stay flat. PTQ_TORTURE=long runs
# 1000 cells.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1 preload=${PTQ_PRELOAD:-}
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache
eval_llama=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --max-windows 2 --threads 1 --quiet)
gptq=(--method "gptq:w3,g32" --calib "$models/calib.txt" --calib-windows 2 --calib-window 32)

# Whether this build can be run with a library before it, and in little memory.
preloads() {
    [ -n "$preload" ] || { echo "  not run: a sanitized build has no such library, and a shadow larger than any limit"; return 1; }
}

# of FILE NAME: that scalar of every cell, one a line.
of() {
    "$ptq" table "$1" --format csv | python3 -c '
import csv, sys
for row in csv.DictReader(sys.stdin):
    print(row[sys.argv[1]])' "$2"
}

# From what the kernel and the loader need to what is enough, each step in one sentence. Where the program itself (26 MB
# with device code) has no room, the kernel ends it by SIGSEGV before its first instruction, so the least is above that; a
# sanitizer's shadow is larger than any. OpenBLAS starts its threads before main, and ends the process by SIGINT where it
# cannot: so none here.
test_little_address_space() {
    local kib code refused=0 own
    preloads || return 0
    own=$(($(stat -c %s "$ptq") >> 10))
    for ((kib = 20000 + own;; kib += kib / 8)); do
        code=0
        (
            ulimit -v "$kib"
            OPENBLAS_NUM_THREADS=1 exec "${eval_llama[@]}" "${gptq[@]}" -o "$scratch/v.h5"
        ) >"$scratch/out" 2>"$scratch/err" || code=$?
        [ "$code" != 0 ] || break
        [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "$kib KiB: left $(find "$scratch" -name '.tmp*')"
        [ "$code" != 127 ] || continue # the program's own libraries could not be loaded
        refused=$((refused + 1))
        [ "$code" = 1 ] || fail "$kib KiB of address space: exit $code: $(cat "$scratch/err")"
        [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || fail "$kib KiB: no one sentence: $(cat "$scratch/err")"
        [ "$kib" -lt 4000000 ] || { fail "$kib KiB are not enough"; break; }
    done
    [ $refused -gt 0 ] || fail "nothing was refused"
    echo "  $refused refused, $kib KiB are enough"
    expect_exit 0 "$ptq" table "$scratch/v.h5"
}

# A cell that cannot be stored leaves nothing that a reader would take for a run under way; what was there stays.
test_evaluation_on_a_full_disk() {
    local file=$scratch/full.h5
    # shellcheck disable=SC2016 # for the shell that it starts
    local full=(bash -c 'ulimit -f 1; exec "$@"' full)
    expect_exit 1 "${full[@]}" "${eval_llama[@]}" -o "$file"
    expect_text '^ptq: .*cannot be written: File too large' "$scratch/err"
    [ -z "$(find "$scratch" -name 'full.h5*')" ] || fail "left: $(ls -d "$file"*)"
    expect_exit 1 "$ptq" table "$file"
    expect_text 'full.h5: there is no such results file' "$scratch/err"
    expect_exit 0 "${eval_llama[@]}" -o "$file"
    expect_exit 1 "${full[@]}" "${eval_llama[@]}" --method rtn:w3,g32 -o "$file"
    [ "$(find "$scratch" -name 'full.h5*')" = "$file" ] || fail "left: $(ls -d "$file"*)"
    expect_exit 0 "$ptq" table "$file"
}

# Each reader finds the table of before or that of after, whole.
test_reader_while_results_are_joined() {
    local file=$scratch/j.h5 bits reader
    expect_exit 0 "${eval_llama[@]}" -o "$file"
    mkfifo "$scratch/go"
    while [ -e "$scratch/go" ]; do
        "$ptq" table "$file" --format csv >"$scratch/read" 2>&1 || echo "exit $?: $(head -2 "$scratch/read")"
        grep -c '^[0-9a-f]\{64\},' "$scratch/read" || true
    done >"$scratch/counts" &
    reader=$!
    for bits in 2 3 4 5 6 7 8; do expect_exit 0 "${eval_llama[@]}" --method "rtn:w$bits,g32" -o "$file"; done
    sleep 0.2
    rm "$scratch/go"
    wait $reader
    expect_no_text '[^0-9]' "$scratch/counts"
    sort -nc "$scratch/counts" || fail "cells were there and then were not: $(tr '\n' ' ' <"$scratch/counts")"
    [ "$(tail -n 1 "$scratch/counts")" = 8 ] || fail "the last reader found $(tail -n 1 "$scratch/counts") cells"
    echo "  $(grep -c . "$scratch/counts") readers"
}

# Seconds come from the clock that only goes on. The other one jumps by ten years at every look (preloaded library).
test_clock_jumps() {
    local name
    preloads || return 0
    expect_exit 0 "${eval_llama[@]}" "${gptq[@]}" -o "$scratch/still.h5"
    for name in a b; do
        expect_exit 0 env LD_PRELOAD="$preload" PTQ_TORTURE_CLOCK=315360000 "${eval_llama[@]}" "${gptq[@]}" -o "$scratch/jumps.h5"
    done
    of "$scratch/jumps.h5" started >"$scratch/started"
    ! grep -q "^$(date +%Y)" "$scratch/started" || fail "the clock did not jump: $(cat "$scratch/started")"
    for name in seconds_load seconds_calibrate seconds_quantize seconds_eval; do
        of "$scratch/jumps.h5" $name >"$scratch/seconds"
        awk '!($1 >= 0 && $1 < 600) { bad = 1 } END { exit bad || !NR }' "$scratch/seconds" ||
            fail "$name: $(cat "$scratch/seconds")"
    done
    expect_exit 0 "$ptq" diff "$scratch/still.h5" "$scratch/jumps.h5"
    expect_text '^equal$' "$scratch/out"
}

# Kernels of BLAS that any x86 has: other last bits, the same results, and the file says which they were.
test_other_blas_kernels() {
    local core
    expect_exit 0 "${eval_llama[@]}" "${gptq[@]}" -o "$scratch/own.h5"
    for core in Prescott Nehalem; do
        expect_exit 0 env OPENBLAS_CORETYPE=$core "${eval_llama[@]}" "${gptq[@]}" -o "$scratch/$core.h5"
        expect_text "$core" <(of "$scratch/$core.h5" blas)
        paste <(of "$scratch/own.h5" nll_mean) <(of "$scratch/$core.h5" nll_mean) >"$scratch/both"
        awk '{ d = $1 - $2; if (d < 0) d = -d; if (!(d <= 1e-3 * $1)) bad = 1; print "  '$core': " d / $1 " of nll" }
            END { exit bad || !NR }' "$scratch/both" || fail "$core: $(cat "$scratch/both")"
    done
}

# An export is the same bytes, however many threads made it, and however often; its README.md has the hour.
test_threads_and_exports() {
    local threads method
    for method in "gptq:w4,g32" "awq:w4,g32"; do
        for threads in 1 1 2 4; do
            expect_exit 0 "$ptq" quantize "$models/opt" --method "$method" "${gptq[@]:2}" --format gptq_v2 \
                --threads $threads --quiet -o "$scratch/q$threads"
            [ -e "$scratch/q" ] || cp -r "$scratch/q$threads" "$scratch/q"
            expect_exit 0 diff -r --exclude=README.md "$scratch/q" "$scratch/q$threads"
            rm -rf "$scratch/q$threads"
        done
        rm -rf "$scratch/q"
    done
}

# At most 24 descriptors, and the second half of the cells adds 2 MB at most to what the process held. A sanitizer keeps
# what was freed; it looks for leaks.
test_many_cells() {
    local n=100 first last file=$scratch/many.h5
    [ "${PTQ_TORTURE:-}" != long ] || n=1000
    cat >"$scratch/many.yaml" <<YAML
title: "many cells"
models: ["$models/llama"]
w_bit: [2, 3, 4, 8]
group_size: 32
methods:
  - salient: {fraction: [$(seq -s ', ' -f '%.4f' 0.0010 0.0010 "$(awk -v n=$n 'BEGIN { print n / 4000 }')")]}
calib: {text: "$models/calib.txt", windows: 2, window: 32}
eval: {text: "$models/text.txt", windows: 1, window: 16}
YAML
    expect_exit 0 limited "$ptq" run "$scratch/many.yaml" --threads 1 -o "$file"
    expect_text "holds $n of $n\$" "$scratch/err"
    of "$file" peak_rss_bytes >"$scratch/peaks"
    first=$(sort -n "$scratch/peaks" | sed -n "$((n / 2))p") last=$(sort -n "$scratch/peaks" | tail -n 1)
    echo "  $n cells: $((first >> 10)) KiB after half of them, $((last >> 10)) KiB after all"
    [ -z "$preload" ] || [ $((last - first)) -le $((2 << 20)) ] || fail "memory grew from $first to $last bytes"
    rm -f "$file"
}

limited() {
    (
        ulimit -n 24
        exec "$@"
    )
}

run_tests
