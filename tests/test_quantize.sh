#!/usr/bin/env bash
# ptq quantize from outside: the folder that comes out, what it quotes, and that there is none where anything went wrong.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache
text=(--text "$models/text.txt" --window 32 --bos none)
quantize=("$ptq" quantize "$models/opt" --method "rtn:w4,g32,sym=1" --threads 1 --quiet)

# ppl_of MODEL: its perplexity on the text, with all digits.
ppl_of() {
    "$ptq" eval "$1" "${text[@]}" --json --quiet | python3 -c 'import json, sys; print(json.load(sys.stdin)["ppl"])'
}

test_usage() {
    expect_exit 2 "$ptq" quantize
    expect_exit 2 "$ptq" quantize "$models/opt" --format awq -o "$scratch/x"
    expect_text 'needs --method' "$scratch/err"
    expect_exit 2 "${quantize[@]}" -o "$scratch/x"
    expect_text 'needs --format, one of fp16 awq gptq gptq_v2 gguf packed' "$scratch/err"
    expect_exit 2 "${quantize[@]}" --format awq
    expect_text 'needs -o DIR' "$scratch/err"
    expect_exit 2 "${quantize[@]}" --format onnx -o "$scratch/x"
    expect_text "format 'onnx' is not known; known: fp16, awq, gptq, gptq_v2, gguf, packed" "$scratch/err"
    expect_exit 2 "$ptq" quantize "$models/opt" --method rtn:w3,g32 --format awq -o "$scratch/x"
    expect_text 'no AWQ container holds 3 bits.*gptq_v2' "$scratch/err"
    expect_exit 2 "$ptq" quantize "$models/opt" --method gptq:w4,g32 --format gptq -o "$scratch/x"
    expect_text 'needs a calibration text' "$scratch/err"
    expect_exit 2 "$ptq" quantize "$models/opt" --method rtn:w4,g32,only=q --format fp16 "${text[@]}" -o "$scratch/x"
    expect_text 'a checkpoint has all its linears quantised' "$scratch/err"
    [ ! -e "$scratch/x" ] || fail "a folder was made"
}

# The card's first number is what anybody measures on the folder.
test_card_quotes_the_files() {
    expect_exit 0 "${quantize[@]}" --format gptq "${text[@]}" -o "$scratch/card"
    expect_text "these files, read back \| $(printf '%.4f' "$(ppl_of "$scratch/card")")" "$scratch/card/README.md"
    expect_text 'method \| .rtn:w4,g32,sym=1. ' "$scratch/card/README.md"
    expect_text "SHA-256 \`$(sha256sum "$scratch/card/model.safetensors" | cut -d' ' -f1)\`" "$scratch/card/README.md"
    expect_text "SHA-256 \`$(sha256sum "$models/opt/model.safetensors" | cut -d' ' -f1)\`" "$scratch/card/README.md"
    expect_text "commit .[0-9a-f]{40}" "$scratch/card/README.md"
    expect_exit 0 "${quantize[@]}" --format gptq -o "$scratch/bare" --calib "$models/calib.txt" --calib-window 32 \
        --calib-windows 4
    expect_text 'calibration \| .*; no code depends on it \|' "$scratch/bare/README.md"
    expect_text 'Not measured' "$scratch/bare/README.md"
    expect_file "$scratch/card/model.safetensors" "$scratch/bare/model.safetensors"
}

# loaded_by FORMAT SPEC [MODEL]: what the card says, where the file is for others.
loaded_by() {
    rm -rf "$scratch/loaded"
    expect_exit 0 "$ptq" quantize "$models/${3:-opt}" --method "$2" --threads 1 --format "$1" -o "$scratch/loaded"
    grep -A2 '^## Loading' "$scratch/loaded/README.md" | tail -n 1
}

