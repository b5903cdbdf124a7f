#!/usr/bin/env bash
# What calls do beside tasks that Slurm has. sbatch, squeue and scontrol are stand-ins: jobs get numbers and are never
# run; squeue lists what is in $stubs/left, hangs, or says more than anybody reads.
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
cat >"$stubs/sbatch" <<SH
#!/bin/sh
number=\$((\$(cat $stubs/number) + 1))
echo \$number | tee $stubs/number >>$stubs/left
echo \$number
SH
cat >"$stubs/squeue" <<SH
#!/bin/sh
case \$SQUEUE in
hangs) exec sleep 60 ;;
long) seq 20000000 22000000 ;;
esac
cat $stubs/left
SH
printf '#!/bin/sh\necho "MaxArraySize = 1001"\n' >"$stubs/scontrol"
chmod +x "$stubs"/s*

# in_slurm ARGUMENT...: the sweep with --launcher slurm, left to Slurm by SIGINT after two seconds.
in_slurm() {
    local code=0
    PATH=$stubs:$PATH timeout -s INT 2 "${run[@]}" --launcher slurm "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
    [ $code = 124 ] || { fail "exit $code, not left to Slurm: $*"; tail -5 "$scratch/err"; }
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
    expect_text '^[0-9]+ tasks of an earlier call are in Slurm: waiting for them' "$scratch/err"
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
    PATH=$stubs:$PATH timeout -s INT 6 "${run[@]}" --launcher slurm --set w_bit=3 --set methods=rtn -o "$file" \
        >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    for _ in $(seq 100); do grep -q waiting "$scratch/err" && break; sleep 0.1; done
    : >"$stubs/left"
    wait $pid || true
    expect_text '^[0-9]+ tasks of an earlier call are in Slurm: waiting for them' "$scratch/err"
    expect_text '^Slurm job [0-9]+: 1 cell$' "$scratch/err"
    expect_no_text 'failed' "$scratch/err"
    [ ! -e "$file.failed.json" ] || fail "called failed: $(cat "$file.failed.json")"
}

# A squeue that does not answer is not waited for when a signal comes; an answer that is not read whole is none.
test_squeue_hangs_or_says_too_much() {
    local file=$scratch/h.h5 began=$SECONDS
    : >"$stubs/left"
    in_slurm -o "$file"
    SQUEUE=hangs in_slurm -o "$file"
    [ $((SECONDS - began)) -lt 30 ] || fail "a hanging squeue was waited for"
    expect_exit 1 env SQUEUE=long PATH="$stubs:$PATH" "${run[@]}" -o "$file"
    expect_text '^ptq: .*h.h5: was given to Slurm, which does not say .*squeue says more than' "$scratch/err"
    [ -e "$file.tasks/queue" ] || fail "the queue of live tasks is gone"
}

# Slurm takes no backslash in a path (what it makes of a percent sign: tests/test_slurm.sh).
test_backslash() {
    expect_exit 1 env PATH="$stubs:$PATH" "${run[@]}" --launcher slurm -o "$scratch/a\\b.h5"
    expect_text '^ptq: .*Slurm takes no backslash in a path; give another -o FILE' "$scratch/err"
    [ ! -e "$scratch/a\\b.h5.tasks" ] || fail "tasks that nobody was given are left"
}

run_tests
