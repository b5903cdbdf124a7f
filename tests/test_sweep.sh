#!/usr/bin/env bash
# A sweep that is killed at random moments, that runs twice at once, whose disk is full: no finished cell is lost, none is
# computed twice, and the table comes out the same. PTQ_TORTURE=long kills it 200 times.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
. "$(dirname "$0")/sweep.bash"
ptq=$1
make_sweep 24
sweep=("$ptq" run "$scratch/sweep.yaml" --threads 1)
kills=20
[ "${PTQ_TORTURE:-}" != long ] || kills=200

seconds() { date +%s.%N; }

# The whole sweep without a disturbance, and how long it takes here.
started=$(seconds)
"${sweep[@]}" -o "$scratch/whole.h5" >"$scratch/out" 2>"$scratch/err" || { cat "$scratch/err"; exit 1; }
whole=$(awk -v a="$started" -v b="$(seconds)" 'BEGIN { print b - a }')

# finished FILE: how many cells are on disk: in FILE.cells until all are there, then in FILE.
finished() {
    if [ -e "$1" ]; then
        echo 12
    else
        find "$1.cells" -name '????????????????????????????????????????????????????????????????.h5' 2>/dev/null | grep -c . || true
    fi
}

# Each time within the next third of the sweep; where it comes to its end before that, it starts over.
test_killed_at_random_moments() {
    local seed=${PTQ_SEED:-$((EPOCHSECONDS % 100000))} kill file=$scratch/k.h5 code delay before killed=0
    echo "  PTQ_SEED=$seed, $whole s undisturbed"
    RANDOM=$seed
    : >"$scratch/computed"
    for ((kill = 1; killed < kills; kill++)); do
        [ $kill -le $((kills * 4)) ] || { fail "killed only $killed times in $kill runs"; break; }
        delay=$(awk -v r="$RANDOM" -v w="$whole" 'BEGIN { print 0.005 + r / 32768 * w / 3 }')
        before=$(finished "$file")
        code=0
        { timeout -s KILL "$delay" "${sweep[@]}" -o "$file" >"$scratch/out" 2>"$scratch/err"; } 2>/dev/null || code=$?
        [ $code = 137 ] || [ $code = 0 ] || fail "kill $kill after $delay s: exit $code: $(cat "$scratch/err")"
        expect_resumed "$before" "kill $kill after $delay s"
        if [ $code = 137 ]; then killed=$((killed + 1)); else start_over "$file"; fi
    done
    before=$(finished "$file")
    expect_exit 0 "${sweep[@]}" -o "$file"
    expect_resumed "$before" "the last run"
    start_over "$file"
    echo "  killed $killed times in $((kill - 1)) runs"
}

# What the last run said: it took over what was there, and computed nothing that an earlier one had reported.
expect_resumed() {
    ! grep -q ' done, ' "$scratch/err" || expect_text ": $1 done, " "$scratch/err"
    sed -nE 's|^\[([0-9]+)/12\] .* ppl .*|\1|p' "$scratch/err" >>"$scratch/computed"
    [ -z "$(sort "$scratch/computed" | uniq -d)" ] || fail "$2: computed twice: $(sort "$scratch/computed" | uniq -d)"
}

# The sweep has come to its end: its table is the undisturbed one's.
start_over() {
    expect_same_table "$scratch/whole.h5" "$1"
    [ -z "$(find "$scratch" -name "$(basename "$1").*")" ] || fail "left: $(ls -d "$1".*)"
    rm -f "$1"
    : >"$scratch/computed"
}

test_two_at_once() {
    local first
    "${sweep[@]}" -o "$scratch/two.h5" >"$scratch/first" 2>&1 &
    first=$!
    for _ in $(seq 500); do [ ! -s "$scratch/two.h5.lock" ] || break; sleep 0.01; done
    kill -STOP $first # so that it does not end before the other one looks
    expect_exit 1 "${sweep[@]}" -o "$scratch/two.h5"
    expect_text "^ptq: .*two.h5: another run, process $first, is writing to it; wait for it to end" "$scratch/err"
    kill -CONT $first
    wait $first || fail "the first run: $(cat "$scratch/first")"
    expect_same_table "$scratch/whole.h5" "$scratch/two.h5"
}

