#!/usr/bin/env bash
# ptq run --fresh on a file that is finished, which is killed, or has no memory or no disk: the file stays whole until the
# new one is, and who reads it meanwhile is told.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
. "$(dirname "$0")/sweep.bash"
ptq=$1
make_sweep 8
sweep=("$ptq" run "$scratch/sweep.yaml" --threads 1)
"${sweep[@]}" -o "$scratch/whole.h5" --quiet >"$scratch/out" 2>"$scratch/err" || { cat "$scratch/err"; exit 1; }
# shellcheck disable=SC2016 # for the shell that it starts
limited=(bash -c 'trap "" XFSZ; ulimit -f "$1"; shift; exec "$@"' limited)

# old FILE: FILE with all its cells, in `before`.
old() {
    cp "$scratch/whole.h5" "$1"
    before=$(sha256sum <"$1")
}

expect_old() {
    [ "$before" = "$(sha256sum <"$1")" ] || fail "$2: $1 is not what it was: $(ls -l "$1" 2>&1)"
}

# expect_new FILE: gone on with, it is all there, and nothing is beside it.
expect_new() {
    expect_exit 0 "${sweep[@]}" -o "$1"
    expect_same_table "$scratch/whole.h5" "$1"
    [ -z "$(find "$scratch" -name "$(basename "$1").*")" ] || fail "left: $(ls -d "$1".*)"
}

test_killed() {
    local file=$scratch/k.h5 delay options code killed=0
    for options in "" "--jobs 2"; do
        for delay in 0.01 0.03 0.06 0.1 0.2; do
            old "$file"
            code=0
            # shellcheck disable=SC2086 # words
            { timeout -s KILL $delay "${sweep[@]}" --fresh $options -o "$file" >"$scratch/out" 2>"$scratch/err"; } 2>/dev/null || code=$?
            [ $code = 0 ] || killed=$((killed + 1))
            [ $code = 0 ] || expect_old "$file" "killed after $delay s $options"
            expect_new "$file"
        done
    done
    [ $killed -gt 0 ] || fail "never killed before its end"
}

test_no_memory() {
    local file=$scratch/m.h5
    old "$file"
    expect_exit 1 "${sweep[@]}" -o "$file" --fresh --memory 1M
    expect_old "$file" "--memory 1M"
    expect_text 'cells failed: .*; the same command without --fresh tries them again, and [^,]*m.h5 stays as it was before$' "$scratch/err"
    expect_new "$file"
}

# Nothing can be written, not even what says that --fresh has begun; then that, and no cell.
test_full_disk() {
    local file=$scratch/d.h5 blocks
    for blocks in 0 1; do
        old "$file"
        expect_exit 1 "${limited[@]}" $blocks "${sweep[@]}" -o "$file" --fresh
        [ $blocks = 0 ] || expect_text '^ptq: .*File too large' "$scratch/err" # with 0 it cannot be said either
        expect_old "$file" "$blocks KiB"
        rm -f "$file.lock"
        expect_new "$file"
    done
}

# The file behind a link; tables are of what was there, and eval does not add to what will be replaced.
test_meanwhile() {
    local file=$scratch/l/f.h5 link=$scratch/link.h5 eval=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 64)
    mkdir "$scratch/l"
    old "$file"
    ln -s l/f.h5 "$link"
    expect_exit 0 "$ptq" table "$link"
    expect_no_text 'anew' "$scratch/err"
    expect_exit 1 "${limited[@]}" 1 "${sweep[@]}" -o "$link" --fresh
    expect_exit 0 "$ptq" table "$link"
    expect_text 'link.h5 is being computed anew by --fresh, and that run has not ended: these are the cells from before it' "$scratch/err"
    cp "$scratch/out" "$scratch/table"
    expect_exit 0 "$ptq" table "$scratch/whole.h5"
    expect_file "$scratch/out" "$scratch/table"
    expect_exit 1 "${eval[@]}" -o "$link"
    expect_text '^ptq: .*f.h5: ptq run --fresh began to compute it anew and has not ended; go on with that run, without --fresh' "$scratch/err"
    expect_old "$file" "eval"
    expect_exit 0 "${sweep[@]}" -o "$link" --dry-run
    expect_text ': 0 done, 12 to run' "$scratch/out"
    expect_old "$file" "a dry run"
    expect_exit 0 "${sweep[@]}" -o "$link" --jobs 2
    [ -L "$link" ] || fail "the link was replaced"
    [ "$(ls -A "$scratch/l")" = f.h5 ] || fail "left: $(ls -A "$scratch/l")"
    [ "$before" != "$(sha256sum <"$file")" ] || fail "nothing was computed anew"
    expect_exit 0 "${eval[@]}" -o "$link"
    rm -r "$link" "$scratch/l"
}

run_tests
