#!/usr/bin/env bash
# Every read, map, write, sync, close and rename of a command fails in turn, is interrupted or cut short, and the command is
# killed at each: what is on disk afterwards is whole, a failure is one sentence, and the next run completes. Needs strace,
# which fails system calls on purpose. PTQ_TORTURE=long goes through every call, else through the first ones and then ever
# fewer.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1 preload=${PTQ_PRELOAD:-}
models=$tree/tests/fixtures/models
tried=0

if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    echo "there is no strace that works here"
    [ -z "${PTQ_MUST_RUN:-}" ] || exit 1
    exit 77
fi

# LeakSanitizer cannot look under strace, which is itself a tracer; leaks are found by every other test.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" PTQ_CACHE=$scratch/cache

# ---- what is run, and what must hold of its folder $scratch/d ----

eval_llama=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --max-windows 2 --bos none --threads 1
    --quiet -o "$scratch/d/r.h5")
mkdir "$scratch/first" "$scratch/d"
"${eval_llama[@]}" >"$scratch/out" || exit 1
mv "$scratch/d/r.h5" "$scratch/first"

# A results file with one cell, so that a second one is joined to it.
# shellcheck disable=SC2034
join_command=("${eval_llama[@]}" --method "rtn:w3,g32")
saved=0 # cells that the command under fault has finished, by its renames
join_before() { cp "$scratch/first/r.h5" "$scratch/d"; }
join_whole() { # the cell that was there, and each that was finished
    expect_exit 0 "$ptq" table "$scratch/d/r.h5"
    [ "$(grep -cE '^(FP16|RTN|GPTQ)' "$scratch/out")" -gt "$saved" ] || fail "$saved finished: $(cat "$scratch/out")"
}
join_done() {
    join_whole
    expect_text "^RTN" "$scratch/out"
    [ -z "$(find "$scratch/d" -mindepth 1 ! -name r.h5)" ] || fail "after $1: $(ls -A "$scratch/d")"
}

# The same of a cell that keeps its finished blocks, after every one of them.
# shellcheck disable=SC2034
blocks_command=("${eval_llama[@]}" --method "gptq:w3,g32" --calib "$models/calib.txt" --calib-windows 2
    --calib-window 32)
blocks_before() { join_before; }
blocks_whole() { join_whole; }
blocks_done() {
    join_whole
    expect_text "^GPTQ" "$scratch/out"
    [ -z "$(find "$scratch/d" -mindepth 1 ! -name r.h5)" ] || fail "after $1: $(ls -A "$scratch/d")"
}

# An exported folder: there whole, or not there.
export_command=("$ptq" quantize "$models/opt" --method "gptq:w4,g32,sym=1" --calib "$models/calib.txt" --calib-windows 2
    --calib-window 32 --format gptq --threads 1 --quiet -o "$scratch/d/q")
export_before() { :; }
export_whole() {
    # The model card has the hour and the seconds.
    [ ! -e "$scratch/d/q" ] || expect_exit 0 diff -r --exclude=README.md "$scratch/q" "$scratch/d/q"
}
export_done() {
    [ -e "$scratch/d/q" ] || fail "$1: there is no folder"
    export_whole
    [ -z "$(find "$scratch/d" -mindepth 1 -maxdepth 1 ! -name q)" ] || fail "after $1: $(ls -A "$scratch/d")"
}
export_once() {
    [ -e "$scratch/q" ] || { "${export_command[@]}" >"$scratch/out" && mv "$scratch/d/q" "$scratch/q"; }
}

# A cell that is compared with FP16, and whose statistics and comparison nobody has kept yet.
# shellcheck disable=SC2034
cache_command=("${blocks_command[@]}" --reference)
cache_before() { rm -rf "$PTQ_CACHE"; join_before; }
cache_whole() { join_whole; }
cache_done() {
    blocks_done "$1"
    [ -z "$(find "$PTQ_CACHE" -name '.tmp*')" ] || fail "after $1: $(find "$PTQ_CACHE" -name '.tmp*')"
}

