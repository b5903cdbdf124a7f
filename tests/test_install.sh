#!/usr/bin/env bash
# scripts/install-deps with a dpkg, an apt-get, an id and a sudo that are only pretended: what it says, what it runs.
# And scripts/table with a ptq that only writes down its arguments.
# shellcheck disable=SC2015,SC2016 # in `a && b || fail`, fail is meant for both; some dollars are the tools'
set -u
# shellcheck source=tests/shell.bash
. "$(dirname "${BASH_SOURCE[0]}")/shell.bash"
install=$tree/scripts/install-deps
unset PTQ_SKIP_DEPS
mkdir -p "$scratch/bin"

# tool NAME: a pretended command, its body on standard input
tool() {
    { echo '#!/bin/bash'; cat; } >"$scratch/bin/$1"
    chmod +x "$scratch/bin/$1"
}

# machine USER-ID: nothing is installed but what $scratch/installed lists; apt-get adds to it
machine() {
    printf 'make\ngit\n' >"$scratch/installed"
    : >"$scratch/log"
    rm -f "$scratch/bin/sudo" "$scratch/lists"
    tool id <<<"echo $1"
    tool dpkg-query <<<"sed 's/^/installed /' '$scratch/installed'"
    tool apt-get <<END
echo "\$*" >>"$scratch/log"
case "\$*" in
    *update*) touch "$scratch/lists" ;;
    *install*) [ -e "$scratch/lists" ] || exit 100 ;;&
    --simulate*) ;;
    *install*) printf '%s\n' "\$@" | grep -v -e - -e install >>"$scratch/installed"
               printf '%s\n' "\$@" | grep -e '[a-z0-9]-' >>"$scratch/installed" ;;
esac
END
}

installs() { PATH=$scratch/bin:$PATH "$install" "$@" </dev/null; }

test_says_and_installs_as_root() {
    machine 0
    expect_exit 0 installs --for build
    expect_text '^scripts/install-deps: [0-9]+ packages are missing, and are installed by: apt-get install .*cmake' \
        "$scratch/err"
    expect_text '^update' "$scratch/log" # there were no lists
    expect_text '^install .*libopenblas-dev' "$scratch/log"
    expect_no_text ' (make|git)( |$)' "$scratch/log" # they were there
    : >"$scratch/log"
    expect_exit 0 installs --for build
    [ ! -s "$scratch/log" ] && [ ! -s "$scratch/err" ] || fail "a second call does something"
}

test_dry_run() {
    machine 0
    expect_exit 0 installs --for fetch --for plot --dry-run
    expect_text 'gnuplot-nox' "$scratch/err"
    expect_text 'python3-pip' "$scratch/err"
    expect_no_text 'cmake' "$scratch/err"
    [ ! -s "$scratch/log" ] || fail "a dry run ran apt-get"
}

test_sudo() {
    machine 1000
    tool sudo <<<'[ "$1" != -n ] || exit 0; echo "sudo" >>"'"$scratch"'/log"; exec "$@"'
    expect_exit 0 installs --for plot
    expect_text '^sudo' "$scratch/log"
    expect_text '^gnuplot-nox' "$scratch/installed"
}

test_neither_root_nor_sudo() {
    machine 1000
    tool sudo <<<'exit 1'
    expect_exit 1 installs --for plot
    expect_text 'run as root: apt-get update && apt-get install --no-install-recommends gnuplot-nox$' "$scratch/err"
    expect_no_text 'are installed by' "$scratch/err"
    expect_no_text '^(install|update)' "$scratch/log"
}

# who may not install is told all that a goal needs at once, and not the rest after minutes of building
test_make_asks_once() {
    local goal wanted
    machine 1000
    tool sudo <<<'exit 1'
    for goal in 'table1 gnuplot-nox' 'claims python3-pip' 'plots gnuplot-nox' 'report weasyprint' 'torture strace' 'test curl'; do
        read -r goal wanted <<<"$goal"
        PATH=$scratch/bin:$PATH expect_exit 2 env -u MAKEFLAGS make -C "$tree" BUILD="$scratch/none" "$goal" </dev/null
        expect_text "run as root: apt-get update && apt-get install .* cmake .*$wanted" "$scratch/err"
    done
    [ ! -e "$scratch/none" ] || fail "something was built"
}

