#!/usr/bin/env bash
# --launcher slurm on a real Slurm: two nodes on loopback, a sweep of 12 cells, a task killed in the middle, a second call
# that runs what is missing, and the same table as of a run without Slurm.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
. "$(dirname "$0")/slurm/cluster.bash"
. "$(dirname "$0")/sweep.bash"
ptq=$1

missing=$(slurm_missing)
[ -z "$missing" ] || cannot_run "there is no $missing(Debian: slurm-wlm munge; scripts/install-deps --for ci)"
trap 'slurm_stop; clean_up' EXIT
slurm_start "$scratch/slurm" >"$scratch/start" 2>&1 || cannot_run "Slurm does not start: $(cat "$scratch/start")"

make_sweep 1000 # half a second a cell, so that a task is seen before it is over
sweep=("$ptq" run "$scratch/sweep.yaml" --set seed=0)

# signal_task FILE NUMBER SIGNAL: waits for the process of a task, found by the cell's number behind --cell, and sends it
# that as soon as it is seen; prints its job, and what scancel calls it: the number of an array's last task is that of
# the array.
signal_task() {
    python3 - "$@" <<'PY'
import os, re, signal, sys, time
file, number = (word.encode() for word in sys.argv[1:3])
end = time.monotonic() + 60
while time.monotonic() < end:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if file in words and b"--cell" in words and words[words.index(b"--cell") + 1].startswith(number + b":"):
            says = dict(re.findall(rb"(?:^|\0)SLURM_(\w+)=([^\0]*)", open(f"/proc/{pid}/environ", "rb").read()))
            job, array, task = (says.get(key, b"").decode() for key in (b"JOB_ID", b"ARRAY_JOB_ID", b"ARRAY_TASK_ID"))
            print(job, f"{array}_{task}" if array else job)
            os.kill(int(pid), signal.Signals["SIG" + sys.argv[3]])
            sys.exit(0)
    time.sleep(0.01)
sys.exit("no task of that cell was seen")
PY
}

test_1_killed_task_then_the_same_table() {
    local code=0 run
    expect_exit 0 "${sweep[@]}" -o "$scratch/local.h5"
    grep -q ' 12 cells' "$scratch/err" || fail "not 12 cells: $(head -1 "$scratch/err")"
    "${sweep[@]}" -o "$scratch/s.h5" --launcher slurm --jobs 2 >"$scratch/out" 2>"$scratch/err" &
    run=$!
    signal_task "$scratch/s.h5" 4 KILL >"$scratch/job" || fail "the victim was not found: $(cat "$scratch/err")"
    wait $run || code=$?
    [ $code = 1 ] || fail "exit $code, not 1, of the call whose task was killed: $(cat "$scratch/err")"
    expect_text '^ptq: 1 of 12 cells failed: gptq.*its task ended without a result' "$scratch/err"
    expect_exit 0 "$ptq" inspect "$scratch/s.h5" # 11 are joined already
    [ "$(grep -c . <(numbers "$scratch/s.h5"))" = 11 ] || fail "not 11 cells: $(numbers "$scratch/s.h5")"

    expect_exit 0 "${sweep[@]}" -o "$scratch/s.h5" --launcher slurm --jobs 2
    expect_text ': 11 done, 1 to run' "$scratch/err"
    expect_text '^Slurm job [0-9]+: 1 cell$' "$scratch/err"
    [ -z "$(find "$scratch" -maxdepth 1 -name 's.h5.*')" ] || fail "left: $(ls -d "$scratch"/s.h5.*)"
    expect_same_table "$scratch/local.h5" "$scratch/s.h5"
    [ "$(numbers "$scratch/s.h5" | grep -c .)" = 12 ] || fail "not 12 rows"
}

# Nothing to do is over at once and submits nothing; the limit and the size of arrays are Slurm's own.
test_2_nothing_to_do() {
    local jobs
    jobs=$(squeue --states=all --noheader | wc -l)
    expect_exit 0 "${sweep[@]}" -o "$scratch/s.h5" --launcher slurm
    [ "$(squeue --states=all --noheader | wc -l)" = "$jobs" ] || fail "jobs were submitted for nothing"
}

