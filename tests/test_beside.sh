#!/usr/bin/env bash
# What lies beside a results file or an export: links and files of others, cells that a task is writing, tasks that Slurm
# has, what a killed run left in a container; and names that leave no room for it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
. "$(dirname "$0")/sweep.bash"
ptq=$1
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" PTQ_CACHE=$scratch/cache # see test_faults.sh

cat >"$scratch/s.yaml" <<YAML
title: "three cells"
models: ["$models/llama"]
w_bit: [3, 4]
group_size: 32
methods: [rtn]
calib: {text: "$models/calib.txt", windows: 2, window: 32}
eval: {text: "$models/text.txt", windows: 2, window: 32, bos: none}
include:
  - {methods: fp16}
YAML
run=("$ptq" run "$scratch/s.yaml" --threads 1)
eval_fp16=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --max-windows 2 --bos none --quiet)
export_rtn=("$ptq" quantize "$models/llama" --method "rtn:w4,g32" --format fp16 --quiet)
expect_exit 0 "${run[@]}" -o "$scratch/whole.h5"
"$ptq" table "$scratch/whole.h5" --format csv >"$scratch/csv"
# shellcheck disable=SC2207
ids=($(python3 -c 'import csv, sys; print(*(row["id"] for row in csv.DictReader(open(sys.argv[1]))))' "$scratch/csv"))

# asked_of COMMAND: what run, eval, merge or fresh are called with, in asked.
asked_of() {
    case $1 in
    run) asked=("${run[@]}") ;;
    eval) asked=("${eval_fp16[@]}") ;;
    *) asked=("${run[@]}" "--$1") ;;
    esac
}

# Somebody's folder, which must stay as it is.
theirs=$scratch/theirs
mkdir "$theirs"
echo "my thesis" >"$theirs/thesis.tex"
expect_theirs() {
    [ "$(cat "$theirs/thesis.tex" 2>/dev/null)" = "my thesis" ] || fail "$1: thesis.tex is gone or another"
    [ "$(ls -A "$theirs")" = thesis.tex ] || fail "$1: beside the thesis: $(ls -A "$theirs")"
    mkdir -p "$theirs" && echo "my thesis" >"$theirs/thesis.tex"
}

strace_works() { command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; }
container_works() { unshare --pid --fork --mount-proc true 2>/dev/null; }

test_folders_that_are_links() {
    local kind file=$scratch/l.h5
    for kind in cells tasks; do
        cp "$scratch/whole.h5" "$file"
        ln -s "$theirs" "$file.$kind"
        for more in "" --merge --fresh "--jobs 2"; do
            # shellcheck disable=SC2086 # may be no word or two
            expect_exit 1 "${run[@]}" $more -o "$file"
            expect_text "^ptq: .*l.h5.$kind: is a link, through which nothing is written or removed; remove it" "$scratch/err"
            expect_theirs "$kind $more"
        done
        expect_exit 1 "${eval_fp16[@]}" -o "$file"
        expect_theirs "eval, $kind"
        cmp -s "$scratch/whole.h5" "$file" || fail "$kind: the results were changed"
        rm "$file.$kind"
    done
    expect_exit 0 "${run[@]}" -o "$file"
}

# Seen before the work, not when it is done and cannot be kept.
test_folders_where_files_are_expected() {
    local file=$scratch/f.h5 name
    for name in "$file.failed.json" "$file.cells/${ids[0]}.h5" "$file.cells/${ids[2]}.part/theirs"; do
        mkdir -p "$name"
        for command in run eval; do
            asked_of $command
            expect_exit 1 "${asked[@]}" -o "$file"
            expect_text "^ptq: $name: is a folder, where ptq writes and removes files alone; move it away" "$scratch/err"
            expect_no_text '^\[' "$scratch/err"
        done
        { [ -d "$name" ] && [ ! -e "$file" ]; } || fail "$name: $(ls -d "$file"*)"
        rm -r "$file".*
    done
}