# Programs take some group sizes; where none takes this one, the card and a line on stderr say so.
test_loaders() {
    local wide='transformers with optimum and GPTQModel, which takes groups of a row, 16, 32, 64, 128, 256, 512 or 1024, at 4 bits those that divide all inputs'
    local vllm='vLLM, which takes symmetric 4 and 8 bits in groups of a row, 32, 64 or 128 that divide all inputs'
    local three=', for the families llama, mistral, qwen2'
    local lmdeploy="LMDeploy, which takes symmetric 4 bits in groups of 128 that divide all inputs, as gptq without act_order$three"
    [ "$(loaded_by awq rtn:w4,g32)" = "Transformers with GPTQModel; vLLM; not LMDeploy, which takes groups of 128$three." ] ||
        fail "awq: $(cat "$scratch/loaded/README.md")"
    expect_no_text 'loaded by' "$scratch/err"
    [ "$(loaded_by gptq rtn:w8,g-1,sym=1)" = "Transformers with optimum and GPTQModel; vLLM; not $lmdeploy." ] || fail "gptq: a row"
    [ "$(loaded_by gptq_v2 rtn:w4,g32)" = "Transformers with optimum and GPTQModel; not $vllm; not $lmdeploy." ] || fail "gptq_v2"
    expect_no_text 'loaded by' "$scratch/err"
    [ "$(loaded_by gptq rtn:w4,g48,sym=1)" = "No program but ptq; not $wide; not $vllm; not $lmdeploy." ] || fail "gptq: 48"
    expect_text "^note: --format gptq of rtn:w4,g48,sym=1: loaded by no program but ptq; not $wide; not $vllm; not $lmdeploy$" "$scratch/err"
    loaded_by awq rtn:w4,g8 >/dev/null
    expect_text 'note: --format awq of .*: loaded by no program but ptq; not transformers with GPTQModel, which takes' "$scratch/err"
    [ "$(loaded_by awq rtn:w4,g-1 bloom)" = "Transformers with GPTQModel; not vLLM, which takes groups of a row, 32, 64 or 128, for the families llama, mistral, qwen2, opt; not LMDeploy, which takes groups of 128$three." ] ||
        fail "awq of BLOOM: $(cat "$scratch/loaded/README.md")"
    [ "$(loaded_by gptq rtn:w8,g128,sym=1)" = "Transformers with optimum and GPTQModel; not $vllm; not $lmdeploy." ] ||
        fail "a shorter last group: $(cat "$scratch/loaded/README.md")"
    [ "$(loaded_by gptq rtn:w4,g128,sym=1)" = "No program but ptq; not $wide; not $vllm; not $lmdeploy." ] ||
        fail "a shorter last group of 4 bits: $(cat "$scratch/loaded/README.md")"
    loaded_by fp16 rtn:w4,g48 >/dev/null
    expect_no_text 'loaded by' "$scratch/err"
}

# Hugging Face's pages look base_model up: an id of the hub, which a folder of this machine has not.
test_card_names_the_hub() {
    local snapshot=$scratch/hub/models--org--tiny/snapshots/c0ffee
    expect_exit 0 "${quantize[@]}" --format gptq -o "$scratch/local" --quiet
    expect_no_text 'base_model' "$scratch/local/README.md"
    expect_text '^library_name: transformers$' "$scratch/local/README.md"
    mkdir -p "$scratch/hub/models--org--tiny/refs"
    mkdir -p "$(dirname "$snapshot")"
    cp -r "$models/opt" "$snapshot"
    printf c0ffee >"$scratch/hub/models--org--tiny/refs/main"
    HF_HUB_CACHE=$scratch/hub expect_exit 0 "$ptq" quantize org/tiny@main --method rtn:w4,g32,sym=1 --format gptq \
        -o "$scratch/named" --quiet
    expect_text '^base_model: org/tiny$' "$scratch/named/README.md"
    expect_text '^base_model_relation: quantized$' "$scratch/named/README.md"
}

# What is not changed in config.json keeps the digits that somebody wrote.
test_config_keeps_its_digits() {
    cp -r "$models/opt" "$scratch/digits"
    sed -i '0,/{/s//{"layer_norm_eps": 1e-05, "dropout": 0.1, "init_std": 0.006, "third": 0.3333333333333333, "big": 1e+20,/' \
        "$scratch/digits/config.json"
    sed -i -E '2,$s/"(dropout|init_std)": [^,]*,//' "$scratch/digits/config.json"
    expect_exit 0 "$ptq" quantize "$scratch/digits" --method rtn:w4,g32,sym=1 --format gptq -o "$scratch/kept" --quiet
    expect_text '"layer_norm_eps": 1e-05,' "$scratch/kept/config.json"
    expect_text '"dropout": 0\.1,' "$scratch/kept/config.json"
    expect_text '"init_std": 0\.006,' "$scratch/kept/config.json"
    expect_text '"third": 0\.3333333333333333,' "$scratch/kept/config.json"
    expect_text '"big": 1e\+20,' "$scratch/kept/config.json"
}

