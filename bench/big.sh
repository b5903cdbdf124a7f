#!/usr/bin/env bash
# `make -f Makefile.bench big`: a model in the shape of LLaMA-7B, 13.5 GB of F16, under a limit of 4 GiB of memory.
#
#   bench/big.sh PTQ FOLDER OUT.md [CASE...]      FOLDER: bench/big_model.py's; CASE: some of the rows below, by name
#
# The limit is RLIMIT_DATA: the kernel refuses a process more private writable memory than that, whatever it is for. The
# checkpoint is mapped read-only and shared, so its pages are the page cache's and not counted; what the process itself
# holds at most is sampled from VmData (what was asked for) and RssAnon (what was touched). The second witness is
# /usr/bin/time's maximum resident set, in which pages of the mapped checkpoint count as long as the kernel leaves them.
set -euo pipefail
ptq=$1 folder=$2 out=$3
shift 3
limit_kib=$((4 << 20))
calib="--calib $(dirname "$0")/../docs/methods.md --calib-windows ${CALIB_WINDOWS:-16} --calib-window 256"
text="--text $(dirname "$0")/../docs/decisions.md --max-windows 1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PTQ_CACHE=$work/cache

# name | model | window | method, with its calibration where it has one
cases="fp16|7b|128|fp16
rtn|7b|128|rtn:w3,g128
fp16-1|1b|512|fp16
rtn-1|1b|512|rtn:w4,g128
salient-1|1b|512|salient:w3,g128,fraction=0.01 $calib
scale-1|1b|512|scale:w3,g128,fraction=0.01,s=2 $calib
awq-1|1b|512|awq:w4,g128,loss=gram $calib
awq-module-1|1b|512|awq:w4,g128,loss=module $calib
gptq-1|1b|512|gptq:w4,g128 $calib
gptq-2|2b|512|gptq:w4,g128 $calib
awq+gptq-1|1b|512|awq+gptq:w2,g64 $calib"

# Runs the command that follows; leaves the largest VmData and RssAnon in $work/peak, in KiB, and time's witness in
# $work/rss.
watch() {
    local data=0 anon=0 d a child key value
    (ulimit -d "$limit_kib" && exec /usr/bin/time -q -f %M -o "$work/rss" "$@") >"$work/json" 2>"$work/err" &
    local pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        read -r child _ <"/proc/$pid/task/$pid/children" 2>/dev/null || true
        d=0 a=0
        while read -r key value _; do
            case $key in
            VmData:) d=$value ;;
            RssAnon:) a=$value ;;
            esac
        done 2>/dev/null <"/proc/${child:-$pid}/status" || true
        ((d > data)) && data=$d
        ((a > anon)) && anon=$a
        sleep 0.02
    done
    echo "$data $anon" >"$work/peak"
    wait "$pid"
}

number() { # NAME: of the JSON object
    grep -o "\"$1\": [-0-9.e+]*" "$work/json" | head -1 | sed 's/.*: //'
}

row() {
    local name=$1 model=$2 window=$3 method=$4 data anon rss made calibration='' status=0
    [[ $method != *--calib* ]] || calibration=${CALIB_WINDOWS:-16}
    made="$(date -u '+%F %H:%M'), $("$ptq" --version | sed -n '1s/.*(\(.......\)[^+]*\(+*\))/\1\2/p')"
    # shellcheck disable=SC2086 # the method's calibration is words
    watch "$ptq" eval "$folder/$model" $text --window "$window" --threads 2 --bos none --json --quiet --method $method ||
        status=$?
    read -r data anon <"$work/peak"
    rss=$(tail -1 "$work/rss")
    if ((status)); then
        echo "| $name | $model | ${method%% *} | $calibration | $window | $((data >> 10)) | $((anon >> 10)) | $((rss >> 10)) | failed: $(tail -1 "$work/err") | | | $made |" >>"$out.rows"
        cat "$work/err" >&2
        return 1
    fi
    printf '| %s | %s | %s | %s | %s | %d | %d | %d | %.4f | %.0f | %.0f | %s |\n' "$name" "$model" "${method%% *}" "$calibration" "$window" \
        $((data >> 10)) $((anon >> 10)) $((rss >> 10)) "$(number nll_mean)" "$(number quantize)" "$(number eval)" "$made" >>"$out.rows"
    tail -1 "$out.rows"
}

status=0
while IFS='|' read -r name model window method; do
    [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
    [ -f "$out.rows" ] && sed -i "/^| ${name//+/\\+} |/d" "$out.rows"
    row "$name" "$model" "$window" "$method" || status=1
done <<<"$cases"

{
    echo "# A model in the shape of LLaMA-7B in 4 GiB"
    echo
    sed -n '/^# The limit is/,/^set -/{/^set -/d;s/^# //;p}' "$0"
    echo
    echo "7b: all 32 blocks; 1b, 2b: the first one or two of them, with the same embedding and head. Weights are random, so"
    echo "nll says no more than that a number comes out. Seconds are of a machine that others use, too."
    echo
    echo "| case | model | method | calibration windows of 256 | window | largest VmData, MiB | largest RssAnon, MiB | /usr/bin/time's RSS, MiB | nll | quantising, s | evaluating, s | begun (UTC), commit |"
    echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
    cat "$out.rows"
    echo
    echo "- limit: $limit_kib KiB (ulimit -d); a row: \`bench/big.sh PTQ FOLDER OUT.md CASE\`, the model made by \`make -f Makefile.bench big\`"
    echo "- date: $(date -u '+%F %H:%M UTC'); CPU: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
} >"$out"
exit "$status"
