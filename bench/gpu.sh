#!/usr/bin/env bash
# What can be known of the device code only with a device, in one call of at most ten minutes, without a network:
#
#   bench/gpu.sh                 on the machine with the GPU (16 cores, nvcc); writes results/gpu/DEVICE-COMMIT.md, and
#                                the same into $OUT where that is set. Exit code 0: every step passed.
#   bench/gpu.sh pack            before, where Debian's archive can be reached: the libraries that a bare machine lacks,
#                                into .gpu-debs (ignored by git; name it in what travels)
#
# A step that fails, or is out of time, does not stop the others; the report lists it and the exit code is 1.
# shellcheck disable=SC2317 # steps are functions that this script calls by their name, in a process of their own
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD

libraries="libopenblas-pthread-dev libopenblas-dev libopenblas0-pthread libopenblas0 liblapacke-dev liblapacke liblapack-dev
liblapack3 libblas-dev libblas3 libtmglib-dev libtmglib3 libgfortran5 libquadmath0 libhdf5-dev libhdf5-103-1 libhdf5-hl-100
libsz2 libaec0 libaec-dev libjansson-dev libjansson4 libyaml-dev libyaml-0-2 libpcre2-dev libpcre2-8-0 libutf8proc-dev
libutf8proc2 libssl-dev libssl3 libcmocka-dev libcmocka0 zlib1g-dev zlib1g pkgconf pkgconf-bin libpkgconf3 libcurl4
libbrotli1 libffi8 libgmp10 libgnutls30 libgssapi-krb5-2 libhogweed6 libidn2-0 libk5crypto3 libkrb5-3 libkrb5support0
libldap-2.5-0 libnettle8 libnghttp2-14 libp11-kit0 libpsl5 librtmp1 libsasl2-2 libssh2-1 libtasn1-6 libunistring2 libzstd1"

pack() {
    mkdir -p .gpu-debs && cd .gpu-debs || exit 1
    # shellcheck disable=SC2086 # a list of words
    apt-get download $libraries >/dev/null || exit 1
    du -sh .
}
[ "${1:-}" = pack ] && { pack; exit; }

work=${GPU_WORK:-/tmp/ptq-gpu}
build=$work/build
mkdir -p "$work/log"
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "${GPU_COMMIT:-unknown}")
export PATH=$PATH:/usr/local/cuda/bin PTQ_CACHE=$work/cache
report=$work/report.md
rows=$work/rows.md
failed=0
budget=${GPU_SECONDS:-570} # of all steps together

# step NAME SECONDS COMMAND...: runs it, notes how it went; its output is the log of that name
step() {
    local name=$1 limit=$2 log=$work/log/$1.txt started=$SECONDS status=0 left=$((budget - SECONDS))
    shift 2
    if ((left < 5)); then
        echo "| $name | **not run**: the time was up | |" >>"$rows"
        failed=1
        return 1
    fi
    ((limit > left)) && limit=$left
    timeout --kill-after=5 "$limit" "$root/bench/gpu.sh" inside "$@" >"$log" 2>&1 || status=$?
    local how="passed"
    ((status)) && how="**failed** (exit code $status)" && failed=1
    ((status == 124 || status == 137)) && how="**failed** (out of time after $limit s)"
    echo "| $name | $how | $((SECONDS - started)) s |" >>"$rows"
    echo "gpu.sh: $name: ${how//\*/}, $((SECONDS - started)) s"
    if ((status)); then tail -n 5 "$log"; fi
    return "$status"
}

