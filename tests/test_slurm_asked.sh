#!/usr/bin/env bash
# What calls do beside tasks that Slurm has. sbatch, squeue and scontrol are stand-ins: jobs get numbers and are run by
# run_jobs alone; squeue lists what is in $stubs/left, hangs, or says more than anybody reads.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
. "$(dirname "$0")/sweep.bash"
ptq=$1
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" PTQ_CACHE=$scratch/cache # see test_faults.sh

cat >"$scratch/s.yaml" <<YAML
title: "two cells"
models: ["$models/llama"]
w_bit: 4
group_size: 32
methods: [fp16, rtn]
calib: {text: none}
eval: {text: "$models/text.txt", windows: 2, window: 32, bos: none}
YAML
run=("$ptq" run "$scratch/s.yaml" --threads 1)

stubs=$scratch/stubs
mkdir "$stubs"
echo 100 >"$stubs/number"
echo "R None" >"$stubs/state"
cat >"$stubs/sbatch" <<SH
#!/bin/sh
case "\$SBATCH_REFUSES \$*" in "merge "*--array*) ;; merge*) echo "sbatch: error: too many" >&2; exit 1 ;; esac
sleep "\${SBATCH_TAKES:-0}"
number=\$((\$(cat $stubs/number) + 1))
printf '%s\n' "\$@" >$stubs/job.\$number
echo \$number | tee $stubs/number >>$stubs/left
echo \$number
SH
cat >"$stubs/squeue" <<SH
#!/bin/sh
# As Slurm's own: of a hidden partition, of other users or of other states there is nothing to be seen.
case " \$* " in *' --user'* | *' --me '*) exit 0 ;; *' --all '*) ;; *) exit 0 ;; esac
[ -z "\$SQUEUE_STATES\$SQUEUE_PARTITION" ] || exit 0
case \$SQUEUE in
hangs) exec sleep 60 ;;
long) seq 20000000 22000000 ;;
others) seq 20000000 20020000 ;;
esac
sed "s/\$/ \$(cat $stubs/state)/" $stubs/left
exit 0 # Slurm's own does not look whether all could be written
SH
cat >"$stubs/scancel" <<SH
#!/bin/sh
[ "\$SCANCEL" != fails ] || exit 1
echo "\$*" >>$stubs/cancelled
SH
cat >"$stubs/scontrol" <<SH
#!/bin/sh
[ "\$SCONTROL" != hangs ] || exec sleep 60
echo "MaxArraySize = 1001"
echo "PrivateData = \${SCONTROL:-none}"
SH
chmod +x "$stubs"/s*

# in_slurm ARGUMENT...: the sweep with --launcher slurm, left to Slurm by SIGINT after two seconds. Without --foreground
# timeout would send a second one, to the group, which ends ptq at once.
in_slurm() {
    local code=0
    PATH=$stubs:$PATH timeout --foreground -s INT 2 "${run[@]}" --launcher slurm "$@" \
        >"$scratch/out" 2>"$scratch/err" || code=$?
    [ $code = 124 ] || { fail "exit $code, not left to Slurm: $*"; tail -5 "$scratch/err"; }
}

# run_jobs: what Slurm does with the jobs that are left, one after the other, each listed while it runs.
run_jobs() {
    local job script last index
    while read -r job; do
        script=$(tail -n 1 "$stubs/job.$job")
        last=$(sed -n 's/^--array=0-//p' "$stubs/job.$job")
        for index in $(seq 0 "${last:-0}"); do
            SLURM_JOB_ID=$job SLURM_ARRAY_TASK_ID=$index PATH=$stubs:$PATH sh "$script" >/dev/null 2>&1 || true
        done
        sed -i "/^$job\$/d" "$stubs/left"
    done < <(cat "$stubs/left")
}

# behind ARGUMENT...: the sweep with --launcher slurm behind us, in a process group of its own: pid, and $scratch/said.
behind() {
    PATH=$stubs:$PATH setsid "${run[@]}" --launcher slurm "$@" >/dev/null 2>"$scratch/said" &
    pid=$!
}

# until_holds COMMAND...: within 20 s.
until_holds() {
    local _
    for _ in $(seq 200); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "never: $*; it says $(cat "$scratch/said")"
    return 1
}

# expect_end WANTED: of the call behind us.
expect_end() {
    local code=0
    wait "$pid" || code=$?
    [ $code = "$1" ] || fail "exit $code, not $1: $(tail -n 3 "$scratch/said")"
}

