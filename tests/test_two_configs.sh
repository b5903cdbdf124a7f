#!/usr/bin/env bash
# Two models of the same weights that differ in config.json, and a third that is a copy, from outside.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache

for s in s1 s2 s7 edited; do
    mkdir "$scratch/$s"
    cp -r "$models/llama" "$scratch/$s/model"
done
sed -i 's/"rope_theta": 10000.0/"rope_theta": 100.0/' "$scratch/s2/model/config.json"

# experiment MODEL...: $scratch/x.yaml
experiment() {
    cat >"$scratch/x.yaml" <<YAML
title: "two configs"
models: [$(printf '"%s", ' "$@")]
w_bit: 4
group_size: 32
methods: [fp16, rtn, gptq]
calib: {text: "$models/calib.txt", windows: 4, window: 32, sample: random}
eval: {text: "$models/text.txt", windows: 8, window: 32}
YAML
}

# config_of FOLDER: the first digits of the hash of its config.json, as it is now.
config_of() { sha256sum "$scratch/$1/model/config.json" | cut -c1-8; }

test_two_models() {
    experiment "$scratch/s1/model" "$scratch/s2/model" "$scratch/s7/model"
    expect_exit 0 "$ptq" run "$scratch/x.yaml" -o "$scratch/x.h5"
    expect_text "note: $scratch/s7/model is $scratch/s1/model again, the same files: its cells are counted once" "$scratch/err"
    expect_text 'holds 6 of 6' "$scratch/err"
    expect_exit 0 "$ptq" table "$scratch/x.h5"
    expect_text "model \(config $(config_of s1)\)" "$scratch/out"
    expect_text "model \(config $(config_of s2)\)" "$scratch/out"
    expect_text 'have the same weights and differ in config.json' "$scratch/out"
    expect_no_text '\(2\)' "$scratch/out" # two seeds
}

one_file_each() {
    local s
    for s in s1 s2; do
        experiment "$scratch/$s/model"
        expect_exit 0 "$ptq" run "$scratch/x.yaml" -o "$scratch/$s/x.h5"
    done
}

# One a file, put beside each other by who reads them.
test_two_files() {
    one_file_each
    expect_exit 0 "$ptq" table "$scratch/s1/x.h5" "$scratch/s2/x.h5"
    expect_text "model \(config $(config_of s1)\)" "$scratch/out"
    expect_text "model \(config $(config_of s2)\)" "$scratch/out"
}

# A GGUF carries its own: another value, another key, other items of an array.
test_diff_of_metadata() {
    local a=$models/llama.gguf b=$scratch/edited.gguf
    python3 - "$a" "$b" <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
key = b"llama.rope.freq_base"
at = data.index(key) + len(key) + 4
data = data[:at] + struct.pack("<f", 100.0) + data[at + 4:]
data = data.replace(b"llama.block_count", b"llama.block_kount").replace(b"<unk>", b"<unq>", 1)
open(sys.argv[2], "wb").write(data)
PY
    expect_exit 0 "$ptq" diff "$a" "$a"
    expect_text '^equal$' "$scratch/out"
    expect_exit 0 "$ptq" diff "$a" "$b"
    expect_text '^llama.rope.freq_base +10000 and 100$' "$scratch/out"
    expect_text '^llama.block_count +only in A: [0-9]+$' "$scratch/out"
    expect_text '^llama.block_kount +only in B: [0-9]+$' "$scratch/out"
    expect_text '^tokenizer.ggml.tokens +two values of \[[0-9]+ strings\]$' "$scratch/out"
    expect_text ' 0 that differ; 0 in one only; other metadata, which makes them two models$' "$scratch/out"
    expect_text '^different$' "$scratch/out"
}

# What a model was before it was edited is no seed of what it is.
test_edited_in_place() {
    local before
    experiment "$scratch/edited/model"
    expect_exit 0 "$ptq" run "$scratch/x.yaml" -o "$scratch/y.h5"
    before=$(config_of edited)
    sed -i 's/"rms_norm_eps": 1e-05/"rms_norm_eps": 1e-02/' "$scratch/edited/model/config.json"
    expect_exit 0 "$ptq" run "$scratch/x.yaml" -o "$scratch/y.h5" --set seed=1
    expect_exit 0 "$ptq" table "$scratch/y.h5"
    expect_text "model \(config $before\)" "$scratch/out"
    expect_text "model \(config $(config_of edited)\)" "$scratch/out"
    expect_no_text '\(2\)' "$scratch/out"
}

# What no tensor holds. The results of two models are not equal either, though two rows of theirs are side by side.
test_diff() {
    expect_exit 0 "$ptq" diff "$scratch/s1/model" "$scratch/s7/model"
    expect_text '^equal$' "$scratch/out"
    expect_exit 0 "$ptq" diff "$scratch/s1/model" "$scratch/s2/model"
    expect_text '^config.json: rope_theta +10000.0 and 100.0$' "$scratch/out"
    expect_text ' 0 that differ; 0 in one only; another config.json, which makes them two models$' "$scratch/out"
    expect_text '^different$' "$scratch/out"
    expect_exit 0 "$ptq" diff "$scratch/s1/model/model.safetensors" "$scratch/s2/model"
    expect_text '^equal$' "$scratch/out" # a file has none to compare
    one_file_each
    expect_exit 0 "$ptq" diff "$scratch/s1/x.h5" "$scratch/s2/x.h5"
    expect_text "/s1/model and .*/s2/model  fp16  \(other config.json\)$" "$scratch/out"
    expect_text '^3 cells in both, 0 of them the same in every token, 3 of two models; 0 only in A' "$scratch/out"
    expect_text '^different$' "$scratch/out"
}

# Keys that one has alone, another way to write the same, and the files of other programs.
test_diff_of_configs() {
    local a=$scratch/left b=$scratch/right
    cp -r "$models/llama" "$a"
    cp -r "$models/llama" "$b"
    sed -i 's/"rope_theta": 10000.0/"sliding_window": "\\u001b[1m"/' "$b/config.json"
    expect_exit 0 "$ptq" diff "$a" "$b"
    expect_text '^config.json: rope_theta +only in A: 10000.0$' "$scratch/out"
    expect_text '^config.json: sliding_window +only in B: "[^ ]*1m"$' "$scratch/out"
    python3 -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))))' "$a/config.json" >"$b/config.json"
    expect_exit 0 "$ptq" diff "$a" "$b"
    expect_text '^config.json +differs in how it is written, and in no value$' "$scratch/out"
    expect_text '^different$' "$scratch/out"
    cp "$a/config.json" "$b/config.json"
    echo '{"bits": 4}' >"$a/quantize_config.json"
    expect_exit 0 "$ptq" diff "$a" "$b"
    expect_text '^quantize_config.json +only in A$' "$scratch/out"
    echo 'no JSON' >"$b/quantize_config.json"
    expect_exit 1 "$ptq" diff "$a" "$b"
    expect_text '^ptq: .*right/quantize_config.json' "$scratch/err"
}

run_tests
