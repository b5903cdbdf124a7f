#!/usr/bin/env bash
# What a signal, a damaged file and a closed pipe leave of a sweep: Ctrl-C and SIGTERM at random moments, with --jobs too;
# results files cut off at every 1 KB; standard output closed; no file descriptors left. PTQ_TORTURE=long tries more.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
. "$(dirname "$0")/sweep.bash"
ptq=$1
make_sweep 12
sweep=("$ptq" run "$scratch/sweep.yaml" --threads 1)
long=$([ "${PTQ_TORTURE:-}" = long ] && echo 1 || echo 0)

seconds() { date +%s.%N; }
started=$(seconds)
"${sweep[@]}" -o "$scratch/whole.h5" >"$scratch/out" 2>"$scratch/err" || { cat "$scratch/err"; exit 1; }
whole=$(awk -v a="$started" -v b="$(seconds)" 'BEGIN { print b - a }')

# ---- signals ----

# The sweep goes on from what is there: to the same table, and nothing else is left.
expect_completes() {
    expect_exit 0 "${sweep[@]}" -o "$1"
    expect_same_table "$scratch/whole.h5" "$1"
    [ -z "$(find "$scratch" -name "$(basename "$1").*" -o -name '.tmp*')" ] || fail "left: $(ls -A "$scratch")"
}

# until_it_listens PID: until that ptq catches an interrupt, bit 1 of SigCgt, or has ended. What this shell has forked has
# the shell's own handlers until it becomes ptq.
until_it_listens() {
    while kill -0 "$1" 2>/dev/null; do
        if [ "$(cat "/proc/$1/comm" 2>/dev/null)" = ptq ] && grep -qE '^SigCgt:.*[2367abef]$' "/proc/$1/status" 2>/dev/null; then
            return
        fi
        sleep 0.01
    done
}

