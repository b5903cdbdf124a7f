#!/usr/bin/env bash
# Do other programs load what ptq writes, and compute the same?  tests/compat/run.sh [FORMAT|ROW]...
#
# Exports of the default model, each loaded by transformers with GPTQModel's CPU kernels, or by llama.cpp: weights equal
# to the bit; logits within 1e-3 of ptq's at every token of the text behind the BOS, and without BOS at every token that
# has no massive activation (true_logits.py); perplexity within 0.1 %; every id of a text equal. Installs both from PyPI
# into venvs in the cache, the first time (6 GB with torch, 4 minutes; llama.cpp is compiled, 7 minutes on two cores).
# Not in CI; docs/compat.md has the last run.
# TOKENS=512  MODEL=, TEXT=, CALIB=: others, a golden checkpoint of another family for one
# PTQ=BUILD/ptq: taken as it is, with the compat_logits beside it, else both are built in build
# PYTHON=, LLAMA_PYTHON=interpreters that have requirements.txt, requirements-llama.txt already
set -euo pipefail
ptq=${PTQ:+$(realpath -ms -- "$PTQ")}
cd "$(dirname "$0")/../.."
cache=${PTQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ptq}
model=${MODEL:-smollm2-135m-instruct} text=${TEXT:-anarchism} calib=${CALIB:-perl-doc} tokens=${TOKENS:-512}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# FORMAT SPEC [WINDOWS] a line, numbered from 1: every width of each container, both orders of columns, AWQ's folded scales;
# WINDOWS of calibration, else 4: more where the model would be ruined
exports='fp16 rtn:w3,g64
awq awq:w4,g64,loss=gram
gptq gptq:w2,g16,sym=1,act_order=1,mse=1,fresh_groups=1 32
gptq gptq:w3,g64,sym=1,act_order=0 32
gptq gptq:w4,g64,sym=1,act_order=1
gptq rtn:w8,g-1,sym=1
gptq_v2 gptq:w2,g16,act_order=1,mse=1,fresh_groups=1 32
gptq_v2 gptq:w3,g64,act_order=1
gptq_v2 awq:w3,g64,loss=gram
gptq_v2 gptq:w4,g64,act_order=1
gptq_v2 rtn:w8,g64
gguf rtn:w4,g32,sym=1
gguf rtn:w4,g32,range=gptq
gguf rtn:w8,g32,sym=1
gguf gptq:w4,g32,act_order=0'

# venv NAME REQUIREMENTS [FIRST]: an interpreter that has them; FIRST is installed before the rest, which builds against it.
venv() {
    local folder=$cache/compat/$1
    if [ ! -e "$folder/installed" ]; then
        echo "tests/compat: installs $2 into $folder" >&2
        rm -rf "$folder" # what an interrupted call left there
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet --upgrade pip setuptools wheel >&2
        [ -z "${3:-}" ] || "$folder/bin/pip" install --quiet "$3" >&2
        CMAKE_ARGS='-DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS' BUILD_CUDA_EXT=0 \
            "$folder/bin/pip" install --quiet ${3:+--no-build-isolation} --requirement "tests/compat/$2" >&2
        touch "$folder/installed"
    fi
    echo "$folder/bin/python"
}

