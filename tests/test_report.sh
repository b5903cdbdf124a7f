#!/usr/bin/env bash
# The report from outside, of a small sweep on a tiny checkpoint: page, PDF, what failed, what is refused.
set -euo pipefail
# shellcheck source=tests/shell.bash
. "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache

# A sweep with one cell that cannot be run: a model that is not there. Its text is long enough for intervals.
for _ in 1 2 3 4; do cat "$models/text.txt"; done >"$scratch/text.txt"
cat >"$scratch/small.yaml" <<YAML
title: "A small sweep <of> 'two' widths"
models: [$models/llama, $scratch/no-such-model]
w_bit: [3, 4]
group_size: [32, -1]
methods: [fp16, rtn, "awq:w3,g32,loss=gram", "awq:w4,g32,loss=gram"]
calib: {text: $models/calib.txt, windows: [2, 4], window: 32, sample: random}
eval: {text: $scratch/text.txt, window: 32, windows: 24}
layout: {rows: [bits], columns: [method], values: [ppl, above, kl, same_top, effective_bits]}
YAML
"$ptq" run "$scratch/small.yaml" -o "$scratch/small.h5" --quiet 2>"$scratch/run" || true

test_failures_are_kept() {
    expect_text 'no-such-model' "$scratch/small.h5.failed.json"
    python3 -m json.tool "$scratch/small.h5.failed.json" >/dev/null || fail "failed.json is no JSON"
}

test_page() {
    have gnuplot || return 0
    "$ptq" report "$scratch/small.h5" -o "$scratch/out" --format html 2>"$scratch/err" || fail "report: $(cat "$scratch/err")"
    python3 "$tree/tests/check_page.py" "$scratch/out/report.html" || fail "the page is not what it promises"
    expect_text "A small sweep &lt;of&gt; &#39;two&#39; widths" "$scratch/out/report.html"
    expect_text 'no-such-model' "$scratch/out/report.html"
    expect_text 'Activation magnitude by channel' "$scratch/out/report.html"
    expect_text 'Alpha chosen by AWQ' "$scratch/out/report.html"
    if have tidy; then
        tidy -q -e "$scratch/out/report.html" 2>"$scratch/tidy" || true
        if grep -E 'Error|Warning' "$scratch/tidy"; then fail "tidy complains"; fi
    fi
    [ -z "$(find "$scratch/out" -name '.tmp*' -o -name '*.gp')" ] || fail "temporary files were left"
}

# tests/check_layout.py says what holds, at which widths.
test_layout() {
    have gnuplot chromium || return 0
    "$ptq" report "$scratch/small.h5" -o "$scratch/out" --format html 2>"$scratch/err" || fail "report: $(cat "$scratch/err")"
    python3 "$tree/tests/check_layout.py" "$scratch/out/report.html" || fail "the page does not fit its window"
}

test_pdf() {
    have gnuplot weasyprint pdfinfo || return 0
    "$ptq" report "$scratch/small.h5" -o "$scratch/out" 2>"$scratch/err" || fail "report: $(cat "$scratch/err")"
    pdfinfo "$scratch/out/report.pdf" >"$scratch/info"
    expect_text '^Pages: +[1-9]' "$scratch/info"
    expect_text '^Page size: .*A4' "$scratch/info"
    pdffonts "$scratch/out/report.pdf" | tail -n +3 >"$scratch/fonts"
    [ -s "$scratch/fonts" ] || fail "no font"
    ! grep -vE ' yes +(yes|no) +(yes|no) +[0-9]+ +[0-9]+$' "$scratch/fonts" || fail "a font is not embedded"
    pdftotext "$scratch/out/report.pdf" "$scratch/text"
    expect_text 'Summary' "$scratch/text"
    expect_text 'no-such-model' "$scratch/text"
    expect_text 'perplexity against group size' "$scratch/text" # letters of a figure are letters
    # Nothing runs off the paper: a table of many columns is set smaller, or turned.
    pdftotext -bbox "$scratch/out/report.pdf" "$scratch/boxes"
    awk -F'"' '/<page / { width = $2 } /<word / && $6 + 0 > width - 36 { print; bad = 1 } END { exit bad }' "$scratch/boxes" ||
        fail "words off the page"
    # No interval goes on in the next line.
    awk -F'"' '/<word / { split($0, part, "[<>]"); if (open != "" && $4 != y) { print open, part[3]; bad = 1 }
        open = part[3] ~ /^\[[-+]?[0-9]+\.[0-9]+,$/ ? part[3] : ""; n += open != ""; y = $4 } END { exit bad || !n }' "$scratch/boxes" ||
        fail "intervals on two lines, or none at all"
    "$ptq" report "$scratch/small.h5" -o "$scratch/out" 2>"$scratch/err" || fail "report again: $(cat "$scratch/err")"
    cp -p "$scratch/out/report.pdf" "$scratch/first.pdf"
    "$ptq" report "$scratch/small.h5" -o "$scratch/out" 2>"$scratch/err" || fail "report again: $(cat "$scratch/err")"
    [ ! "$scratch/out/report.pdf" -nt "$scratch/first.pdf" ] || fail "the same page was made again"
}

# stub PROGRAM: one of that name that says in $scratch/stub that it is at work, and goes on for 20 s.
stub() {
    mkdir -p "$scratch/stubs"
    printf '#!/bin/sh\necho "$$" >"%s/stub"\nexec sleep 20\n' "$scratch" >"$scratch/stubs/$1"
    chmod +x "$scratch/stubs/$1"
}