test_make_table_needs_a_name() {
    local name
    machine 0
    tool cmake <<<'exit 1'
    for name in '' nothing; do
        PATH=$scratch/bin:$PATH expect_exit 2 env -u MAKEFLAGS NAME="$name" make -C "$tree" BUILD="$scratch/none" table </dev/null
        expect_text 'make table needs NAME=, one of: .*awq-table4' "$scratch/err"
    done
    [ ! -s "$scratch/log" ] || fail "it was told after apt-get ran"
    rm "$scratch/bin/cmake"
}

test_install_that_fails() {
    machine 0
    tool apt-get <<<'exit 100'
    expect_exit 1 installs --for plot
    expect_text 'tries once more' "$scratch/err"
    expect_text 'could not install gnuplot-nox .see above.; with a network, run as root: apt-get update' "$scratch/err"
}

test_usage() {
    expect_exit 2 installs --for nothing
    expect_text "no group 'nothing'" "$scratch/err"
    expect_exit 2 installs --frob
    PTQ_SKIP_DEPS=1 expect_exit 0 installs --for ci
}

test_quick_when_all_is_there() {
    local start now
    start=$(date +%s%N)
    "$install" --for build >/dev/null 2>&1 --dry-run
    now=$(date +%s%N)
    [ $(((now - start) / 1000000)) -lt 2000 ] || fail "took $(((now - start) / 1000000)) ms"
}

# make and make table1 configure a machine that has the group build and nothing else: Python comes with fetch
test_build_is_enough_to_configure() {
    local program
    have cmake || return 0
    mkdir -p "$scratch/programs"
    for program in gcc g++ cc c++ make cmake pkg-config git as ld ar ranlib nm objdump strip objcopy readelf; do
        ln -s "$(command -v $program)" "$scratch/programs/"
    done
    expect_exit 0 env -i PATH="$scratch/programs" cmake -S "$tree" -B "$scratch/configured" \
        -DPTQ_CUDA=OFF -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF
}