test_json() {
    expect_exit 0 "${quantize[@]}" --format awq "${text[@]}" -o "$scratch/json" --json
    python3 -c 'import json, sys; cell = json.load(open(sys.argv[1])); assert cell["method"] == "rtn:w4,g32,sym=1"
assert cell["tokens"] > 0 and cell["ppl"] == float(sys.argv[2])' "$scratch/out" "$(ppl_of "$scratch/json")" ||
        fail "the JSON: $(cat "$scratch/out")"
    expect_exit 0 "${quantize[@]}" --format fp16 -o "$scratch/no-text" --json
    python3 -c 'import json, sys; cell = json.load(open(sys.argv[1]))
assert cell["tokens"] == 0 and cell["ppl"] is cell["nll_mean"] is cell["tokens_per_second"] is None' "$scratch/out" ||
        fail "the JSON without a text: $(cat "$scratch/out")"
}

# Tokenizer and generation files to the byte, config.json but for what is said of quantisation.
test_carried_over() {
    cp -r "$models/opt" "$scratch/source"
    printf '{"do_sample": true,\n "top_p":0.9 }' >"$scratch/source/generation_config.json"
    printf '{ "chat_template" : "x" }\n' >"$scratch/source/tokenizer_config.json"
    printf 'not carried' >"$scratch/source/training.log"
    expect_exit 0 "$ptq" quantize "$scratch/source" --method "rtn:w4,g32,sym=1" --format gptq -o "$scratch/carried" --quiet
    for file in tokenizer.json generation_config.json tokenizer_config.json; do
        expect_file "$scratch/source/$file" "$scratch/carried/$file"
    done
    [ ! -e "$scratch/carried/training.log" ] || fail "a file that nobody reads was carried over"
    python3 - "$scratch/source" "$scratch/carried" <<'PY' || fail "config.json"
import json, sys
old, new = (json.load(open(folder + "/config.json")) for folder in sys.argv[1:])
said = new.pop("quantization_config")
assert new == dict(old, torch_dtype="float16"), new
assert said == json.load(open(sys.argv[2] + "/quantize_config.json"))
assert (said["quant_method"], said["bits"], said["group_size"], said["sym"], said["desc_act"]) == ("gptq", 4, 32, True, False)
PY
}

test_shards() {
    expect_exit 0 "${quantize[@]}" --format gptq_v2 -o "$scratch/whole"
    expect_exit 0 env PTQ_SHARD_BYTES=40000 "${quantize[@]}" --format gptq_v2 -o "$scratch/shards"
    [ "$(find "$scratch/shards" -name 'model-0000?-of-0000?.safetensors' | wc -l)" -gt 2 ] || fail "few shards: $(ls "$scratch/shards")"
    [ "$(ppl_of "$scratch/whole")" = "$(ppl_of "$scratch/shards")" ] || fail "shards give another perplexity"
    expect_exit 2 env PTQ_SHARD_BYTES=none "${quantize[@]}" --format gptq_v2 -o "$scratch/none"
    expect_text 'PTQ_SHARD_BYTES' "$scratch/err"
}

# The words of a text are the same through a GGUF's tokenizer and the tokenizer.json that is made of it.
test_tokenizer_from_gguf() {
    expect_exit 0 "$ptq" quantize "$models/llama.gguf" --method fp16 --format fp16 -o "$scratch/hf" --quiet
    "$ptq" tokenize "$models/llama.gguf" "$tree/README.md" >"$scratch/wanted"
    "$ptq" tokenize "$scratch/hf" "$tree/README.md" >"$scratch/found"
    expect_file "$scratch/wanted" "$scratch/found"
    [ "$(ppl_of "$models/llama.gguf")" = "$(ppl_of "$scratch/hf")" ] || fail "another perplexity"
}