# Ctrl-C leaves the tasks to Slurm; another run is told; the same command waits for them, and submits no second time.
test_3_left_to_slurm() {
    local run code=0
    "${sweep[@]}" -o "$scratch/c.h5" --launcher slurm >"$scratch/out" 2>"$scratch/err" &
    run=$!
    slurm_wait 100 test -s "$scratch/c.h5.tasks/queue" || fail "nothing was submitted: $(cat "$scratch/err")"
    kill -INT $run
    wait $run || code=$?
    [ $code = 130 ] || fail "exit $code, not 130, after SIGINT: $(cat "$scratch/err")"
    expect_exit 1 "${sweep[@]}" -o "$scratch/c.h5"
    expect_text '^ptq: .*c.h5: [0-9]+ tasks? in Slurm (is|are) at work on it; wait with --launcher slurm, or scancel ' "$scratch/err"
    expect_exit 0 "${sweep[@]}" -o "$scratch/c.h5" --launcher slurm
    expect_no_text '^Slurm job' "$scratch/err"
    expect_same_table "$scratch/local.h5" "$scratch/c.h5"
}

# What one cell of many cannot do is told with its reason; the others are in the table.
test_4_a_cell_that_fails() {
    mkdir "$scratch/nan"
    cp "$models/llama/"{config,tokenizer}.json "$scratch/nan/"
    python3 "$tree/tests/fixtures/break_tensor.py" "$models/llama/model.safetensors" "$scratch/nan/model.safetensors" \
        model.layers.1.mlp.up_proj.weight
    expect_exit 1 "${sweep[@]}" -o "$scratch/f.h5" --set "models=[$models/llama, $scratch/nan]" --set methods=fp16 \
        --set 'include=[]' --launcher slurm
    expect_text '^ptq: 1 of 2 cells failed: .*/nan  fp16 .*up_proj.*is NaN' "$scratch/err"
    expect_exit 0 "$ptq" table "$scratch/f.h5"
}

# What Slurm says of a task that it stops stands beside what the task says.
test_7_a_task_that_slurm_stops() {
    local code=0 run job name
    "${sweep[@]}" -o "$scratch/t.h5" --set methods=rtn --set 'include=[]' --launcher slurm >"$scratch/out" 2>"$scratch/err" &
    run=$!
    signal_task "$scratch/t.h5" 1 STOP >"$scratch/job" || fail "the task was not found: $(cat "$scratch/err")"
    read -r job name <"$scratch/job"
    scancel "$name"
    wait $run || code=$?
    [ $code = 1 ] || fail "exit $code, not 1, of the call whose task was cancelled: $(cat "$scratch/err")"
    expect_text "^ptq: 1 of 2 cells failed: rtn.*; Slurm says: \*\*\* JOB $job ON n[12] CANCELLED AT" "$scratch/err"
    [ -z "$(find "$scratch/t.h5.tasks" -name "slurm-$job.log")" ] || fail "Slurm's log is still apart"
}

# A percent sign in the name of the file, or of the folder that the call is made in, is one in those of the logs, too.
test_6_percent() {
    mkdir "$scratch/5%j"
    cd "$scratch/5%j" || return
    expect_exit 0 "${sweep[@]}" -o "50%j.h5" --set methods=fp16 --set 'include=[]' --launcher slurm
    cd "$tree" || return
    expect_exit 0 "$ptq" table "$scratch/5%j/50%j.h5"
}

# Without Slurm's commands: one sentence.
test_5_no_slurm() {
    expect_exit 1 env PATH=/nowhere "${sweep[@]}" -o "$scratch/n.h5" --launcher slurm
    expect_text '^ptq: scontrol: there is no such program; --launcher slurm needs a Slurm whose commands are in PATH' \
        "$scratch/err"
    [ ! -e "$scratch/n.h5.tasks" ] || fail "tasks that nobody was given are left"
    expect_exit 2 "${sweep[@]}" -o "$scratch/n.h5" --launcher slurp
    expect_text "launcher 'slurp' is not known; known: local, slurm" "$scratch/err"
}

run_tests