# scripts/table with a ptq that writes down what it was called with
test_table1_settings() {
    local out
    machine 0
    tool ptq <<END
printf '<%s>' "\$@" >>"$scratch/calls"; echo >>"$scratch/calls"
[ "\$1" != experiments ] || printf '%s\n' "\$MODEL" "\$TEXT" "\$CALIB"
END
    mkdir -p "$scratch/cache/texts" "$scratch/a model" "$scratch/folder"
    touch "$scratch/cache/texts/"{t\ \'x\"y,c}.txt
    export PTQ_CACHE=$scratch/cache PTQ=$scratch/bin/ptq RESULTS=$scratch/fresh
    export MODEL="$scratch/a model" TEXT="t 'x\"y" CALIB=c

    : >"$scratch/calls"
    OUT="$scratch/my own.h5" BITS=4 GROUP=32 WINDOWS=5 CALIB_WINDOW=64 CALIB_WINDOWS=2,8 SEED=7 THREADS=2 expect_exit 0 "$tree/scripts/table"
    expect_text "^<run><experiments/table1.yaml><-o><$scratch/my own.h5><--set><models=$scratch/a model><--set>\
<text=t 'x\"y><--set><calib=c><--set><w_bit=4><--set><group_size=32><--set><windows=5><--set><calib_window=64>\
<--set><calib_windows=2,8><--set><seed=7><--threads><2>$" \
        "$scratch/calls"
    expect_text "^<table><$scratch/my own.h5><--format><md>$" "$scratch/calls"
    expect_text "^<plot><$scratch/my own.h5><-o><$scratch/plots/my own>$" "$scratch/calls"
    [ -f "$scratch/my own.md" ] && [ -f "$scratch/my own.csv" ] && [ -f "$scratch/my own.tex" ] || fail "no tables"

    : >"$scratch/calls" # a name of its own for other settings, in a folder that is not there yet
    BITS=4 expect_exit 0 "$tree/scripts/table"
    out=$(sed -n 's/^<run>.*<-o><\([^>]*\)>.*/\1/p' "$scratch/calls")
    [[ $out == "$RESULTS"/table1-models=*a_model.*-text=*-calib=c-w_bit=4.h5 ]] || fail "results in $out"
    : >"$scratch/calls" # models whose long paths end alike have files of their own
    mkdir -p "$scratch/another/a model"
    MODEL="$scratch/another/a model" BITS=4 expect_exit 0 "$tree/scripts/table"
    [ "$out" != "$(sed -n 's/^<run>.*<-o><\([^>]*\)>.*/\1/p' "$scratch/calls")" ] || fail "both in $out"
    TEXT=no/such/text expect_exit 1 "$tree/scripts/table"
    : >"$scratch/calls" # OUT may be a folder
    OUT=$scratch/folder expect_exit 0 "$tree/scripts/table"
    expect_text "^<run>.*<-o><$scratch/folder/table1-models" "$scratch/calls"
    unset PTQ_CACHE PTQ RESULTS MODEL TEXT CALIB
}

# scripts/tables and scripts/claims: quick forms in one folder, from which cells are shared; verdicts from the same folder
test_tables_and_claims() {
    local setting folders
    machine 0
    tool ptq <<END
printf '<%s>' "\$@" >>"$scratch/calls"; echo >>"$scratch/calls"
[ "\$1" != experiments ] || printf '%s\n' "$scratch/a model"
[ "\$1\$3" != claims--dry-run ] || printf '%s\n' awq-table4 table1
[ "\$1" != run ] || ! grep -q "\$2" "$scratch/broken"
END
    mkdir -p "$scratch/a model"
    : >"$scratch/calls"
    : >"$scratch/broken"
    export PTQ=$scratch/bin/ptq RESULTS=$scratch/all QUICK=1
    expect_exit 0 "$tree/scripts/claims"
    expect_text "^<run><experiments/awq-table4.yaml><-o><$RESULTS/quick/awq-table4.h5><--quick><--reuse><$RESULTS/quick>$" \
        "$scratch/calls"
    expect_text "^<run><experiments/table1.yaml><-o><$RESULTS/quick/table1.h5><--quick>" "$scratch/calls"
    expect_text "^<claims><experiments/claims/awq-gptq.yaml><$RESULTS/quick><--format><md>$" "$scratch/calls"
    [ -f "$RESULTS/quick/claims.md" ] || fail "no verdicts"

    : >"$scratch/calls" # another model has a folder of its own; in full, cells are shared as well
    QUICK='' MODEL="$scratch/a model" expect_exit 0 "$tree/scripts/claims"
    expect_text "^<run><experiments/table1.yaml><-o><($RESULTS/claims-models=[^/]*a_model[^/]*)/table1.h5>.*<--reuse><\1>$" \
        "$scratch/calls"
    : >"$scratch/calls" # and so have other settings: none with values alike
    for setting in TEXT=c CALIB=c WINDOWS=32 CALIB_WINDOW=32 CALIB_WINDOWS=32 SEED=32; do
        expect_exit 0 env "$setting" "$tree/scripts/claims"
    done
    folders=$(sed -n 's/^<run>.*<-o><\(.*\)\/table1.h5>.*/\1/p' "$scratch/calls" | sort -u)
    [ "$(wc -l <<<"$folders")" = 6 ] || fail "six settings in $folders"
    expect_text "^<run>.*<-o><$RESULTS/quick/claims-windows=32/table1.h5>.*<--set><windows=32>" "$scratch/calls"

    : >"$scratch/calls" # claims of one's own have verdicts of their own
    CLAIMS=$scratch/mine.yaml expect_exit 0 "$tree/scripts/claims"
    expect_text "^<claims><$scratch/mine.yaml><$RESULTS/quick><--format><md>$" "$scratch/calls"
    [ -f "$RESULTS/quick/claims-mine.md" ] || fail "no verdicts of claims of one's own"
    FILES=a.h5 REPORT=$scratch/report CLAIMS=mine.yaml expect_exit 0 "$tree/scripts/report"
    expect_text "^<report><a.h5><-o><$scratch/report><--claims><mine.yaml>$" "$scratch/calls"

    : >"$scratch/calls" # verdicts are of one model
    expect_exit 1 env MODEL='[a, b]' "$tree/scripts/claims"
    expect_text "MODEL is '\[a, b\]'; claims are judged of one model" "$scratch/err"
    [ ! -s "$scratch/calls" ] || fail "it ran something"
    expect_exit 0 env MODEL="[$scratch/a model]" "$tree/scripts/claims"

    echo experiments/awq-table4.yaml >"$scratch/broken" # one that fails does not keep the others
    rm -rf "$RESULTS"                                   # what was made still stands
    : >"$scratch/calls"
    expect_exit 1 "$tree/scripts/tables" awq-table4 table1
    expect_text 'failed: awq-table4' "$scratch/err"
    expect_text '^<run><experiments/table1.yaml>' "$scratch/calls"
    expect_exit 1 "$tree/scripts/claims"
    QUICK=yes expect_exit 1 "$tree/scripts/table"
    expect_text "QUICK is 'yes'" "$scratch/err"
    NAME=nothing expect_exit 1 "$tree/scripts/table"
    expect_text 'there is no experiments/nothing.yaml; known: .*awq-table4' "$scratch/err"
    unset PTQ RESULTS QUICK
}

run_tests