# A link is another name of the file that it leads to, there already or not: one run at a time, and the link stays.
test_symbolic_link() {
    local first file=$scratch/linked/to.h5 small=(--set 'methods=[fp16]' --set 'include=[]')
    mkdir "$scratch/linked" "$scratch/links"
    ln -s ../linked/to.h5 "$scratch/links/between.h5"
    ln -s "$scratch/links/between.h5" "$scratch/link.h5"
    "${sweep[@]}" -o "$file" >"$scratch/first" 2>&1 &
    first=$!
    for _ in $(seq 500); do [ ! -s "$file.lock" ] || break; sleep 0.01; done
    kill -STOP $first
    expect_exit 1 "${sweep[@]}" -o "$scratch/link.h5"
    expect_text "another run, process $first, is writing to it" "$scratch/err"
    expect_exit 1 "$ptq" eval "$models/llama" --text "$models/text.txt" --window 64 -o "$scratch/link.h5"
    expect_text "another run, process $first, is writing to it" "$scratch/err"
    kill -KILL $first
    { wait $first || true; } 2>/dev/null
    expect_exit 0 "${sweep[@]}" "${small[@]}" -o "$scratch/link.h5" --jobs 2
    expect_exit 0 "$ptq" eval "$models/llama" --text "$models/text.txt" --window 64 -o "$scratch/link.h5"
    [ "$(find "$scratch" -type l | grep -c .)" = 2 ] || fail "a link was replaced"
    [ "$(ls -A "$scratch/linked")" = to.h5 ] || fail "in the folder: $(ls -A "$scratch/linked")"
    [ -z "$(find "$scratch" -name 'link.h5.*')" ] || fail "left beside the link: $(ls -d "$scratch"/link.h5.*)"
    expect_exit 0 "$ptq" diff "$file" "$scratch/link.h5"
    ln -s round.h5 "$scratch/round.h5"
    expect_exit 1 "${sweep[@]}" "${small[@]}" -o "$scratch/round.h5"
    expect_text '^ptq: .*round.h5: is a symbolic link that leads nowhere' "$scratch/err"
    rm -rf "$scratch"/link* "$scratch/round.h5"
}

# What tables will show beside the experiment's cells, or not at all, is said before any is run.
test_changed_experiment() {
    local file=$scratch/changed.h5 first=(--set 'methods=[fp16]' --set 'include=[]')
    expect_exit 0 "${sweep[@]}" "${first[@]}" -o "$file"
    expect_no_text 'note' "$scratch/err"
    expect_exit 0 "${sweep[@]}" --set 'methods=[rtn]' --set 'include=[]' -o "$file"
    expect_text 'note: .*changed.h5 holds 1 cell more that this experiment does not have, such as .* fp16' "$scratch/err"
    expect_exit 0 "${sweep[@]}" "${first[@]}" --set windows=2 -o "$file" --dry-run
    expect_text 'note: no table will show .* first 2 windows.* beside .* measured by another protocol' "$scratch/out"
    expect_exit 0 "${sweep[@]}" "${first[@]}" --set windows=2 -o "$file" --dry-run --fresh
    expect_no_text 'note' "$scratch/out"
}

# A run that is under way has a table, which says that it is not all. The run is stopped, so that it stays under way.
test_unfinished_table() {
    local file run attempt
    for attempt in 1 2 3 4 5; do
        file=$scratch/some$attempt.h5
        "${sweep[@]}" -o "$file" >/dev/null 2>&1 &
        run=$!
        for _ in $(seq 500); do [ "$(finished "$file")" = 0 ] || break; sleep 0.01; done
        kill -STOP $run 2>/dev/null || true
        [ -e "$file" ] || break
        kill -CONT $run 2>/dev/null || true
        wait $run || true
    done
    [ ! -e "$file" ] || fail "a run of twelve cells was never met before its end"
    expect_exit 0 "$ptq" table "$file"
    expect_text "$(basename "$file") is not there yet: the run that makes it has not ended" "$scratch/err"
    kill -CONT $run
    wait $run || fail "the run that was stopped for a while ended with $?"
    expect_exit 0 "$ptq" table "$file"
    expect_no_text 'not there yet' "$scratch/err"
}

# A disk that takes the first three cells and then no more: a tmpfs where one may be mounted, else a limit on a file's size.
test_full_disk() {
    local disk=$scratch/disk first=(--set 'methods=[fp16]' --set 'include=[]') before room
    mkdir "$disk"
    if mount -t tmpfs -o size=64m tmpfs "$disk" 2>/dev/null; then
        trap 'umount "$disk" 2>/dev/null; clean_up' EXIT
        expect_exit 0 "${sweep[@]}" "${first[@]}" -o "$disk/r.h5"
        room=$(($(stat -c %s "$disk/r.h5") * 3 / 1024))
        mount -o "remount,size=${room}k" "$disk"
        before=$(sha256sum <"$disk/r.h5")
        expect_exit 1 "${sweep[@]}" -o "$disk/r.h5"
    else
        expect_exit 0 "${sweep[@]}" "${first[@]}" -o "$disk/r.h5"
        room=$(($(stat -c %s "$disk/r.h5") * 2 / 1024))
        before=$(sha256sum <"$disk/r.h5")
        expect_exit 1 limited "$room" "${sweep[@]}" -o "$disk/r.h5"
    fi
    [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || fail "no one sentence: $(cat "$scratch/err")"
    expect_text '^ptq: .*(No space left on device|File too large)' "$scratch/err"
    [ "$before" = "$(sha256sum <"$disk/r.h5")" ] || fail "the file before it was changed"
    [ -z "$(find "$disk" -name '.tmp*')" ] || fail "left $(find "$disk" -name '.tmp*')"
    expect_exit 0 "$ptq" table "$disk/r.h5"
    ! mountpoint -q "$disk" || mount -o remount,size=64m "$disk"
    expect_exit 0 "${sweep[@]}" -o "$disk/r.h5"
    expect_same_table "$scratch/whole.h5" "$disk/r.h5"
    ! mountpoint -q "$disk" || umount "$disk"
}

# limited KIB COMMAND...: no file may grow beyond that.
limited() {
    local kib=$1
    shift
    (
        ulimit -f "$kib"
        "$@"
    )
}

run_tests