# wanted ROW FORMAT ASKED...
wanted() {
    local row=$1 format=$2
    shift 2
    [ $# = 0 ] || [[ " $* " == *" $format "* || " $* " == *" $row "* ]]
}

# logits MODEL TO [exact]: of both sets of ids, beside them in the folder TO
logits() {
    local set
    mkdir -p "$2"
    for set in bos open; do
        cp "$work/$set.ids" "$2"
        "$compat_logits" "$1" "$2/$set.ids" "$2/$set.logits" ${3:+"$3"} 2>"$work/err" || return 1
    done
}

# compare FORMAT SPEC [WINDOWS]
compare() {
    local format=$1 spec=$2 out=$work/out python
    rm -rf "$out"
    "$ptq" quantize "$work/plain" --method "$spec" --calib "$calib" --calib-windows "${3:-4}" --format "$format" -o "$out" \
        --quiet >/dev/null 2>"$work/err" || return 1
    if [ "$format" = gguf ]; then
        # pip's cache may hold the llama.cpp that Makefile.bench builds, without BLAS.
        python=${LLAMA_PYTHON:-$(PIP_NO_CACHE_DIR=1 venv venv-llama requirements-llama.txt)}
        logits "$out/model.gguf" "$work/ours" exact || return 1
        "$python" tests/compat/compare_llama.py --float32 "$out/model.gguf" "$work/float32.gguf" >/dev/null 2>"$work/err" || return 1
        logits "$work/float32.gguf" "$work/theirs" exact || return 1
        diff -r "$work/ours" "$work/theirs" >"$work/err" || return 1
        echo "gguf $spec: weights: of what llama.cpp dequantises ptq computes the same bytes"
        "$python" tests/compat/compare_llama.py "$out/model.gguf" "$work/ours" "$work/text" "$work/text.ids" \
            "$work/float32.gguf" 2>"$work/err" | sed "s|$out/model.gguf|gguf $spec|"
    else
        python=${PYTHON:-$(venv venv requirements.txt torch)}
        logits "$out" "$work/ours" || return 1
        rm -rf "$work/dense"
        [ "$format" = fp16 ] || "$ptq" quantize "$out" --method fp16 --format fp16 -o "$work/dense" --quiet >/dev/null 2>"$work/err" ||
            return 1
        "$python" tests/compat/compare_hf.py "$out" "$work/ours" "$work/text" "$work/text.ids" "$work/dense" \
            2>"$work/err" | grep "^$out" | sed "s|$out|$format $spec|"
    fi
}

# one_build: both programs are there and of one commit, which is printed.
one_build() {
    local program version make
    make="cmake --build $(dirname "$ptq") --target ptq compat_logits"
    for program in "$ptq" "$compat_logits"; do
        [ -x "$program" ] || { echo "tests/compat: $program is not there; $make" >&2; exit 2; }
    done
    version=$("$ptq" --version | head -1)
    echo "$ptq: $version"
    [ "$("$compat_logits" --version)" = "$version" ] ||
        { echo "tests/compat: $compat_logits is of another commit than $ptq; $make" >&2; exit 2; }
}

for asked; do # before anything is made: what nothing answers to would hold
    number=0 known=0
    while read -r format _; do wanted $((++number)) "$format" "$asked" && known=1; done <<<"$exports"
    [ $known = 1 ] || { echo "tests/compat: '$asked' is no row and no format; give 1 to $number, or one of: $(cut -d' ' -f1 <<<"$exports" | uniq | paste -sd' ')" >&2; exit 2; }
done
if [ -z "$ptq" ]; then
    cmake --build build --target ptq compat_logits >/dev/null
    ptq=build/ptq
fi
compat_logits=$(dirname "$ptq")/compat_logits
one_build
path=$(data/fetch need "$text")
head -c 100000 "$path" | iconv -c -f utf-8 -t utf-8 >"$work/text"
"$ptq" quantize "$model" --method fp16 --format fp16 -o "$work/plain" --quiet # what all others are made of
"$ptq" tokenize "$model" "$work/text" >"$work/text.ids"
bos=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["bos_token_id"])' "$work/plain/config.json")
cut -d" " -f"1-$tokens" "$work/text.ids" >"$work/open.ids"
{ printf '%s ' "$bos" && cut -d" " -f"1-$((tokens - 1))" "$work/text.ids"; } >"$work/bos.ids"
row=0
while read -r format spec windows; do
    wanted $((++row)) "$format" "$@" || continue
    compare "$format" "$spec" ${windows:+"$windows"} </dev/null || {
        failed=1
        echo "$format $spec: NOT HELD"
        tail -3 "$work/err"
    }
done <<<"$exports"
[ $failed = 0 ] && echo "tests/compat: everything held"
exit $failed