test_stopped_at_random_moments() {
    local seed=${PTQ_SEED:-$((EPOCHSECONDS % 100000))} file=$scratch/s.h5 i pid signal number delay code
    RANDOM=$seed
    echo "  PTQ_SEED=$seed, $whole s undisturbed"
    for i in $(seq $((long ? 100 : 6))); do
        signal=INT number=130
        [ $((i % 2)) = 0 ] || { signal=TERM number=143; }
        delay=$(awk -v r="$RANDOM" -v w="$whole" 'BEGIN { print 0.03 + r / 32768 * w }')
        code=0
        "${sweep[@]}" -o "$file" >"$scratch/out" 2>"$scratch/err" &
        pid=$!
        # which before would end it without a word
        until_it_listens $pid
        sleep "$delay"
        kill -s $signal $pid 2>/dev/null || true
        wait $pid || code=$?
        [ $code = 0 ] || [ $code = $number ] || fail "$signal after $delay s: exit $code: $(cat "$scratch/err")"
        [ $code = 0 ] || expect_text '^ptq: .*stopped by a signal' "$scratch/err"
        [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "$signal after $delay s left $(find "$scratch" -name '.tmp*')"
        [ $code != 0 ] || rm -f "$file"
    done
    expect_completes "$file"
    rm -f "$file"
}

# A terminal's Ctrl-C goes to the whole process group. Children of --jobs get one signal and not two, so that they end in
# order; and the parent does not wait for a cell to be finished before it looks.
test_interrupted_jobs() {
    local again=${1:-0} file=$scratch/j.h5 parent code=0 started pids states larger=(--set eval.windows=100)
    setsid "${sweep[@]}" "${larger[@]}" -o "$file" --jobs 2 >"$scratch/out" 2>"$scratch/err" &
    parent=$!
    for _ in $(seq 500); do
        [ "$(find "$file.tasks" -name '*.log' 2>/dev/null | grep -c .)" -lt 2 ] || break
        sleep 0.01
    done
    read -ra pids <"/proc/$parent/task/$parent/children"
    [ "${#pids[@]}" = 2 ] || fail "there are ${#pids[@]} children"
    states=("${pids[@]/#//proc/}")
    for _ in $(seq 500); do # until both would catch an interrupt: bit 1 of SigCgt
        [ "$(grep -hE '^SigCgt:.*[2367abef]$' "${states[@]/%//status}" 2>/dev/null | grep -c .)" -lt 2 ] || break
        sleep 0.01
    done
    # cells that take for ever; on a busy machine they may have ended before they were seen, and others begun
    if ! kill -STOP "${pids[0]}" 2>/dev/null || ! kill -STOP "${pids[1]}" 2>/dev/null; then
        kill -CONT "${pids[@]}" 2>/dev/null || true
        wait "$parent" || code=$?
        rm -rf "$file"*
        if [ $code = 0 ] && [ "$again" -lt 5 ]; then
            test_interrupted_jobs $((again + 1))
        else
            fail "no two children were met: exit $code: $(cat "$scratch/err")"
        fi
        return
    fi
    started=$(seconds)
    kill -INT -- "-$parent"
    sleep 0.2
    kill -CONT "${pids[@]}"
    wait "$parent" || code=$?
    [ $code = 130 ] || fail "exit $code: $(cat "$scratch/err")"
    awk -v a="$started" -v b="$(seconds)" 'BEGIN { exit b - a > 5 }' || fail "it took 5 seconds to end"
    # a fast machine may have ended a cell before its child was stopped, but not both
    [ "$(grep -lE 'stopped by a signal|^\[1/1\]' "$file".tasks/*.log | grep -c .)" = 2 ] ||
        fail "children did not end in order: $(tail -n 1 "$file".tasks/*.log)"
    if ! grep -q 'stopped by a signal' "$file".tasks/*.log; then # both cells had ended before their children were stopped
        rm -rf "$file"*
        if [ "$again" -lt 5 ]; then test_interrupted_jobs $((again + 1)); else fail "no child was stopped"; fi
        return
    fi
    [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "left $(find "$scratch" -name '.tmp*')"
    expect_exit 0 "${sweep[@]}" "${larger[@]}" -o "$file" --jobs 2
    [ -z "$(find "$scratch" -name 'j.h5.*' -o -name '.tmp*')" ] || fail "left: $(ls -A "$scratch")"
    rm -f "$file"
}

# What is said of an interrupted --jobs counts what its children have finished.
test_interrupted_jobs_are_counted() {
    local file=$scratch/n.h5 parent code=0 there
    setsid "${sweep[@]}" --set eval.windows=40 -o "$file" --jobs 2 >"$scratch/out" 2>"$scratch/err" &
    parent=$!
    for _ in $(seq 3000); do
        [ "$(find "$file.cells" -name '*.h5' 2>/dev/null | grep -c .)" -lt 3 ] || break
        sleep 0.01
    done
    kill -INT -- "-$parent"
    wait "$parent" || code=$?
    there=$(find "$file.cells" -name '*.h5' 2>/dev/null | grep -c .)
    if [ $code = 0 ]; then # a fast machine
        [ -f "$file" ] || fail "no results"
    else
        [ $code = 130 ] || fail "exit $code: $(cat "$scratch/err")"
        [ "$there" -ge 3 ] || fail "$there cells are there"
        grep -q "$there of [0-9]* cells are done" "$scratch/err" || fail "$there cells are there: $(cat "$scratch/err")"
    fi
    rm -rf "$file"*
}

# While a text is cut into words by an expression that takes seconds.
test_stopped_while_tokenizing() {
    local pid code=0
    python3 - "$models/llama/tokenizer.json" "$scratch" <<'PYTHON'
import json, sys
tokenizer = json.load(open(sys.argv[1], encoding="utf-8"))
tokenizer["pre_tokenizer"] = {"type": "Split", "behavior": "Isolated", "pattern": {
    "Regex": ".(?=" + "|".join(f"[\\s\\S]*{digit}" for digit in range(10)) + ")|."}}
json.dump(tokenizer, open(sys.argv[2] + "/slow.json", "w", encoding="utf-8"))
open(sys.argv[2] + "/slow.txt", "w", encoding="utf-8").write("thewords" * 5000)
PYTHON
    "$ptq" tokenize "$scratch/slow.json" "$scratch/slow.txt" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    until_it_listens $pid
    kill -INT $pid
    wait $pid || code=$?
    [ $code = 130 ] || fail "exit $code: $(cat "$scratch/err")"
    expect_text '^ptq: .*stopped by a signal' "$scratch/err"
    rm -f "$scratch"/slow.*
}

# ---- files that become shorter ----

# While a model is mapped somebody writes over it. The command is stopped once it has it, so that it cannot be too late.
test_model_cut_off() {
    local model=$scratch/cut pid code=0
    cp -r "$models/llama" "$model"
    "$ptq" eval "$model" --text "$scratch/text.txt" --window 64 --method gptq:w4,g32 --calib "$models/calib.txt" \
        --calib-window 32 --calib-windows 4 --threads 1 -o "$scratch/l.h5" --quiet >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    while kill -0 $pid 2>/dev/null && ! grep -q 'cut/model.safetensors' "/proc/$pid/maps" 2>/dev/null; do :; done
    kill -STOP $pid
    truncate -s 60000 "$model/model.safetensors"
    kill -CONT $pid
    wait $pid || code=$?
    [ $code = 1 ] || fail "exit $code: $(cat "$scratch/err")"
    [ "$(grep -c . "$scratch/err")" = 1 ] || fail "said: $(cat "$scratch/err")"
    expect_text '^ptq: .*/cut/model.safetensors: (became shorter|.* ends at data byte)' "$scratch/err"
    [ ! -e "$scratch/l.h5" ] || fail "a results file is there"
    rm -rf "$model"
    "$ptq" eval "$models/llama" --text "$models/text.txt" --window 64 -o "$scratch/l.h5" --quiet >"$scratch/out"
    [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "left: $(ls -A "$scratch")"
    rm -f "$scratch"/l.h5*
}

# Nobody can catch SIGKILL for the children of --jobs: the kernel tells them, and none computes on beside the next run.
# kill_with_jobs FILE: a run with --jobs 2 is killed while its children, stopped, have a cell. Whether they end without it.
# They do not get SIGHUP, which the kernel sends to stopped processes whose group is orphaned: what ends them is ours.
kill_with_jobs() {
    local parent pids=() before
    # What is killed in the end leaves temporary files, which none but a run of these windows would sweep.
    (trap '' HUP && PTQ_CACHE=$1.cache exec "${sweep[@]}" --set eval.windows=400 -o "$1" --jobs 2 >"$scratch/out" 2>"$scratch/err") &
    parent=$!
    for _ in $(seq 500); do # until it is stopped while a child has a cell
        sleep 0.02
        [ -n "$(find "$1.tasks" -name '*.lock' 2>/dev/null)" ] || continue
        kill -STOP "$parent"
        read -ra pids <"/proc/$parent/task/$parent/children"
        if [ "${#pids[@]}" -gt 0 ] && kill -STOP "${pids[@]}" && grep -q '^State:.T' "/proc/${pids[0]}/status"; then break; fi 2>/dev/null
        kill -CONT "${pids[@]}" "$parent" 2>/dev/null
    done
    before=$(cat "$1".tasks/*.log | grep -c '^\[1/1\]')
    kill -KILL "$parent"
    { wait "$parent" || true; } 2>/dev/null
    kill -CONT "${pids[@]}"
    for _ in $(seq 500); do
        kill -0 "${pids[@]}" 2>/dev/null || break # 0 where one of them is there
        sleep 0.01
    done
    ! kill -KILL "${pids[@]}" 2>/dev/null && [ "$before" = "$(cat "$1".tasks/*.log | grep -c '^\[1/1\]')" ] &&
        [ "$(cat "$1".tasks/*.log | grep -c '^ptq: .*stopped by a signal')" = "${#pids[@]}" ]
}

# A child that was stopped near the end of its cell may come to it; not so every time.
test_killed_with_jobs() {
    local file=$scratch/o.h5 ended=0
    for _ in $(seq 20); do
        rm -rf "$file"*
        if kill_with_jobs "$file"; then ended=1 && break; fi
    done
    [ $ended = 1 ] || fail "children of a killed run compute on"
    rm -rf "$file.cache"
    expect_exit 0 "${sweep[@]}" --fresh -o "$file"
    expect_completes "$file"
    rm -f "$file"
}

# leave_a_child FILE OPTION...: kills a run with --jobs and stops what it leaves, which would end within a moment; sets parent and
# child. Not before the parent is dead: the kernel wakes and ends those of an orphaned process group that were stopped.
leave_a_child() {
    local pids=()
    "${sweep[@]}" "${@:2}" -o "$1" --jobs 2 >"$scratch/out" 2>"$scratch/err" &
    parent=$!
    for _ in $(seq 500); do
        [ "$(find "$1.tasks" -name '*.lock' 2>/dev/null | grep -c .)" = 0 ] || break
        sleep 0.01
    done
    read -ra pids <"/proc/$parent/task/$parent/children" || true
    kill -KILL "$parent"
    wait "$parent" || true
    for child in "${pids[@]}"; do
        kill -STOP "$child" || continue
        for _ in $(seq 50); do
            ! grep -q '^State:.T' "/proc/$child/status" || return 0
            sleep 0.01
        done
    done
    return 1
} 2>/dev/null

# The next call waits for children that a killed one has left, which have their cells still, and then goes on.
test_again_after_killed_jobs() {
    local file=$scratch/again.h5 parent=0 child=0 next code=0 larger=(--set eval.windows=100)
    for _ in $(seq 20); do
        rm -rf "$file"*
        ! leave_a_child "$file" "${larger[@]}" || break
    done
    "${sweep[@]}" "${larger[@]}" -o "$file" --jobs 2 >"$scratch/next" 2>&1 &
    next=$!
    for _ in $(seq 250); do
        if grep -q 'waits for what' "$scratch/next" || ! kill -0 $next 2>/dev/null; then break; fi
        sleep 0.02
    done
    kill -CONT "$child" || fail "no child was left"
    expect_text "again.h5: waits for what a killed run, process $parent, had started to end" "$scratch/next"
    wait $next || code=$?
    [ $code = 0 ] || fail "exit $code: $(cat "$scratch/next")"
    ! grep -q '^State:.[^ZX]' "/proc/$child/status" 2>/dev/null || fail "it did not wait for the child"
    [ -z "$(find "$scratch" -name 'again.h5.*' -o -name '.tmp*')" ] || fail "left: $(ls -A "$scratch")"
    rm -rf "$file"*
}

# ---- damaged files ----

# Each is refused in one sentence, whoever reads it, and stays as it is; --fresh starts over.
test_results_cut_off() {
    local size cut=0 file=$scratch/cut.h5 before small=(--set 'methods=[fp16, rtn]' --set w_bit=3 --set 'include=[]')
    "${sweep[@]}" "${small[@]}" -o "$scratch/small.h5" >"$scratch/out" 2>"$scratch/err" || cat "$scratch/err"
    size=$(stat -c %s "$scratch/small.h5")
    while [ "$cut" -lt "$size" ]; do
        head -c "$cut" "$scratch/small.h5" >"$file"
        expect_exit 1 "$ptq" table "$file"
        [ "$(grep -c '^ptq: .*cut.h5' "$scratch/err")" = 1 ] || fail "cut at $cut: $(cat "$scratch/err")"
        if [ $((cut / 1024 % (long ? 1 : 16))) = 0 ]; then
            before=$(sha256sum <"$file")
            expect_exit 1 "${sweep[@]}" -o "$file"
            expect_text '^ptq: .*--fresh' "$scratch/err"
            [ "$before" = "$(sha256sum <"$file")" ] || fail "cut at $cut: a run changed it"
        fi
        cut=$((cut + 1024))
    done
    echo "  $((size / 1024 + 1)) lengths"
    rm -f "$file" "$scratch/small.h5"
}

# A finished cell's own file that is cut off is computed again, and no other one.
test_cell_cut_off() {
    local file=$scratch/c.h5 cell size cut keep=$scratch/keep
    "${sweep[@]}" -o "$file" --cell "$(first_task "$file")" >"$scratch/out" 2>"$scratch/err" || cat "$scratch/err"
    rmdir "$file.tasks" # where tasks lock each other out
    cell=$(find "$file.cells" -name '*.h5')
    cp "$cell" "$keep"
    size=$(stat -c %s "$keep")
    for cut in $(seq 0 $((long ? 1024 : 4096)) "$size"); do
        head -c "$cut" "$keep" >"$cell"
        expect_exit 0 "${sweep[@]}" -o "$file" --dry-run
        expect_text ': 0 done, 12 to run' "$scratch/out"
    done
    head -c 2048 "$keep" >"$cell"
    expect_completes "$file"
    rm -f "$file"
}

# "N:ID" of the sweep's first cell.
first_task() {
    "${sweep[@]}" -o "$1" --set 'methods=[fp16]' --set 'include=[]' >/dev/null 2>&1
    echo "0:$("$ptq" table "$1" --format json | python3 -c '
import json, sys
print(json.load(sys.stdin)["cells"][0]["id"])')"
    rm -f "$1"
}

# ---- pipes and descriptors ----

test_closed_output() {
    local command code
    for command in "table $scratch/whole.h5" "inspect $scratch/whole.h5" "methods" "models" "table $scratch/whole.h5 --format csv" \
        "inspect $models/llama --json" "tokenize $models/llama $models/text.txt" "diff $scratch/whole.h5 $scratch/whole.h5"; do
        code=0
        # shellcheck disable=SC2086 # words of a command
        "$ptq" $command >&- 2>"$scratch/err" || code=$?
        [ $code = 1 ] || fail "$command with standard output closed: exit $code"
        [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || fail "$command: no sentence: $(cat "$scratch/err")"
        # shellcheck disable=SC2086
        "$ptq" $command >/dev/full 2>"$scratch/err" && fail "$command to a full device: exit 0"
        expect_text '^ptq: ' "$scratch/err"
        # shellcheck disable=SC2086
        "$ptq" $command 2>"$scratch/err" | true
        code=${PIPESTATUS[0]}
        [ "$code" = 0 ] || [ "$code" = 141 ] || [ "$code" = 1 ] || fail "$command into a pipe that nobody reads: exit $code"
    done
}

# A sweep whose reports nobody reads any more ends as by any signal: what is finished is kept.
test_closed_log() {
    local file=$scratch/p.h5
    "${sweep[@]}" -o "$file" 2>&1 | true
    [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "left $(find "$scratch" -name '.tmp*')"
    expect_completes "$file"
    rm -f "$file"
}

test_no_descriptors() {
    local file=$scratch/f.h5 most code succeeded=0
    for most in $(seq 3 $((long ? 30 : 14))); do
        code=0
        (
            ulimit -n "$most"
            exec "${sweep[@]}" -o "$file" --set 'methods=[fp16, rtn]' --set 'include=[]'
        ) >"$scratch/out" 2>"$scratch/err" || code=$?
        case $code in
            0) succeeded=1 ;;
            1) [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || fail "$most descriptors: $(cat "$scratch/err")" ;;
            127) ;; # the program's own libraries could not be loaded
            *) fail "$most descriptors: exit $code: $(cat "$scratch/err")" ;;
        esac
        [ -z "$(find "$scratch" -name '.tmp*')" ] || fail "$most descriptors: left $(find "$scratch" -name '.tmp*')"
    done
    [ $succeeded = 1 ] || fail "never enough: $(cat "$scratch/err")"
    expect_completes "$file"
    rm -f "$file"
}

run_tests