# Tasks of both cells are in Slurm. Who has all of its own cells waits for them, too, and removes nothing.
test_nothing_missing() {
    local file=$scratch/n.h5
    expect_exit 0 "${run[@]}" --set methods=fp16 -o "$file"
    : >"$stubs/left"
    in_slurm -o "$file"
    expect_text '^Slurm job [0-9]+: 1 cell$' "$scratch/err"
    cp "$file.tasks/queue" "$scratch/queue"
    in_slurm -o "$file" --set methods=fp16
    expect_text '^waiting for [0-9]+ tasks of another call in Slurm$' "$scratch/err"
    expect_file "$scratch/queue" "$file.tasks/queue"
    in_slurm -o "$file"
    expect_no_text '^Slurm job' "$scratch/err" # not a second time
}

# Cells that the earlier call has not got are submitted when its tasks have ended, and nothing is said of them before.
test_other_cells() {
    local file=$scratch/o.h5 pid
    : >"$stubs/left"
    in_slurm -o "$file"
    # A job in the background ignores SIGINT; timeout's child does not.
    PATH=$stubs:$PATH timeout --foreground -s INT 6 "${run[@]}" --launcher slurm --set w_bit=3 --set methods=rtn \
        -o "$file" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    for _ in $(seq 100); do grep -q waiting "$scratch/err" && break; sleep 0.1; done
    : >"$stubs/left"
    wait $pid || true
    expect_text '^waiting for [0-9]+ tasks of another call in Slurm$' "$scratch/err"
    expect_text '^Slurm job [0-9]+: 1 cell$' "$scratch/err"
    expect_no_text 'failed' "$scratch/err"
    [ ! -e "$file.failed.json" ] || fail "called failed: $(cat "$file.failed.json")"
}

# Two experiments, one file: in the end it holds the cells of both, and nothing is left beside it.
test_one_behind_the_other() {
    local file=$scratch/b.h5 pid
    : >"$stubs/left"
    in_slurm -o "$file"
    behind -o "$file" --set w_bit=3 --set methods=rtn
    until_holds grep '^waiting for ' "$scratch/said" || return
    run_jobs
    until_holds grep -E '^Slurm job [0-9]+: 1 cell$' "$scratch/said" || return
    until_holds grep merge "$file.tasks/queue"
    run_jobs
    expect_end 0
    "$ptq" table "$file" --format csv >"$scratch/csv"
    [ "$(grep -cE '^[0-9a-f]{64},' "$scratch/csv")" = 3 ] || fail "not three cells: $(cut -c -80 "$scratch/csv")"
    [ -z "$(find "$scratch" -path "$file.*")" ] || fail "left: $(find "$scratch" -path "$file.*")"
}

# Who waited for one queue and finds another one, which a call that waited beside it has submitted, leaves that alone.
test_a_newer_queue() {
    local file=$scratch/q.h5 pid
    : >"$stubs/left"
    in_slurm -o "$file"
    behind -o "$file" --set methods=fp16
    until_holds grep '^waiting for 2 tasks ' "$scratch/said" || return
    echo 900 >>"$stubs/left"
    echo "900 0 $(printf '0%.0s' $(seq 64))" >"$file.tasks/queue"
    echo 900 >"$stubs/left"
    until_holds grep '^waiting for 1 task ' "$scratch/said" || return
    expect_text '^900 0 ' "$file.tasks/queue"
    kill -INT "$pid"
    expect_end 130
}

# While no task runs, the reason is told, once; what waits for others of ours, or runs, needs none.
test_why_none_runs() {
    local file=$scratch/y.h5 pid
    : >"$stubs/left"
    echo "PD Dependency" >"$stubs/state"
    behind -o "$file"
    until_holds grep merge "$file.tasks/queue" || return
    sleep 1
    expect_no_text 'none of' "$scratch/said"
    echo "PD Nodes are DOWN, DRAINED" >"$stubs/state"
    until_holds grep '^none of 2 tasks runs in Slurm: Nodes are DOWN, DRAINED$' "$scratch/said" || return
    sleep 1
    echo "PD JobHeldUser" >"$stubs/state"
    until_holds grep '^none of 2 tasks runs in Slurm: JobHeldUser$' "$scratch/said" || return
    [ "$(grep -c '^none of' "$scratch/said")" = 2 ] || fail "told more than once: $(cat "$scratch/said")"
    echo "R None" >"$stubs/state"
    sleep 1
    echo "PD Resources" >"$stubs/state" # for a moment
    sleep 1.2
    echo "R None" >"$stubs/state"
    sleep 1
    expect_no_text 'Resources' "$scratch/said"
    kill -INT "$pid"
    expect_end 130
}