# packed FORMAT SPEC: into $scratch/packed.
packed() {
    rm -rf "$scratch/plain" "$scratch/packed"
    expect_exit 0 "$ptq" quantize "$models/opt" --method "$2" --calib "$models/calib.txt" --calib-windows 4 --calib-window 32 \
        --format "$1" -o "$scratch/packed" --quiet
}

# unpacked_the_same MODEL SPEC: $scratch/packed, by an unpacking that shares no line with ptq's, is what MODEL is by SPEC.
unpacked_the_same() {
    expect_exit 0 "$ptq" quantize "$1" --method "$2" --format fp16 -o "$scratch/plain" --quiet
    expect_exit 0 python3 "$tree/tests/compat/unpack.py" "$scratch/packed" "$scratch/plain"
    expect_text '12 linears equal' "$scratch/out"
}

# Where FP16 holds the scales, against what the method made; else against what ptq reads.
test_unpacked_by_others() {
    local row bits order
    for row in awq:rtn:w4,g32 gptq:rtn:w8,g32,sym=1 gptq_v2:rtn:w3,g-1; do
        packed "${row%%:*}" "${row#*:},scale_dtype=fp16"
        unpacked_the_same "$models/opt" "${row#*:},scale_dtype=fp16"
    done
    for bits in 2 3 4 8; do
        packed gptq "gptq:w$bits,g32,sym=1,act_order=1"
        unpacked_the_same "$scratch/packed" fp16
        for order in 0 1; do
            packed gptq_v2 "gptq:w$bits,g48,act_order=$order"
            unpacked_the_same "$scratch/packed" fp16
        done
    done
}

# A group of weights above 0 has a zero of 0, which a first version's container, zeros less one, would wrap around: said with
# the container that holds it, and that one does.
test_zero_that_underflows() {
    local spec=rtn:w4,g32,scale_dtype=fp16
    cp -r "$models/opt" "$scratch/above"
    python3 - "$scratch/above/model.safetensors" <<'PY'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
size, = struct.unpack("<Q", data[:8])
at, _ = json.loads(data[8:8 + size])["model.decoder.layers.1.fc1.weight"]["data_offsets"]
for i in range(5 * 64, 5 * 64 + 32):  # row 5, its first group
    data[8 + size + at + 2 * i + 1] &= 0x7f  # F16's sign
open(sys.argv[1], "wb").write(data)
PY
    expect_exit 1 "$ptq" quantize "$scratch/above" --method $spec --format gptq -o "$scratch/v1" --quiet
    expect_text 'layers\.1\.fc1: output 5, group 0: a zero of 0 has no place here.*stores zeros less one; --format gptq_v2 holds it' \
        "$scratch/err"
    [ ! -e "$scratch/v1" ] || fail "a folder was left"
    expect_exit 0 "$ptq" quantize "$scratch/above" --method $spec --format gptq_v2 -o "$scratch/v2" --quiet
    expect_exit 0 "$ptq" quantize "$scratch/above" --method $spec --format fp16 -o "$scratch/none" --quiet
    expect_exit 0 python3 "$tree/tests/compat/unpack.py" "$scratch/v2" "$scratch/none"
}

# cell FOLDER OPTION...: its perplexity with all digits.
cell() {
    "$ptq" eval "$1" "${text[@]}" "${@:2}" --json --quiet | python3 -c 'import json, sys; print(json.load(sys.stdin)["ppl"])'
}

# ids MODEL OPTION...: what is generated.
ids() {
    "$ptq" generate "$1" --prompt "the old" -n 8 "${@:2}" --json --quiet | python3 -c 'import json, sys; print(json.load(sys.stdin)["ids"])'
}