# Debian's packages beside the system, for who has neither them nor root's wish for them.
unpack_libraries() {
    local sysroot=$work/sysroot lib=$work/sysroot/usr/lib/x86_64-linux-gnu file
    mkdir -p "$sysroot"
    for file in .gpu-debs/*.deb; do dpkg -x "$file" "$sysroot" || return 1; done
    # what the system has and nobody links by name is the system's: its own programs are to run with it
    for file in "$lib"/lib*.so.*; do
        file=${file##*/}
        if [ ! -e "$lib/${file%%.so.*}.so" ] && ldconfig -p | grep -q "^[[:space:]]*$file "; then rm "$lib/$file"; fi
    done
    # what the packages' alternatives would link
    ln -sf openblas-pthread/libopenblas.so "$lib/libopenblas.so"
    ln -sf openblas-pthread/libopenblas.so.0 "$lib/libopenblas.so.0"
    ln -sf openblas-pthread/libblas.so.3 "$lib/libblas.so.3"
    ln -sf openblas-pthread/liblapack.so.3 "$lib/liblapack.so.3"
    ln -sf ../openblas-pthread/pkgconfig/lapack-openblas.pc "$lib/pkgconfig/lapack.pc"
    ln -sf ../openblas-pthread/pkgconfig/blas-openblas.pc "$lib/pkgconfig/blas.pc"
    export PKG_CONFIG_SYSROOT_DIR=$sysroot PKG_CONFIG_PATH=$lib/pkgconfig:$lib/openblas-pthread/pkgconfig:$lib/lapack/pkgconfig
    export LD_LIBRARY_PATH=$lib:$lib/openblas-pthread:$lib/lapack${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PATH=$PATH:$sysroot/usr/bin
    export CPATH=$sysroot/usr/include:$sysroot/usr/include/x86_64-linux-gnu LIBRARY_PATH=$lib
}

find_libraries() {
    pkg-config --exists hdf5-serial openblas lapacke jansson yaml-0.1 libpcre2-8 libutf8proc libcrypto cmocka && return
    if ! compgen -G '.gpu-debs/*.deb' >/dev/null; then
        echo "gpu.sh: libraries are missing and so is .gpu-debs; run bench/gpu.sh pack where there is a network" >&2
        return 1
    fi
    unpack_libraries
    pkg-config --exists --print-errors hdf5-serial openblas lapacke jansson yaml-0.1 libpcre2-8 libutf8proc libcrypto cmocka
}

configure_and_build() {
    cmake -S . -B "$build" -DPTQ_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90 &&
        cmake --build "$build" --parallel 16 --target ptq bench_gpu test_cuda test_cuda_packed test_offload
}

no_device() { # what `eval --device cuda` says where there is none: one sentence, exit code 1
    local status=0
    "$build/ptq" eval "$root/tests/fixtures/models/llama" --text "$root/tests/fixtures/models/text.txt" --window 32 \
        --device cuda --quiet >"$work/no-device" 2>&1 || status=$?
    cat "$work/no-device"
    ((status == 1)) && [ "$(wc -l <"$work/no-device")" -eq 1 ] && grep -q '^ptq: .*device cuda: ' "$work/no-device"
}

sanitize() { # TOOL TEST CASES: on the real device alone, small cases alone where the tool is slow
    PTQ_TEST_DEVICE=real PTQ_TEST_CASES=$3 compute-sanitizer --tool "$1" --error-exitcode 9 "$build/tests/$2"
}

make_model() {
    python3 bench/big_model.py "$work/model" tests/fixtures/models/gpt2/tokenizer.json
}

value() { # KEY FILE
    grep -o "\"$1\": \"\?[^,\"]*" "$2" | head -1 | sed 's/.*: "\?//'
}

# evaluate MODEL WINDOW METHOD PATH DEVICE: its JSON under that name
evaluate() {
    "$build/ptq" eval "$work/model/$1" --text docs/decisions.md --bos none --max-windows 1 --window "$2" --method "$3" \
        --path "$4" --device "$5" --json >"$work/$1-$3-$4-$5.json"
}

# The same cell on both: perplexities within 1e-4 of each other, packed within 1e-3 (FP16 activations there).
compare() { # MODEL WINDOW METHOD PATH BOUND
    evaluate "$1" "$2" "$3" "$4" cpu && evaluate "$1" "$2" "$3" "$4" cuda || return 1
    local here=$work/$1-$3-$4-cpu.json there=$work/$1-$3-$4-cuda.json
    awk -v a="$(value ppl "$here")" -v b="$(value ppl "$there")" -v s="$(value tokens_per_second "$here")" \
        -v t="$(value tokens_per_second "$there")" -v bound="$5" -v name="$1 $3 $4" 'BEGIN {
            d = b / a - 1; if (d < 0) d = -d
            printf "| %s | %.5f | %.5f | %.1e | %.0f | %.0f |\n", name, a, b, d, s, t
            exit !(d <= bound) }' | tee -a "$work/compared.md"
}