# The list of cells says that tasks have them; also where Slurm does not answer.
test_dry_run() {
    local file=$scratch/d.h5
    : >"$stubs/left"
    expect_exit 0 env PATH="$stubs:$PATH" "${run[@]}" --launcher slurm --dry-run -o "$file"
    expect_no_text 'in Slurm' "$scratch/out"
    in_slurm -o "$file"
    expect_exit 0 env PATH="$stubs:$PATH" "${run[@]}" --launcher slurm --dry-run -o "$file"
    expect_text '^a call waits for 2 tasks that Slurm has already$' "$scratch/out"
    expect_exit 0 env PATH=/nowhere "${run[@]}" --dry-run -o "$file"
    expect_text 'd.h5: was given to Slurm, which does not say .*squeue: there is no such program' "$scratch/out"
    expect_text 'missing *rtn' "$scratch/out"
}

# Another has the file at the moment at which the tasks have ended: who has waited for hours waits for that, too.
test_locked_when_the_wait_is_over() {
    local file=$scratch/l.h5 pid
    : >"$stubs/left"
    in_slurm -o "$file"
    behind -o "$file"
    until_holds grep '^waiting for ' "$scratch/said" || return
    flock "$file.lock" sleep 4 &
    : >"$stubs/left"
    expect_end 1
    expect_text '^ptq: .*no task is known to have run it' "$scratch/said"
}

# Of a task that never began nothing is said, neither that it was killed nor what one said before it.
test_never_started() {
    local file=$scratch/e.h5 pid id
    : >"$stubs/left"
    in_slurm -o "$file"
    id=$(sed -n '2s/.* //p' "$file.tasks/queue")
    echo "ptq: it was too warm" >"$file.tasks/$id.log"
    cp "$file.tasks/queue" "$scratch/queue"
    : >"$stubs/left"
    behind -o "$file"
    until_holds grep -vxFf "$scratch/queue" "$file.tasks/queue" || return
    until_holds grep merge "$file.tasks/queue"
    : >"$stubs/left" # scancel
    expect_end 1
    expect_text '^ptq: no task is known to have run it: neither a result nor a log in .*e.h5.tasks is there$' "$scratch/said" # of both
    expect_no_text 'too warm|killed' "$scratch/said"
    [ ! -e "$file.tasks/queue" ] || fail "a queue that has ended is left"
}

# A job that Slurm has taken is written down, also where a terminal's Ctrl-C reaches the whole group meanwhile.
test_sbatch_ends_its_work() {
    local file=$scratch/s.h5 pid
    : >"$stubs/left"
    SBATCH_TAKES=1 behind -o "$file"
    until_holds test -e "$file.tasks/0.sh"
    kill -INT -- "-$pid"
    expect_end 130
    expect_text "^$(head -n 1 "$stubs/left") 0 [0-9a-f]{64}$" "$file.tasks/queue"
}

# Where Slurm takes some jobs and refuses one, it is said that the others are there.
test_sbatch_refuses_the_last() {
    local file=$scratch/p.h5
    : >"$stubs/left"
    expect_exit 1 env SBATCH_REFUSES=merge PATH="$stubs:$PATH" "${run[@]}" --launcher slurm -o "$file"
    expect_text '^ptq: what Slurm has taken goes on, and the same command waits for it: sbatch failed: .*too many' "$scratch/err"
    in_slurm -o "$file"
    expect_text '^waiting for 1 task of another call in Slurm$' "$scratch/err"
}

# A job that could not be written down would be waited for by nobody.
test_a_job_that_cannot_be_written_down() {
    local file=$scratch/v.h5
    : >"$stubs/left"
    mkdir -p "$file.tasks/queue"
    expect_exit 1 env PATH="$stubs:$PATH" "${run[@]}" --launcher slurm -o "$file"
    expect_text "^ptq: Slurm job $(cat "$stubs/number") is cancelled: .*v.h5.tasks/queue: " "$scratch/err"
    expect_text "^$(cat "$stubs/number")\$" "$stubs/cancelled"
    expect_exit 1 env SCANCEL=fails PATH="$stubs:$PATH" "${run[@]}" --launcher slurm -o "$file"
    expect_text "^ptq: Slurm job $(cat "$stubs/number") goes on, cancel it by hand: .*v.h5.tasks/queue: " "$scratch/err"
}