# The cell's own numbers and words come out of its folder, by every path; test_export_packed has every family and method.
test_packed_folder() {
    local path how=(--method "awq:w4,g32" --calib "$models/calib.txt" --calib-windows 4 --calib-window 32)
    expect_exit 0 "$ptq" quantize "$models/gpt2" "${how[@]}" --format packed "${text[@]}" -o "$scratch/own" --quiet
    for path in fp32 packed packed-int8; do
        [ "$(cell "$models/gpt2" "${how[@]}" --path $path)" = "$(cell "$scratch/own" --path $path)" ] ||
            fail "--path $path gives another perplexity"
        [ "$(ids "$models/gpt2" "${how[@]}" --path $path)" = "$(ids "$scratch/own" --path $path)" ] ||
            fail "--path $path gives other words"
    done
    [ "$(cell "$scratch/own" --path fp32)" != "$(cell "$scratch/own" --path packed)" ] || fail "the paths are one"
    expect_text "these files, read back \| $(printf '%.4f' "$(cell "$scratch/own")")" "$scratch/own/README.md"
    expect_text "the codes as the method made them \| $(printf '%.4f' "$(cell "$scratch/own")")" "$scratch/own/README.md"
    expect_exit 0 "$ptq" generate "$scratch/own" --prompt "the old" -n 2
    expect_text 'ptq 4 bits, g32 packed, [0-9.]+ bits a weight' "$scratch/err"
    expect_exit 0 "$ptq" inspect "$scratch/own"
    expect_text 'mlp.c_proj.packed +U8 ' "$scratch/out"
    expect_text 'mlp.c_proj.activation_scale +F32 ' "$scratch/out"
    expect_exit 1 "$ptq" quantize "$scratch/own" --method rtn:w4,g32 --format packed -o "$scratch/x" --quiet
    expect_text 'is quantised already \(ptq 4 bits, g32\)' "$scratch/err"
}

# Two folders are compared image by image.
test_packed_diff() {
    local name
    expect_exit 0 "${quantize[@]}" --format packed -o "$scratch/one"
    cp -r "$scratch/one" "$scratch/two"
    expect_exit 0 "$ptq" diff "$scratch/one" "$scratch/two"
    expect_text ' 0 that differ; 0 in one only' "$scratch/out"
    name=$(basename "$(ls "$scratch"/two/model-00002-of-*.safetensors)")
    python3 - "$scratch/two/$name" <<'PY'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
size, = struct.unpack("<Q", data[:8])
at, _ = json.loads(data[8:8 + size])["model.decoder.layers.0.fc1.packed"]["data_offsets"]
data[8 + size + at + 128] ^= 1  # a code
open(sys.argv[1], "wb").write(data)
PY
    expect_exit 0 "$ptq" diff "$scratch/one" "$scratch/two"
    expect_text 'layers.0.fc1.packed +1 of [0-9]+ bytes differ \(U8\)' "$scratch/out"
}

# An export's cell is another one than that of the method, however near: what rounding its scales costs is said, and of packed,
# which rounds nothing, that it costs nothing.
test_results_of_an_export() {
    local format cell=(--text "$models/text.txt" --window 32 --threads 1 --quiet)
    expect_exit 0 "$ptq" eval "$models/opt" "${cell[@]}" --method rtn:w4,g32 -o "$scratch/method.h5"
    expect_exit 0 "$ptq" eval "$models/opt" "${cell[@]}" -o "$scratch/method.h5"
    for format in gptq_v2 packed; do
        expect_exit 0 "$ptq" quantize "$models/opt" --method rtn:w4,g32 --format $format -o "$scratch/of-$format" --quiet
        expect_exit 0 "$ptq" eval "$scratch/of-$format" "${cell[@]}" -o "$scratch/$format.h5"
        expect_exit 0 "$ptq" diff "$scratch/method.h5" "$scratch/$format.h5"
        expect_text "^A .*/opt  rtn:w4,g32 \(F[0-9]+\) and B .*/of-$format  fp16 \(a checkpoint of codes, .* 4 bits, g32\):$" "$scratch/out"
        if [ $format = packed ]; then
            expect_text ' different cells, ppl ([0-9.]+) and \1, the same in every token$' "$scratch/out"
        else
            expect_text ' different cells, ppl [0-9.]+ and [0-9.]+, largest nll apart by [0-9.e-]+$' "$scratch/out"
        fi
        expect_text '^different$' "$scratch/out"
    done
}