checked() { # block by block, from the same x
    PTQ_DEVICE_CHECK=1 evaluate 2b 256 "$1" "$2" cuda
}

write_report() {
    {
        echo "# $device, commit $commit, $(date -u +%Y-%m-%dT%H:%MZ)"
        printf '\nWritten by bench/gpu.sh on that device. %s\n\n' "$verdict"
        "$build/ptq" --version 2>&1 | sed 's/^/    /'
        echo
        printf '| step | result | time |\n| --- | --- | --- |\n'
        cat "$rows"
        if [ -s "$work/compared.md" ]; then
            printf '\n## The same cell on the CPU and on the device\n\nRandom weights in the shape of two blocks of LLaMA-7B, one window of 512.\n\n'
            printf '| cell | ppl, CPU | ppl, device | apart | tokens/s, CPU | tokens/s, device |\n| --- | --- | --- | --- | --- | --- |\n'
            cat "$work/compared.md"
        fi
        if [ -s "$work/log/kernels.txt" ]; then
            printf '\n## Kernels, beside cuBLAS FP16 in the same run\n\n'
            awk -F'\t' 'BEGIN { print "| N | K | tokens | kernel | us | tokens/s | GB/s | TFLOP/s | times cuBLAS FP16 |"
                                print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |" }
                        NF == 8 && !/^#/ { printf "| %s | %s | %s | %s | %s | %.0f | %s | %s | %s |\n", $1, $2, $3, $4, $5,
                                           $3 / $5 * 1e6, $6, $7, $8 }' "$work/log/kernels.txt"
        fi
    } >"$report"
}

if [ "${1:-}" = inside ]; then
    shift
    "$@"
    exit
fi
: >"$rows"
rm -f "$work/compared.md"
find_libraries || { failed=1; echo "| libraries | **failed**: they are missing | |" >>"$rows"; }
device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr ' /' '--')
if step build 240 configure_and_build; then
    if [ -z "$device" ]; then
        step no-device 20 no_device
        failed=1
        echo "| device | **failed**: there is none | |" >>"$rows"
    else
        (make_model >"$work/log/model.txt" 2>&1) &
        model=$!
        step tests-cuda 90 env PTQ_TEST_DEVICE=real "$build/tests/test_cuda"
        step tests-packed 60 env PTQ_TEST_DEVICE=real "$build/tests/test_cuda_packed"
        step tests-passes 60 env PTQ_TEST_DEVICE=real "$build/tests/test_offload"
        step memcheck 60 sanitize memcheck test_cuda 100
        step memcheck-packed 60 sanitize memcheck test_cuda_packed 100
        step racecheck 60 sanitize racecheck test_cuda 3
        step racecheck-packed 60 sanitize racecheck test_cuda_packed 3
        step model 60 tail --pid="$model" -f /dev/null
        step fp16 60 compare 2b 512 fp16 fp32 1e-4
        step rtn 60 compare 2b 512 rtn:w4,g128 fp32 1e-4
        step packed 60 compare 2b 512 rtn:w4,g128 packed 1e-3
        step checked 60 checked fp16 fp32
        step checked-packed 60 checked rtn:w3,g128 packed
        step kernels 120 "$build/bench_gpu"
    fi
fi
verdict="Every step passed."
((failed)) && verdict="**Not every step passed**: see the table."
device=${device:-no-device}
write_report
cat "$rows"
echo "gpu.sh: $verdict"
if [ "$device" != no-device ]; then
    mkdir -p results/gpu && cp "$report" "results/gpu/$device-$commit.md"
fi
if [ -n "${OUT:-}" ]; then
    cp "$report" "$OUT/$device-$commit.md"
    tar -C "$work" -czf "$OUT/logs.tar.gz" log
fi
exit "$failed"