# A squeue that does not answer is not waited for when a signal comes; an answer that is not read whole is none.
test_squeue_hangs_or_says_too_much() {
    local file=$scratch/h.h5 began=$SECONDS
    : >"$stubs/left"
    in_slurm -o "$file"
    SQUEUE=hangs in_slurm -o "$file"
    SCONTROL=hangs in_slurm -o "$scratch/a.h5"
    [ ! -e "$scratch/a.h5.tasks" ] || fail "tasks that nobody was given are left"
    [ $((SECONDS - began)) -lt 30 ] || fail "a hanging squeue was waited for"
    expect_exit 1 env SQUEUE=long PATH="$stubs:$PATH" "${run[@]}" -o "$file"
    expect_text '^ptq: .*h.h5: was given to Slurm, which does not say .*squeue says more than' "$scratch/err"
    [ -e "$file.tasks/queue" ] || fail "the queue of live tasks is gone"
}

# Whose tasks they are, where they are and what people like to see of a queue makes no difference; where Slurm shows them to
# their owner alone, or would be asked for those of another cluster, nobody knows.
test_what_squeue_does_not_show() {
    local file=$scratch/w.h5
    : >"$stubs/left"
    in_slurm -o "$file"
    export PATH=$stubs:$PATH
    expect_exit 1 env SQUEUE_STATES=R SQUEUE_FORMAT=%u SQUEUE_PARTITION=gpu "${run[@]}" -o "$file"
    expect_text "^ptq: .*w.h5: 2 tasks in Slurm are at work on it; .* or scancel $(tr '\n' ' ' <"$stubs/left" | sed 's/ $//')\$" "$scratch/err"
    expect_exit 1 env SCONTROL=jobs "${run[@]}" -o "$file"
    expect_text 'w.h5: 2 tasks in Slurm are at work' "$scratch/err"
    sed -i 's/^user .*/user 65533/' "$file.tasks/queue"
    expect_exit 1 "${run[@]}" -o "$file"
    expect_text 'w.h5: 2 tasks in Slurm are at work' "$scratch/err"
    expect_exit 1 env SCONTROL=usage,jobs "${run[@]}" -o "$file"
    expect_text 'w.h5: was given to Slurm, which does not say .*user 65533 .* shows them to nobody else: PrivateData=usage,jobs' \
        "$scratch/err"
    expect_exit 1 env SLURM_CLUSTERS=other "${run[@]}" -o "$file"
    expect_text 'w.h5: was given to Slurm, .*SLURM_CLUSTERS is set, .*unset it' "$scratch/err"
    expect_exit 1 env SBATCH_CLUSTERS=other "${run[@]}" --launcher slurm -o "$scratch/x.h5"
    expect_text '^ptq: SBATCH_CLUSTERS is set' "$scratch/err"
    [ ! -e "$scratch/x.h5.tasks" ] || fail "tasks that nobody was given are left"
    PATH=${PATH#*:}
}

# Our tasks stand behind 20000 others, and no file may hold more than 16 KB: what squeue says goes through none.
test_squeue_where_the_disk_is_full() {
    local file=$scratch/u.h5
    : >"$stubs/left"
    in_slurm -o "$file"
    # shellcheck disable=SC2016 # for the inner shell to expand
    expect_exit 1 env SQUEUE=others PATH="$stubs:$PATH" bash -c 'ulimit -f 16 && exec "$@"' bash "${run[@]}" -o "$file"
    expect_text '^ptq: .*u.h5: 2 tasks in Slurm are at work on it' "$scratch/err"
    [ -e "$file.tasks/queue" ] || fail "the queue of live tasks is gone"
}

# Slurm reads a percent sign also in the name of the folder that it is in (what it makes of it: tests/test_slurm.sh).
test_percent() {
    mkdir "$scratch/5%j"
    cd "$scratch/5%j" || return
    : >"$stubs/left"
    in_slurm -o 50%u.h5
    expect_text "^--output=$scratch/5%%j/50%%u.h5.tasks/slurm-%j.log$" "$stubs/job.$(head -n 1 "$stubs/left")"
    cd "$tree" || return
}

# Slurm takes no backslash in a path.
test_backslash() {
    expect_exit 1 env PATH="$stubs:$PATH" "${run[@]}" --launcher slurm -o "$scratch/a\\b.h5"
    expect_text '^ptq: .*Slurm takes no backslash in a path; give another -o FILE' "$scratch/err"
    [ ! -e "$scratch/a\\b.h5.tasks" ] || fail "tasks that nobody was given are left"
}

run_tests