# stop_at_work SIGNAL NUMBER WORD...: that ptq ends by the signal while the stub is at work, and the stub with it.
stop_at_work() {
    local signal=$1 number=$2 pid started code=0
    shift 2
    rm -f "$scratch/stub"
    PATH=$scratch/stubs:$PATH "$ptq" "$@" >"$scratch/said" 2>"$scratch/err" &
    pid=$!
    while [ ! -s "$scratch/stub" ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    started=$SECONDS
    kill -s "$signal" $pid || true
    wait $pid || code=$?
    [ $code = "$number" ] || fail "$1, $signal: exit $code: $(cat "$scratch/err")"
    [ $((SECONDS - started)) -lt 5 ] || fail "$1, $signal: it took 5 seconds to end"
    [ "$(grep -c . "$scratch/err")" = 1 ] || fail "$1, $signal: said $(cat "$scratch/err")"
    expect_text '^ptq: .*stopped by a signal' "$scratch/err"
    ! kill -KILL "$(cat "$scratch/stub")" 2>/dev/null || fail "$1, $signal: the program goes on"
    [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "$1, $signal left $(find "$scratch" -name '.tmp*')"
}

test_stopped_while_drawing() {
    local command
    stub gnuplot
    for command in report plot; do
        stop_at_work INT 130 $command "$scratch/small.h5" -o "$scratch/stopped"
        stop_at_work TERM 143 $command "$scratch/small.h5" -o "$scratch/stopped"
        [ -z "$(find "$scratch/stopped" -type f ! -name '*.csv')" ] || fail "there is $(find "$scratch/stopped" -type f)"
        rm -r "$scratch/stopped"
    done
    rm "$scratch/stubs/gnuplot"
}

test_stopped_while_printing() {
    have gnuplot || return 0
    stub weasyprint
    stop_at_work TERM 143 report "$scratch/small.h5" -o "$scratch/printed"
    expect_text 'report.html is written, the PDF is not' "$scratch/err"
    [ ! -e "$scratch/printed/report.pdf" ] || fail "there is a PDF"
    rm "$scratch/stubs/weasyprint"
}

# A program that ends well and has made nothing: no PDF of nothing but our own mark.
test_nothing_printed() {
    local code=0
    have gnuplot || return 0
    mkdir -p "$scratch/stubs"
    ln -s "$(type -P true)" "$scratch/stubs/weasyprint"
    PATH=$scratch/stubs:$PATH "$ptq" report "$scratch/small.h5" -o "$scratch/nothing" 2>"$scratch/err" || code=$?
    [ $code = 1 ] || fail "exit $code: $(cat "$scratch/err")"
    expect_text 'report.html is written, the PDF is not: .* is not there, though' "$scratch/err"
    [ ! -e "$scratch/nothing/report.pdf" ] || fail "there is a PDF"
    rm "$scratch/stubs/weasyprint"
}

# A terminal's Ctrl-C reaches gnuplot as well, whose end is then no fault of its own.
test_stopped_with_its_group() {
    local code=0
    mkdir -p "$scratch/stubs"
    # shellcheck disable=SC2016 # the stub's own variables
    printf '#!/bin/sh\nkill -INT "$PPID"\nkill -INT "$$"\n' >"$scratch/stubs/gnuplot"
    chmod +x "$scratch/stubs/gnuplot"
    PATH=$scratch/stubs:$PATH "$ptq" plot "$scratch/small.h5" -o "$scratch/stopped" 2>"$scratch/err" || code=$?
    [ $code = 130 ] || fail "exit $code: $(cat "$scratch/err")"
    expect_text '^ptq: stopped by a signal' "$scratch/err"
    rm "$scratch/stubs/gnuplot"
}

# Who starts ptq may not want to hear of children, or may hear of them by other means: ptq waits for its own.
test_started_by_who_ignores_children() {
    local deaf='import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
os.execv(sys.argv[1], sys.argv[1:])'
    have gnuplot || return 0
    python3 -c "$deaf" "$ptq" plot "$scratch/small.h5" -o "$scratch/deaf" 2>"$scratch/err" || fail "plot: $(cat "$scratch/err")"
    [ -n "$(find "$scratch/deaf" -name '*.svg')" ] || fail "there is no picture"
    # and its own children do not inherit it
    mkdir -p "$scratch/stubs"
    printf '#!/bin/sh\nexec grep -E "^Sig(Blk|Ign):" /proc/self/status >"%s"\n' "$scratch/masks" >"$scratch/stubs/gnuplot"
    chmod +x "$scratch/stubs/gnuplot"
    PATH=$scratch/stubs:$PATH python3 -c "$deaf" "$ptq" plot "$scratch/small.h5" -o "$scratch/deaf2" 2>"$scratch/err" || true
    ! grep -E '[13579bdf]....$' "$scratch/masks" || fail "a child ignores or blocks SIGCHLD" # bit 16 of each mask
    rm "$scratch/stubs/gnuplot"
}

test_refusals() {
    local got=0
    "$ptq" report "$scratch/small.h5" 2>"$scratch/err" || got=$?
    [ $got -eq 2 ] || fail "no -o: exit $got"
    got=0
    "$ptq" report "$scratch/small.h5" -o "$scratch/x" --format docx 2>"$scratch/err" || got=$?
    [ $got -eq 2 ] || fail "a format that is not known: exit $got"
    expect_text 'known: html' "$scratch/err"
    [ ! -e "$scratch/x" ] || fail "something was written"
    got=0
    "$ptq" report "$scratch/no.h5" -o "$scratch/x" 2>"$scratch/err" || got=$?
    [ $got -eq 1 ] || fail "no such file: exit $got"
    [ "$(grep -c '' "$scratch/err")" -eq 1 ] || fail "not one sentence"
}

run_tests