# A sweep of three cells, in processes of their own.
cat >"$scratch/sweep.yaml" <<YAML
title: "three cells"
models: ["$models/llama"]
w_bit: 4
group_size: 32
methods: [fp16, rtn, gptq]
calib: {text: "$models/calib.txt", windows: 2, window: 32}
eval: {text: "$models/text.txt", windows: 2, window: 32, bos: none}
YAML
# shellcheck disable=SC2034
jobs_command=("$ptq" run "$scratch/sweep.yaml" -o "$scratch/d/r.h5" --threads 1 --quiet --jobs 2)
jobs_before() { join_before; }
jobs_whole() { join_whole; }
jobs_done() { blocks_done "$1"; }

# The same in this process, with a model that no cell can be run of; the list of those that fail is a file, too.
# shellcheck disable=SC2034
failing_command=("$ptq" run "$scratch/sweep.yaml" -o "$scratch/d/r.h5" --threads 1 --quiet
    --set 'methods=[fp16, rtn]' --set "models=[$models/llama, $models/starcoder2]")
# shellcheck disable=SC2034
failing_ends=1
failing_before() { join_before; }
failing_whole() {
    join_whole
    [ ! -e "$scratch/d/r.h5.failed.json" ] || expect_exit 0 python3 -m json.tool "$scratch/d/r.h5.failed.json"
}
failing_done() {
    failing_whole
    expect_text '"why":.*starcoder2' "$scratch/d/r.h5.failed.json"
    expect_exit 0 "$ptq" table "$scratch/d/r.h5"
    expect_text "^RTN" "$scratch/out"
    [ "$(find "$scratch/d" -mindepth 1 | grep -c .)" = 2 ] || fail "after $1: $(ls -A "$scratch/d")"
}

# Folders of pictures and pages: what has its name is what it is without a fault.
# shellcheck disable=SC2034
plot_command=("$ptq" plot "$scratch/two.h5" -o "$scratch/d/p" --quiet)
# shellcheck disable=SC2034
report_command=("$ptq" report "$scratch/two.h5" -o "$scratch/d/p" --format html --quiet)
drawn_once() {
    mkdir -p "$scratch/d"
    [ -e "$scratch/two.h5" ] || "${join_command[@]/"$scratch/d/r.h5"/$scratch/two.h5}" >"$scratch/out" || fail "two cells"
    local -n command=${1}_command
    rm -rf "$scratch/d/p"
    [ -e "$scratch/$1" ] || { "${command[@]}" >"$scratch/out" && mv "$scratch/d/p" "$scratch/$1"; }
}
# drawn_whole WHAT: no file but whole ones.
drawn_whole() {
    local file
    [ -e "$scratch/d/p" ] || return 0
    while read -r file; do
        cmp -s "$scratch/$1/$file" "$scratch/d/p/$file" || fail "$1: $file is not what it is without a fault"
    done < <(cd "$scratch/d/p" && find . -type f ! -name '.tmp*')
}
drawn_done() {
    drawn_whole "$1"
    expect_exit 0 diff -rq "$scratch/$1" "$scratch/d/p"
    [ ! -s "$scratch/out" ] || head -3 "$scratch/out"
}
plot_before() { :; }
plot_whole() { drawn_whole plot; }
plot_done() { drawn_done plot; }
report_before() { :; }
report_whole() { drawn_whole report; }
report_done() { drawn_done report; }

# ---- faults ----

# Of strace: whether children are looked at, too, and the files that alone are meant.
follow=-f
paths=()

next_call() {
    if [ "${PTQ_TORTURE:-}" = long ] || [ "$1" -lt 4 ]; then echo $(($1 + 1)); else echo $(($1 * 2)); fi
}