test_folder_exists() {
    mkdir "$scratch/there"
    echo mine >"$scratch/there/file"
    expect_exit 2 "${quantize[@]}" --format awq -o "$scratch/there"
    expect_text 'there: is there already; take another name' "$scratch/err"
    [ "$(ls -A "$scratch/there")" = file ] || fail "the folder was touched"
    expect_exit 1 "${quantize[@]}" --format awq -o "$scratch/no/such/folder"
    expect_text 'cannot be made' "$scratch/err"
}

# nothing_left WHAT: neither the folder nor a temporary one.
nothing_left() {
    [ -z "$(ls -A "$scratch/d")" ] || fail "$1: left $(ls -A "$scratch/d")"
    rm -rf "$scratch/d"
}

# fault CODE SYSCALL EFFECT K...: at the K-th call the run ends with CODE, a sentence, and nothing left.
fault() {
    local code=$1 call=$2 effect=$3 k got
    shift 3
    for k in "$@"; do
        mkdir -p "$scratch/d"
        got=0
        strace -f -o "$scratch/trace" -e "trace=$call" -e "inject=$call:$effect:when=$k" \
            "${quantize[@]}" --format gptq "${text[@]}" -o "$scratch/d/out" >"$scratch/out" 2>"$scratch/err" || got=$?
        grep -qE 'INJECTED|SIGINT' "$scratch/trace" || fail "$call has no call $k"
        [ $got = "$code" ] || fail "$call $effect at $k: exit $got, not $code: $(cat "$scratch/err")"
        [ "$(grep -c '^ptq: ' "$scratch/err")" = 1 ] || fail "$call $effect at $k: $(cat "$scratch/err")"
        nothing_left "$call $effect at $k"
    done
}

test_faults_leave_nothing() {
    if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
        echo "  skipped: there is no strace that works here"
        return
    fi
    # LeakSanitizer cannot look under strace, which is itself a tracer.
    export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
    fault 1 pwrite64 error=ENOSPC 1 2 9 40
    fault 1 fallocate error=ENOSPC 1
    fault 1 fsync error=EIO 1 3
    fault 1 renameat2 error=EROFS 1
    fault 1 mkdir error=EROFS 1
    fault 130 pwrite64 signal=SIGINT 1 9 40
    expect_text '^ptq: stopped by a signal; nothing is left of .*/d/out, so run the command again$' "$scratch/err"
}

# What a killed run left goes away with the next one.
test_swept() {
    local dead prefix
    sh -c 'exit 0' &
    dead=$!
    wait "$dead"
    prefix=.tmp.out.$(printf '%s %s' "$(uname -n)" "$(readlink /proc/self/ns/pid)" | sha256sum | head -c 8)
    mkdir -p "$scratch/s"/{"$prefix.$dead","$prefix.$$",".tmp.out.0123abcd.$dead"}
    touch "$scratch/s/$prefix.$dead/model.safetensors"
    expect_exit 0 "${quantize[@]}" --format awq -o "$scratch/s/out"
    [ ! -e "$scratch/s/$prefix.$dead" ] || fail "what a dead process left is still there"
    [ -e "$scratch/s/$prefix.$$" ] || fail "what belongs to a living process is gone"
    [ -e "$scratch/s/.tmp.out.0123abcd.$dead" ] || fail "what belongs to another machine is gone"
}

# What is held against other programs is all of one build.
test_compat_takes_one_build() {
    local compat=("$tree/tests/compat/run.sh" awq) other=$scratch/other
    mkdir "$other" && ln -s "$ptq" "$other/ptq"
    PTQ=$other/ptq expect_exit 2 "${compat[@]}"
    expect_text "^tests/compat: $other/compat_logits is not there; cmake --build $other " "$scratch/err"
    printf '#!/bin/sh\necho "ptq 0.1.0 (another)"\n' >"$other/compat_logits"
    chmod +x "$other/compat_logits"
    PTQ=$other/ptq expect_exit 2 "${compat[@]}"
    expect_text "^$other/ptq: ptq [0-9.]+ \([0-9a-f]{40}\+?\)$" "$scratch/out"
    expect_text "$other/compat_logits is of another commit than $other/ptq; cmake --build $other " "$scratch/err"
}

run_tests