# Names that ptq gives a task go, others stay with their folder, which is said; so do those of another experiment's tasks.
test_files_of_others_among_the_tasks() {
    local file=$scratch/n.h5
    cp "$scratch/whole.h5" "$file"
    mkdir "$file.tasks"
    local other
    other=$(printf 'a%.0s' $(seq 64)) # a cell of other.yaml, which failed
    touch "$file.tasks"/{notes.txt,other.yaml,s.yaml,0.sh,slurm-7.log,"${ids[0]}".log,"${ids[0]}".lock,"$other".log,"$other".lock}
    expect_exit 0 "${run[@]}" -o "$file"
    expect_text "n.h5.tasks: stays with other.yaml, of another experiment on this file; $other.log, in which cells of that may say why they failed; notes.txt, which no task makes\$" "$scratch/err"
    [ "$(cd "$file.tasks" && echo *)" = "$other.log notes.txt other.yaml" ] || fail "in the folder: $(ls -A "$file.tasks")"
    expect_exit 0 "${run[@]}" --fresh -o "$file" # whose cells --fresh removes, too
    [ "$(cd "$file.tasks" && echo *)" = "notes.txt other.yaml" ] || fail "after --fresh: $(ls -A "$file.tasks")"
    touch "$file.tasks/more.yaml"
    expect_exit 0 "${run[@]}" -o "$file"
    expect_text "n.h5.tasks: stays with (other|more).yaml and 1 more, of another experiment on this file; notes.txt, which no task makes\$" "$scratch/err"
    rm "$file.tasks"/*
    expect_exit 0 "${run[@]}" -o "$file"
    [ ! -e "$file.tasks" ] || fail "the empty folder stays"
}

# A cell that failed is set another way, and the run comes to its end: its log is of no one any more.
test_logs_of_earlier_settings() {
    local file=$scratch/e.h5
    expect_exit 1 "${run[@]}" -o "$file" --jobs 2 --memory 1M
    [ "$(find "$file.tasks" -name '*.log' | grep -c .)" = "${#ids[@]}" ] || fail "no logs: $(ls "$file.tasks" 2>&1)"
    expect_exit 0 "${run[@]}" -o "$file" --jobs 2 --set w_bit=5
    [ ! -e "$file.tasks" ] || fail "left: $(ls -A "$file.tasks")"
    expect_no_text 'stays' "$scratch/err"
}

test_logs_that_are_links() {
    local file=$scratch/g.h5
    mkdir "$file.tasks"
    ln -s "$theirs/thesis.tex" "$file.tasks/${ids[0]}.log"
    mkfifo "$file.tasks/${ids[1]}.log"
    expect_exit 0 timeout 60 "${run[@]}" -o "$file" --jobs 2
    expect_theirs "a log"
    [ ! -e "$file.tasks" ] || fail "left: $(ls -A "$file.tasks")"
}

# What is finished of a cell under way would be kept there: it is not, which is said, and the cell is finished all the same.
test_part_that_is_a_link() {
    local id file=$scratch/b.h5
    gptq=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --max-windows 2 --method "gptq:w4,g32"
        --calib "$models/calib.txt" --calib-windows 2 --calib-window 32 -o "$file")
    export PTQ_CHECKPOINT_SECONDS=0
    expect_exit 0 "${gptq[@]}"
    "$ptq" table "$file" --format csv >"$scratch/csv"
    id=$(grep -oE '^[0-9a-f]{64}' "$scratch/csv")
    rm "$file"
    mkdir "$file.cells"
    ln -s "$theirs" "$file.cells/$id.part"
    expect_exit 0 "${gptq[@]}"
    expect_text "goes on, but were it killed it could not be resumed from here on: .*$id.part: is a link" "$scratch/err"
    expect_theirs "a part"
    [ -z "$(find "$scratch" -name 'b.h5.*')" ] || fail "left: $(find "$scratch" -name 'b.h5.*')"
    unset PTQ_CHECKPOINT_SECONDS
}

# Process numbers start over in a container, so the next export has the number of the one that was killed.
test_temporaries_in_a_container() {
    container_works || { echo "  not run: no namespace of process numbers may be made here"; return 0; }
    strace_works || { echo "  not run: there is no strace that works here"; return 0; }
    container() { timeout 60 unshare --pid --fork --mount-proc "$@"; }
    container strace -f -o "$scratch/trace" -e trace=fsync -e inject=fsync:signal=SIGKILL:when=2 "${export_rtn[@]}" \
        -o "$scratch/out1" >/dev/null 2>&1 || true
    [ -n "$(find "$scratch" -maxdepth 1 -name '.tmp.out1.*')" ] || fail "the export was not killed"
    expect_exit 0 container strace -o /dev/null -e trace=none "${export_rtn[@]}" -o "$scratch/out1"
    expect_exit 0 "$ptq" inspect "$scratch/out1"
    rm -rf "$scratch"/out1 "$scratch"/.tmp.out1.*
}

# A cell that a task is writing while others join what is finished: it comes through.
task_beside() {
    local file=$scratch/w.h5 task code=0 id
    strace_works || { echo "  not run: there is no strace that works here"; return 0; }
    rm -rf "$file"*
    expect_exit 0 "${run[@]}" -o "$file" --cell "2:${ids[2]}"
    strace -f -o "$scratch/trace" -e trace=rename -e inject=rename:delay_enter=1500000:when=1 "${run[@]}" -o "$file" \
        --cell "0:${ids[0]}" >"$scratch/task" 2>&1 &
    task=$!
    for _ in $(seq 500); do [ -z "$(find "$file.cells" -name '.tmp*' 2>/dev/null)" ] || break; sleep 0.01; done
    expect_exit "$1" "${@:2}" -o "$file"
    kill -0 $task || fail "the task had ended before"
    wait $task || code=$?
    [ $code = 0 ] || fail "the task ended as $code: $(tail -1 "$scratch/task")"
    "$ptq" table "$file" --format csv >"$scratch/csv"
    for id in "${ids[0]}" "${ids[2]}"; do expect_text "^$id," "$scratch/csv"; done
    expect_exit 0 "${run[@]}" -o "$file"
    [ -z "$(find "$scratch" -name 'w.h5.*')" ] || fail "left: $(find "$scratch" -name 'w.h5.*')"
}
test_a_task_beside_eval() { task_beside 0 "${eval_fp16[@]}"; }
test_a_task_beside_run() { task_beside 0 "${run[@]}" --set w_bit=4; }
test_a_task_beside_merge() { task_beside 1 "${run[@]}" --merge; }

# What stands in for Slurm: it says $SAID, or does not answer.
mkdir "$scratch/stubs"
cat >"$scratch/stubs/squeue" <<'SH'
#!/bin/sh
[ "$SAID" != fails ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
echo "$SAID"
SH
chmod +x "$scratch/stubs/squeue"

# Tasks that Slurm has, or may have, are not joined or called failed, and what is known of them stays.
test_slurm_is_asked() {
    local file=$scratch/q.h5 command said
    mkdir "$file.tasks"
    cp "$scratch/whole.h5" "$file"
    printf '7 0 %s\n81 - merge\n' "${ids[0]}" >"$file.tasks/queue"
    touch "$file.tasks/${ids[0]}.log"
    for said in fails 7; do
        for command in run merge fresh eval; do
            asked_of $command
            expect_exit 1 env SAID=$said PATH="$scratch/stubs:$PATH" "${asked[@]}" -o "$file"
            if [ $said = fails ]; then
                expect_text "^ptq: .*q.h5: was given to Slurm, which does not say .*ask again, or remove .*.tasks/queue once" \
                    "$scratch/err"
            else
                expect_text "^ptq: .*q.h5: 1 task in Slurm is at work on it" "$scratch/err"
            fi
            [ "$(cd "$file.tasks" && echo *)" = "${ids[0]}.log queue" ] || fail "$command: left of the tasks: $(ls "$file.tasks")"
            [ ! -e "$file.failed.json" ] || fail "$command: a task that may run has failed"
            cmp -s "$scratch/whole.h5" "$file" || fail "$command: the results were changed"
        done
    done
    expect_exit 1 env SAID=81 SLURM_JOB_ID=1 PATH="$scratch/stubs:$PATH" "${run[@]}" --merge -o "$file"
    # The job that joins the results is in the queue itself; where there is no queue, nobody is asked.
    cp -r "$file.tasks" "$scratch/kept"
    expect_exit 0 env SAID=81 SLURM_JOB_ID=81 PATH="$scratch/stubs:$PATH" "${run[@]}" --merge -o "$file"
    [ ! -e "$file.tasks" ] || fail "left: $(ls "$file.tasks")"
    cp -r "$scratch/kept" "$file.tasks"
    expect_exit 0 env SAID= PATH="$scratch/stubs:$PATH" "${run[@]}" --merge -o "$file"
    expect_exit 0 env SAID=fails PATH="$scratch/stubs:$PATH" "${run[@]}" --merge -o "$file"
}

# When the tasks have ended, of which some have failed, nobody asks for them again.
test_slurm_is_asked_once() {
    local file=$scratch/o.h5
    mkdir "$file.tasks"
    printf '7 0 %s\n8 - merge\n' "${ids[0]}" >"$file.tasks/queue"
    echo "ptq: it was too warm" >"$file.tasks/${ids[0]}.log"
    expect_exit 1 env SAID= PATH="$scratch/stubs:$PATH" "${run[@]}" --merge -o "$file"
    expect_text "it was too warm" "$scratch/err"
    [ "$(cd "$file.tasks" && echo *)" = "${ids[0]}.log" ] || fail "left of the tasks: $(ls "$file.tasks")"
}

long_name() { printf 'n%.0s' $(seq "$1"); }

test_names_that_leave_no_room() {
    local name
    name=$(long_name 240)
    for command in run eval; do
        asked_of $command
        expect_exit 2 "${asked[@]}" -o "$scratch/$name.h5"
        expect_text "^ptq: -o .*this name is too long; at most [0-9]+ bytes leave room for what is kept beside it" "$scratch/err"
        expect_no_text '^\[' "$scratch/err"
    done
    [ -z "$(find "$scratch" -name 'nnnn*')" ] || fail "left $(find "$scratch" -name 'nnnn*')"
    name=$(long_name 218).h5
    expect_exit 0 "${run[@]}" -o "$scratch/$name"
    expect_exit 0 "${run[@]}" -o "$scratch/$name" --set w_bit=5 --jobs 2
    rm -f "$scratch/$name"
    expect_exit 1 "${export_rtn[@]}" -o "$scratch/$(long_name 240)"
    expect_text 'File name too long' "$scratch/err"
}

test_no_name() {
    for command in run eval quantize plot report; do
        case $command in
            run) set -- "${run[@]}" ;;
            eval) set -- "${eval_fp16[@]}" ;;
            quantize) set -- "${export_rtn[@]}" ;;
            *) set -- "$ptq" $command "$scratch/whole.h5" ;;
        esac
        expect_exit 2 "$@" -o ""
        expect_text '^ptq: --out is empty; it must be a name$' "$scratch/err"
    done
}

test_experiment_from_a_pipe() {
    expect_exit 0 "$ptq" run - --threads 1 --jobs 2 -o "$scratch/p.h5" <"$scratch/s.yaml"
    expect_exit 0 "$ptq" diff "$scratch/whole.h5" "$scratch/p.h5"
    [ ! -e "$scratch/p.h5.tasks" ] || fail "left: $(ls -A "$scratch/p.h5.tasks")"
}

test_reuse_of_what_is_removed() {
    local file=$scratch/self.h5
    cp "$scratch/whole.h5" "$file"
    ln -s self.h5 "$scratch/also.h5"
    for from in "$file" "$scratch/also.h5" "$scratch/../$(basename "$scratch")/self.h5"; do
        expect_exit 2 "${run[@]}" -o "$file" --fresh --reuse "$from"
        expect_text '^ptq: --reuse .*: is the results file that --fresh computes anew; leave one of the two out$' "$scratch/err"
        cmp -s "$scratch/whole.h5" "$file" || fail "$from: the results were changed"
    done
    expect_exit 0 "${run[@]}" -o "$file" --fresh --reuse "$scratch/whole.h5"
    expect_text '3 cells taken' "$scratch/err"
    # Of a run that was killed there are only the finished cells, and a link to FILE leads nowhere yet.
    file=$scratch/unjoined.h5
    expect_exit 0 "${run[@]}" -o "$file" --cell "0:${ids[0]}"
    { [ ! -e "$file" ] && [ -s "$file.cells/${ids[0]}.h5" ]; } || fail "a cell is not alone: $(ls -d "$file"*)"
    ln -sf unjoined.h5 "$scratch/also.h5"
    ln -s unjoined.h5.cells "$scratch/folder"
    for from in "$file" "$scratch/also.h5" "$file.cells" "$scratch/folder" "$file.cells/${ids[0]}.h5"; do
        expect_exit 2 "${run[@]}" -o "$file" --fresh --reuse "$from"
        expect_text '^ptq: --reuse .*: is the results file that --fresh computes anew' "$scratch/err"
        [ -s "$file.cells/${ids[0]}.h5" ] || fail "$from: the finished cell is gone"
    done
    ln -sf also.h5 "$scratch/also.h5"
    expect_exit 1 "${run[@]}" -o "$file" --fresh --reuse "$scratch/also.h5"
    expect_text '^ptq: .*also.h5: cannot be looked for: Too many levels|leads nowhere' "$scratch/err"
    [ -s "$file.cells/${ids[0]}.h5" ] || fail "an endless link: the finished cell is gone"
    rm -r "$scratch/also.h5" "$scratch/folder" "$file.cells"
}

# What has its last name keeps it when the power fails.
test_export_syncs_its_parent() {
    strace_works || { echo "  not run: there is no strace that works here"; return 0; }
    expect_exit 0 strace -y -o "$scratch/trace" -e trace=fsync,renameat2 "${export_rtn[@]}" -o "$scratch/synced"
    sed -n '/renameat2(/,$p' "$scratch/trace" >"$scratch/behind"
    expect_text "^fsync\\([0-9]+<$scratch>\\) += 0" "$scratch/behind"
}

run_tests
