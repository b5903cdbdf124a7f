#!/usr/bin/env bash
# Every write, sync and rename of a run fails in turn, and the run is killed at each: what is on disk afterwards is whole,
# a failure is one sentence, and the next run completes. Needs strace, which fails system calls on purpose.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models

if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    echo "skipped: there is no strace that works here"
    exit 0
fi

# LeakSanitizer cannot look under strace, which is itself a tracer; leaks are found by every other test.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"

run=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --max-windows 2 --bos none --threads 1 --quiet)
second=(--method "rtn:w3,g32") # the cell that is joined, and how it is named in a table
title=RTN

# A results file with one cell, so that a second one is joined to it.
first_cell() {
    rm -rf "$scratch/d"
    mkdir "$scratch/d"
    expect_exit 0 "${run[@]}" -o "$scratch/d/r.h5"
}

# fault SYSCALL EFFECT: at the 1st, 2nd, ... call, until a run has fewer of them.
fault() {
    local k code expected=1 kind=$1
    [ "${2%%=*}" = signal ] && expected=137
    for k in $(seq 1 30); do
        first_cell
        code=0
        { # the shell's own word about a killed child is not wanted
            strace -f -o "$scratch/trace" -e "trace=$kind" -e "inject=$kind:$2:when=$k" \
                "${run[@]}" "${second[@]}" -o "$scratch/d/r.h5" >"$scratch/out" 2>"$scratch/err"
        } 2>/dev/null || code=$?
        grep -qE 'INJECTED|SIGKILL' "$scratch/trace" || break
        # A write to the terminal may fail without harm, and one cut short is tried again.
        [ $code = 0 ] || [ $code = $expected ] || fail "$kind $2 at $k: exit $code: $(cat "$scratch/err")"
        if [ $code = 1 ]; then
            [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || fail "$kind $2 at $k: no sentence: $(cat "$scratch/err")"
            [ -z "$(find "$scratch/d" -name '.tmp*')" ] || fail "$kind $2 at $k: left $(ls -A "$scratch/d")"
        fi
        expect_exit 0 "$ptq" table "$scratch/d/r.h5" # whole, with one cell or two
        expect_exit 0 "${run[@]}" "${second[@]}" -o "$scratch/d/r.h5"
        expect_exit 0 "$ptq" table "$scratch/d/r.h5"
        expect_text "^$title" "$scratch/out"
        [ -z "$(find "$scratch/d" -mindepth 1 ! -name r.h5)" ] || fail "$kind $2 at $k: after: $(ls -A "$scratch/d")"
    done
    [ "$k" -gt 1 ] || fail "$kind: no call was made"
}

test_disk_is_full() { fault write error=ENOSPC; }
test_sync_fails() { fault fsync error=EIO; }
test_rename_fails() { fault rename error=EROFS; }
test_killed_at_a_write() { fault write signal=SIGKILL; }
test_killed_at_a_sync() { fault fsync signal=SIGKILL; }
test_killed_at_a_rename() { fault rename signal=SIGKILL; }
test_killed_while_tidying() { fault unlinkat signal=SIGKILL; }

# The same of a cell that keeps its finished blocks, after every one of them.
with_blocks() {
    local title=GPTQ PTQ_CHECKPOINT_SECONDS=0 PTQ_CACHE=$scratch/cache
    local second=(--method "gptq:w3,g32" --calib "$models/calib.txt" --calib-windows 2 --calib-window 32)
    export PTQ_CHECKPOINT_SECONDS PTQ_CACHE
    fault "$@"
}
test_blocks_disk_is_full() { with_blocks write error=ENOSPC; }
test_blocks_killed_at_a_write() { with_blocks write signal=SIGKILL; }
test_blocks_killed_at_a_rename() { with_blocks rename signal=SIGKILL; }
test_blocks_killed_while_tidying() { with_blocks unlinkat signal=SIGKILL; }

run_tests