# after WHAT SYSCALL EFFECT K CODE: the command has ended with CODE; what must hold now, and after another run.
after() {
    local what=$1 label="$1: $2 $3 at $4" expected=1 code=$5
    local -n command=${what}_command
    tried=$((tried + 1))
    local -n ends=${what}_ends
    [ "$3" = signal=SIGKILL ] && expected=137
    # Before main, the loader could not open or map a library.
    [ "$code" != 127 ] || ! grep -q 'error while loading shared libraries' "$scratch/err" || expected=127
    # A write to the terminal may fail without harm, and one cut short is tried again.
    [ "$code" = 0 ] || [ "$code" = $expected ] || fail "$label: exit $code: $(cat "$scratch/err")"
    if [ "$code" = 1 ]; then
        # Unless it was the sentence itself that could not be written.
        [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || grep -qE 'write\(2, "ptq: .*INJECTED' "$scratch/trace" ||
            fail "$label: no sentence: $(cat "$scratch/err")"
        [ -z "$(find "$scratch/d" -name '.tmp*')" ] || fail "$label: left $(ls -A "$scratch/d")"
    fi
    saved=$(grep -cE 'rename\(.*\.cells/[0-9a-f]{64}\.h5"\) = 0' "$scratch/trace")
    "${what}_whole"
    [ "$code" != 0 ] || "${what}_done" "$label, which ended well"
    if [ ! -e "$scratch/d/q" ]; then expect_exit "${ends:-0}" "${command[@]}"; fi
    "${what}_done" "$label"
    saved=0
}

# fault WHAT SYSCALL EFFECT: at the 1st, 2nd, ... call (behind the first $skipped), until a run has fewer of them.
skipped=0
fault() {
    local k=$((skipped + 1)) code what=$1 kind=$2
    local -n run=${what}_command
    while :; do
        rm -rf "$scratch/d" && mkdir "$scratch/d"
        "${what}_before"
        code=0
        { # the shell's own word about a killed child is not wanted
            # shellcheck disable=SC2086 # may be no word
            timeout 60 strace $follow -o "$scratch/trace" "${paths[@]}" -e "trace=$kind,rename" \
                -e "inject=$kind:$3:when=$k" "${run[@]}" >"$scratch/out" 2>"$scratch/err"
        } 2>/dev/null || code=$?
        grep -qE 'INJECTED|SIG(KILL|XCPU)' "$scratch/trace" || break
        after "$what" "$kind" "$3" "$k" "$code"
        k=$((skipped + $(next_call $((k - skipped)))))
    done
    [ "$k" -gt $((skipped + 1)) ] || fail "$what: $kind: no call was made"
}

test_disk_is_full() { fault join write error=ENOSPC; }
test_write_fails() { fault join write error=EIO; }
test_write_is_interrupted() { fault join write error=EINTR; }
test_sync_fails() { fault join fsync error=EIO; }
test_sync_is_interrupted() { fault join fsync error=EINTR; }
test_rename_fails() { fault join rename error=EROFS; }
test_close_fails() { fault join close error=EIO; }
test_open_fails() { fault join openat error=EMFILE; }
test_killed_at_a_write() { fault join write signal=SIGKILL; }
test_killed_at_a_sync() { fault join fsync signal=SIGKILL; }
test_killed_at_a_rename() { fault join rename signal=SIGKILL; }
test_killed_while_tidying() { fault join unlinkat signal=SIGKILL; }

# A finished cell on its way into the results file: what fails here must not be taken for a cell that is damaged, or not
# there, whose file the joining would remove.
joining() {
    local paths cell
    rm -rf "$scratch/d" && mkdir "$scratch/d"
    join_before
    expect_exit 0 "${join_command[@]}"
    expect_exit 0 "$ptq" table "$scratch/d/r.h5" --format csv
    cell=$(python3 -c 'import csv, sys; print(*(row["id"] for row in csv.DictReader(sys.stdin) if row["method"] == "rtn"))' \
        <"$scratch/out")
    paths=(-P "$scratch/d/r.h5" -P "$scratch/d/r.h5.cells" -P "$scratch/d/r.h5.cells/$cell.h5")
    [ "$1" != close_range ] || paths=() # which has no path: the process that reads makes it, and no other
    fault join "$@"
}
test_joining_open_fails() { joining openat error=EMFILE; }
test_joining_open_is_refused() { joining openat error=EACCES; }
test_joining_map_fails() { joining mmap error=ENOMEM; }
test_joining_list_fails() { joining getdents64 error=EIO; }
test_joining_stat_fails() { joining newfstatat error=EIO; }
test_joining_reader_ends() { joining close_range signal=SIGXCPU; }

# ---- results that cannot be read ----

# A folder with one experiment's file and its claim.
pool_once() {
    [ ! -e "$scratch/pool" ] || return 0
    mkdir -p "$scratch/pool" "$scratch/d"
    "$ptq" run "$scratch/sweep.yaml" -o "$scratch/pool/three.h5" --threads 1 --quiet || fail "no pool"
    cat >"$scratch/claims.yaml" <<YAML
claims:
  - name: rounding
    claim: rounding costs something
    source: nobody
    tests: [{what: "perplexity", experiment: three, measure: ratio, of: rtn:w4, to: fp16, above: 1}]
YAML
}
taking=("$ptq" run "$scratch/sweep.yaml" -o "$scratch/d/new.h5" --dry-run --reuse)

# unread PATH SYSCALL ERRNO COMMAND...: at each such call on PATH, the sentence is the system's, names PATH and knows of no
# damage; or what is said is what is said without a fault.
unread() {
    local path=$1 kind=$2 error=$3 k=1 code
    shift 3
    expect_exit 0 "$@"
    mv "$scratch/out" "$scratch/good"
    while :; do
        code=0
        timeout 60 strace -f -P "$path" -o "$scratch/trace" -e "trace=$kind" -e "inject=$kind:error=$error:when=$k" "$@" \
            >"$scratch/out" 2>"$scratch/err" || code=$?
        grep -q INJECTED "$scratch/trace" || break
        tried=$((tried + 1)) k=$((k + 1))
        if [ "$code" = 0 ]; then
            expect_file "$scratch/good" "$scratch/out"
        else
            [ "$code" = 1 ] || fail "exit $code: $*"
            expect_text "^ptq: .*$path.*(Input/output error|Too many open files|Cannot allocate memory)" "$scratch/err"
            expect_no_text 'damaged|buf = |--fresh' "$scratch/err"
        fi
    done
    [ $k -gt 1 ] || fail "$kind of $path: no call was made"
}
# unread_file SYSCALL ERRNO: by each command that reads results.
unread_file() {
    local file=$scratch/pool/three.h5
    pool_once
    unread "$file" "$@" "$ptq" table "$file" --format csv
    unread "$file" "$@" "$ptq" inspect "$file"
    unread "$file" "$@" "$ptq" diff "$file" "$scratch/first/r.h5"
    unread "$file" "$@" "$ptq" claims "$scratch/claims.yaml" "$scratch/pool"
    unread "$file" "$@" "${taking[@]}" "$file"
    unread "$file" "$@" "${taking[@]}" "$scratch/pool"
}
test_unread_opens_fail() { unread_file openat EMFILE; }
test_unread_stats_fail() { unread_file newfstatat EIO; }
test_unread_maps_fail() { unread_file mmap ENOMEM; }
test_unread_folders_fail() {
    pool_once
    unread "$scratch/pool" openat EMFILE "${taking[@]}" "$scratch/pool"
    unread "$scratch/pool" getdents64 EIO "${taking[@]}" "$scratch/pool"
    unread "$scratch/pool" newfstatat EIO "${taking[@]}" "$scratch/pool"
    unread "$scratch/pool" newfstatat EIO "$ptq" claims "$scratch/claims.yaml" "$scratch/pool"
}
# HDF5 is given no file that it could fail to read.
test_unread_by_hdf5() {
    pool_once
    strace -f -P "$scratch/pool/three.h5" -o "$scratch/trace" "$ptq" table "$scratch/pool/three.h5" >"$scratch/out"
    expect_no_text '(pread64|read)\(' "$scratch/trace"
}
# A file of the folder that is damaged is passed over, and it is said.
test_unread_damage() {
    pool_once
    head -c 5000 "$scratch/pool/three.h5" >"$scratch/pool/cut.h5"
    expect_exit 0 "${taking[@]}" "$scratch/pool"
    expect_text '^sweep: 3 cells would be taken' "$scratch/out"
    expect_text 'passed over: .*pool/cut.h5: is HDF5, but not as ptq wrote it' "$scratch/err"
    expect_exit 1 "${taking[@]}" "$scratch/pool/cut.h5"
    rm "$scratch/pool/cut.h5"
}
# The list of what failed, which a page without it would lack in silence.
test_unread_failures() {
    pool_once
    local list=$scratch/pool/three.h5.failed.json page
    # shellcheck disable=SC2016 # for the inner shell to expand
    page=(sh -c '"$1" report "$2" -o "$3" --format html && cat "$3/report.html"' sh "$ptq" "$scratch/pool/three.h5" "$scratch/page")
    echo '{"failed": [{"cell": "a cell", "model": "a model", "why": "it broke"}]}' >"$list"
    unread "$list" newfstatat EIO "${page[@]}"
    unread "$list" openat EMFILE "${page[@]}"
    rm "$list"
}

# A cell joins an experiment's file, whose name and text stay.
# shellcheck disable=SC2034
named_command=("${eval_llama[@]}" --method "rtn:w3,g32")
named_before() { cp "$scratch/pool/three.h5" "$scratch/d/r.h5"; }
named_whole() {
    expect_exit 0 "$ptq" inspect "$scratch/d/r.h5"
    expect_text 'experiment sweep, ' "$scratch/out"
}
named_done() { named_whole; }
test_named_stat_fails() {
    local paths=(-P "$scratch/d/r.h5")
    pool_once
    PTQ_TORTURE=long fault named newfstatat error=EIO
}

blocks() {
    PTQ_CHECKPOINT_SECONDS=0 fault blocks "$@"
}
test_blocks_disk_is_full() { blocks write error=ENOSPC; }
test_blocks_killed_at_a_write() { blocks write signal=SIGKILL; }
test_blocks_killed_at_a_rename() { blocks rename signal=SIGKILL; }
test_blocks_killed_while_tidying() { blocks unlinkat signal=SIGKILL; }

export_fault() {
    export_once
    fault export "$@"
}
test_export_disk_is_full() { export_fault fallocate error=ENOSPC; }
test_export_write_fails() { export_fault pwrite64 error=EIO; }
test_export_write_is_interrupted() { export_fault pwrite64 error=EINTR; }
test_export_sync_fails() { export_fault fsync error=EIO; }
test_export_close_is_interrupted() { export_fault close error=EINTR; }
test_export_rename_fails() { export_fault rename error=EIO; }
test_export_stats_fail() {
    local paths file
    for file in config.json tokenizer.json model.safetensors generation_config.json LICENSE; do
        paths=(-P "$models/opt/$file")
        export_fault newfstatat error=EIO
    done
}
test_export_killed_at_a_write() { export_fault pwrite64 signal=SIGKILL; }
test_export_killed_at_a_rename() { export_fault rename signal=SIGKILL; }

# What is read: the model, the texts, the results that are there.
reads() {
    local paths=() file
    for file in "$models"/llama/* "$models/text.txt" "$models/calib.txt" "$scratch/d/r.h5"; do paths+=(-P "$file"); done
    fault blocks "$@"
}
test_read_fails() { reads read error=EIO; }
test_read_is_interrupted() { reads read error=EINTR; }
test_map_fails() { reads mmap error=ENOMEM; }
test_stat_fails() { reads newfstatat error=EIO; }
test_open_is_refused() { reads openat error=EACCES; }
# What the loader maps before main is its own; it may crash.
test_memory_is_short() {
    local skipped
    strace -f -o "$scratch/trace" -e trace=mmap "$ptq" --version >"$scratch/out"
    skipped=$(grep -c ' mmap(' "$scratch/trace")
    fault blocks mmap error=ENOMEM
}

test_cache_disk_is_full() { fault cache write error=ENOSPC; }
test_cache_rename_fails() { fault cache rename error=EROFS; }
test_cache_sync_fails() { fault cache fsync error=EIO; }
test_cache_has_no_folder() { fault cache mkdir error=EROFS; }
test_cache_killed_at_a_rename() { fault cache rename signal=SIGKILL; }

test_jobs_writes_fail() { fault jobs write error=ENOSPC; }
test_jobs_renames_fail() { fault jobs rename error=EIO; }
test_jobs_opens_fail() { fault jobs openat error=EMFILE; }
test_jobs_do_not_start() { OPENBLAS_NUM_THREADS=1 follow='' fault jobs clone,clone3,vfork error=EAGAIN; }
test_jobs_are_not_waited_for() { follow='' fault jobs wait4 error=EINTR; }

test_failing_writes_fail() { fault failing write error=ENOSPC; }
test_failing_renames_fail() { fault failing rename error=EIO; }
test_failing_killed_at_a_rename() { fault failing rename signal=SIGKILL; }

# File systems without flock(): two runs at once would not notice one another, and it is said; one loses nothing.
test_no_locks() {
    expect_exit 0 strace -o "$scratch/trace" -e trace=flock -e inject=flock:error=ENOLCK "$ptq" eval "$models/llama" \
        --text "$models/text.txt" --window 32 --max-windows 2 -o "$scratch/unlocked.h5"
    expect_text "unlocked.h5: its file system cannot lock it \\(No locks available\\), so a second run" "$scratch/err"
    fault failing flock error=ENOLCK
    fault jobs flock error=ENOSYS
    fault jobs flock error=EOPNOTSUPP
}

drawn() {
    drawn_once "$1"
    fault "$@"
}
test_plot_writes_fail() { follow='' drawn plot write error=ENOSPC; } # gnuplot writes to memory
test_plot_renames_fail() { drawn plot rename error=EIO; }
test_plot_opens_fail() { follow='' drawn plot openat error=EMFILE; }
test_plot_program_does_not_start() { OPENBLAS_NUM_THREADS=1 follow='' drawn plot clone,clone3,vfork error=EAGAIN; }
test_report_writes_fail() { follow='' drawn report write error=EIO; }
test_report_renames_fail() { drawn report rename error=EROFS; }
test_report_killed_at_a_rename() { drawn report rename signal=SIGKILL; }

# Writes that are cut short, which strace cannot do: every first, second, third one takes half of its bytes.
test_short_writes() {
    local every what
    [ -n "$preload" ] || { echo "  not run: a sanitizer and a preloaded library do not go together"; return 0; }
    export_once
    for what in join blocks export; do
        for every in 1 2 3; do
            local -n command=${what}_command
            rm -rf "$scratch/d" && mkdir "$scratch/d"
            "${what}_before"
            expect_exit 0 env LD_PRELOAD="$preload" PTQ_TORTURE_SHORT=$every "${command[@]}"
            "${what}_done" "short writes, every $every"
            tried=$((tried + 1))
        done
    done
}

# A real disk of 1 MB, with ever more room on it.
test_small_disk() {
    local what room code
    if ! mkdir -p "$scratch/d" || ! mount -t tmpfs -o size=1m tmpfs "$scratch/d" 2>/dev/null; then
        echo "  no tmpfs may be mounted here"
        # Root without the right to mount, as in some containers, is all that a machine may have.
        [ -z "${PTQ_MUST_RUN:-}" ] || [ "$(id -u)" = 0 ] || fail "this needs root"
        return
    fi
    trap 'umount "$scratch/d" 2>/dev/null; clean_up' EXIT
    export_once
    drawn_once plot
    for what in join export plot; do
        local -n command=${what}_command
        for room in 0 4 16 32 64 96 128 192 256 512 700; do
            find "$scratch/d" -mindepth 1 -delete
            "${what}_before"
            head -c "$(($(stat -f -c '%a * %S' "$scratch/d") - room * 1024))" /dev/zero >"$scratch/d/ballast"
            code=0
            "${command[@]}" >"$scratch/out" 2>"$scratch/err" || code=$?
            [ "$code" = 0 ] || expect_text 'No space left on device' "$scratch/err"
            rm "$scratch/d/ballast"
            after "$what" disk "with $room KB free" once "$code"
        done
        [ "$code" = 0 ] || fail "$what: 700 KB are not enough"
    done
    umount "$scratch/d"
}

run_tests
echo "$tried faults"
