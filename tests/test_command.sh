#!/usr/bin/env bash
# The command from outside, on the tiny checkpoints: names, flags, JSON keys, exit codes, one sentence an error.
set -euo pipefail
ptq=$1
root=$(cd "$(dirname "$0")/.." && pwd)
models=$root/tests/fixtures/models
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PTQ_CACHE=$work/cache
passed=0

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect CODE WORDS COMMAND...: the exit code, and words that standard error (one line) or output must hold.
expect() {
    local code=$1 words=$2 got=0
    shift 2
    "$@" >"$work/out" 2>"$work/err" || got=$?
    [ "$got" -eq "$code" ] || fail "exit $got, not $code: $* ($(cat "$work/err"))"
    grep -qF -- "$words" "$work/out" "$work/err" || fail "'$words' is not said by: $* ($(cat "$work/err"))"
    if [ "$code" -ne 0 ] && [ "$(grep -c '' "$work/err")" -ne 1 ]; then fail "not one sentence: $* ($(cat "$work/err"))"; fi
    passed=$((passed + 1))
}

eval_llama=("$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --quiet)

expect 0 'ptq eval' "$ptq" --help
expect 0 '--max-windows' "$ptq" eval --help
# an option's help has the values that this command takes, and no other's
for command in table claims report quantize; do
    expect 0 '--format NAME' "$ptq" $command --help
    grep -e '--format' "$work/out"
done >"$work/formats"
! grep -qE 'table:|report:|quantize:' "$work/formats" || fail 'a help text that lists other commands'
[ "$(sort -u "$work/formats" | wc -l)" = 4 ] || fail 'formats that are the same for all commands'
expect 0 '[packed]' "$ptq" generate --help
expect 0 '[fp32]' "$ptq" eval --help
# one is not several
expect 0 '(31 tokens in 1 window of 32)' "${eval_llama[@]}" --max-windows 1 --threads 1
grep -q ' 1 thread)' "$work/out" || fail 'one thread is several'
grep -q 'window 32, first 1 window, bos' "$work/out" || fail 'one window is several'
# a method's own width and group, and an experiment's: the help says both, and so it is
expect 0 'mostly g128, while experiments have w3,g64' "$ptq" eval --help
expect 0 'rtn:w3,g128 ' "${eval_llama[@]}" --method rtn
printf 'models: [%s]\nmethods: [rtn]\ncalib: {text: none}\neval: {text: %s, window: 32, windows: 1}\n' "$models/llama" \
    "$models/text.txt" >"$work/default.yaml"
expect 0 'rtn:w3,g64' "$ptq" run "$work/default.yaml" --dry-run
expect 1 'there is no such results file' "$ptq" inspect "$work/nosuch.h5"
expect 1 'there is no such results file' "$ptq" diff "$work/nosuch.h5" "$models/llama"
expect 0 'ptq 0.' "$ptq" --version
expect 0 'salient' "$ptq" methods
expect 0 'opt' "$ptq" models
expect 0 'table1' "$ptq" experiments
expect 1 "tablex: cannot be opened" "$ptq" run tablex --dry-run
expect 2 "did you mean 'eval'" "$ptq" evil
expect 2 "did you mean '--window'" "${eval_llama[@]}" --windw 3
expect 2 '--window needs a value' "$ptq" eval x --window
expect 2 'must be an integer' "${eval_llama[@]}" --max-windows 0
expect 2 'eval needs --text' "$ptq" eval "$models/llama"
expect 2 'g is 0' "${eval_llama[@]}" --method rtn:w3,g0
expect 2 "did you mean 'rtn'" "${eval_llama[@]}" --method rtm
expect 2 'needs a calibration text' "${eval_llama[@]}" --method salient:w3,g32
# a calibration text that is named is there, also where the method does not read it; one that is read for output errors
# alone is called so
expect 1 'nosuch: no such text' "${eval_llama[@]}" --method fp16 --calib nosuch
expect 0 'for output errors alone' "${eval_llama[@]}" --method rtn:w3,g32 --calib "$models/calib.txt" --calib-window 32 \
    --calib-windows 4
expect 0 'calibration: ' "${eval_llama[@]}" --method salient:w3,g32 --calib "$models/calib.txt" --calib-window 32 \
    --calib-windows 4
! grep -q 'alone' "$work/out" || fail 'salient channels come from the calibration'
expect 0 'act_order' "$ptq" methods gptq
grep -q 'preset=gptq-llama' "$work/out" || fail 'a method without its presets'
! grep -q '^awq ' "$work/out" || fail 'another method beside the one that was asked for'
expect 2 "method 'gtpq' is not known, did you mean 'gptq'" "$ptq" methods gtpq
expect 2 'takes one METHOD' "$ptq" methods gptq awq
expect 2 "takes no 'llama'" "$ptq" models llama
expect 1 'no-such-folder: there is no such folder' "$ptq" claims "$root/experiments/claims/awq-gptq.yaml" no-such-folder
expect 1 'the claims need NAME.h5 there by ptq run NAME.yaml -o no-such-folder/NAME.h5, NAME being awq-table4, ' \
    "$ptq" claims "$root/experiments/claims/awq-gptq.yaml" no-such-folder
expect 1 'no-such-model' "$ptq" eval no-such-model --text "$models/text.txt"
expect 1 'no-such-text' "$ptq" eval "$models/llama" --text no-such-text
expect 1 'is a folder' "$ptq" eval "$models/llama" --text "$models"
expect 0 ', all windows,' "${eval_llama[@]}" --max-windows 100000 # at most: a shorter text is taken whole
expect 1 'give 0 windows of 5000, but 1 are asked for' "$ptq" eval "$models/llama" --text "$models/text.txt" --window 5000 --max-windows 9 --quiet
expect 1 'give 0 windows' "$ptq" eval "$models/llama" --text "$models/text.txt" --window 5000 --quiet
expect 2 "window is 5000, but $models/opt has only 64 positions" "$ptq" eval "$models/opt" --text "$models/text.txt" --window 5000 --quiet
# rotary positions go on beyond what the model was made for, which is said, with both numbers; ALiBi's have no end
noted() {
    local times
    times=$(grep -c "^$2 is $3, but .*llama was made for 64 positions; " "$work/err") || true
    [ "$times" -eq "$1" ] || fail "said $times times, not $1: $2 is $3 ($(cat "$work/err"))"
}
to_96=(--text "$models/text.txt" --max-windows 2 --window 96)
expect 0 'ppl' "$ptq" eval "$models/llama" "${to_96[@]}"
noted 1 window 96
expect 0 'ppl' "$ptq" eval "$models/llama" "${to_96[@]}" --window 64 --method gptq:w4,g32 --calib "$models/calib.txt" \
    --calib-windows 2 --calib-window 80
noted 1 calib_window 80
! grep -q '^window is' "$work/err" || fail 'a window that the positions reach is noted'
expect 0 'ppl' "$ptq" eval "$models/bloom" "${to_96[@]}"
! grep -q 'positions' "$work/err" || fail 'ALiBi ends nowhere'

# --json: one object with the fixed keys, and nothing else on stdout
expect 0 '"ppl"' "${eval_llama[@]}" --method rtn:w3,g32 --json
python3 - "$work/out" <<'PY'
import json, math, sys
cell = json.load(open(sys.argv[1]))
for key in ("ppl nll_mean tokens windows window protocol method model model_sha256 tokens_sha256 calib_sha256 seconds "
            "tokens_per_second peak_rss_bytes device threads seed version").split():
    assert key in cell, key
stages = cell["peak_rss_by_stage"]
assert set(cell["seconds"]) == set(stages) == {"load", "calibrate", "quantize", "eval"}
assert stages["calibrate"] is None and max(peak or 0 for peak in stages.values()) <= cell["peak_rss_bytes"]
assert cell["method"] == "rtn:w3,g32" and abs(cell["ppl"] - math.exp(cell["nll_mean"])) < 1e-9 * cell["ppl"]
PY

# a device that is not there is one sentence, from each command that takes one; nothing is left behind
if ! "$ptq" --version | grep -q 'device 0'; then
    asked=("$models/llama" --text "$models/text.txt" --window 32 --device cuda --quiet)
    expect 1 'device cuda: ' "$ptq" eval "${asked[@]}"
    expect 1 'device cuda: ' "$ptq" eval "${asked[@]}" -o "$work/cuda.h5"
    expect 1 'device cuda: ' "$ptq" quantize "${asked[@]}" --method rtn:w4,g32 --format fp16 -o "$work/cuda"
    [ -z "$(find "$work" -name 'cuda*' ! -name '*.lock')" ] || fail 'a device that is not there left something'
fi
expect 2 "device 'tpu' is not known" "$ptq" eval "$models/llama" --text "$models/text.txt" --window 32 --device tpu

# tokenize: from the folder and from tokenizer.json alike, from a pipe, with the template
expect 0 '' "$ptq" tokenize "$models/llama3" "$models/text.txt"
cp "$work/out" "$work/ids"
expect 0 '' bash -c "'$ptq' tokenize '$models/llama3/tokenizer.json' - <'$models/text.txt'"
cmp "$work/ids" "$work/out"
expect 0 '' "$ptq" tokenize "$models/llama3" "$models/text.txt" --special
[ "$(wc -w <"$work/out")" -eq $(($(wc -w <"$work/ids") + 1)) ] || fail 'the template puts one id in front'

# inspect and diff of models
expect 0 'model.layers.0.self_attn.q_proj.weight' "$ptq" inspect "$models/llama"
expect 0 '"tensors"' "$ptq" inspect "$models/llama.gguf" --json
python3 -m json.tool "$work/out" >/dev/null
expect 0 'equal' "$ptq" diff "$models/llama" "$models/llama"
expect 0 'different' "$ptq" diff "$models/llama.gguf" "$models/llama-gqa/model.gguf"
expect 0 'shapes differ' "$ptq" diff "$models/llama" "$models/llama3"

# an experiment: run, run again (nothing to do), table, plot, inspect, diff
sets=(--set "models=$models/llama" --set "text=$models/text.txt" --set "calib=$models/calib.txt" --set window=32
    --set windows=8 --set calib_window=32 --set calib_windows=4 --set group_size=32)
expect 0 '11 of 11' "$ptq" run "$root/experiments/table1.yaml" -o "$work/t.h5" "${sets[@]}"
expect 0 "11 done" "$ptq" run table1 --dry-run -o "$work/t.h5" "${sets[@]}" # a name of the list
before=$(sha256sum <"$work/t.h5")
expect 0 '' "$ptq" run "$root/experiments/table1.yaml" -o "$work/t.h5" "${sets[@]}"
[ "$before" = "$(sha256sum <"$work/t.h5")" ] || fail 'a run with nothing to do changed the file'
[ ! -e "$work/t.h5.cells" ] || fail 'cells were left behind'
for format in text md csv tex json; do
    expect 0 '' "$ptq" table "$work/t.h5" --format $format
    [ -s "$work/out" ] || fail "no $format"
done
if command -v gnuplot >/dev/null; then
    expect 0 '8 figures' "$ptq" plot "$work/t.h5" -o "$work/figures" # rows, kept, bits, shift, error, channels, depth, cost
    [ "$(find "$work/figures" -name '*.svg' -o -name '*.png' -o -name '*.csv' | wc -l)" -eq 24 ] || fail 'not three files each'
else
    echo "skipped: plot, because gnuplot is not installed"
fi
expect 0 'salient:w3,g32,select=random,fraction=0.03' "$ptq" inspect "$work/t.h5"
expect 0 'equal' "$ptq" diff "$work/t.h5" "$work/t.h5"
expect 2 'unknown key' "$ptq" run "$root/experiments/table1.yaml" -o "$work/t.h5" --set wibble=3

# an experiment that asks for what is not there, or for two protocols in one table: one sentence, and no file
cat >"$work/bad.yaml" <<YAML
methods: [fp16, rtn]
models: ["$models/llama"]
calib: {text: "$models/calib.txt", windows: 4, window: 32}
eval: {text: "$models/text.txt", windows: 2, window: 32}
group_size: 32
YAML
{ cat "$work/bad.yaml"; echo 'exclude: {w_bit: 4}'; } >"$work/worse.yaml"
bad=("$ptq" run "$work/bad.yaml" -o "$work/bad.h5")
expect 1 'no-such-model: no such file or folder' "${bad[@]}" --set models=no-such-model
expect 1 'is a folder, and a text is one file' "${bad[@]}" --set "text=$models"
expect 1 'is a folder' "${bad[@]}" --set "methods=rtn" --set "calib=$models"
expect 1 'no-such-text: no such text' "${bad[@]}" --set methods=fp16 --set calib=no-such-text
expect 1 'gptq:w3,g32,act_order=0 needs a calibration text' "${bad[@]}" --set methods=gptq --set calib=none
expect 1 'windows of 32, but 100000 are asked for; take a longer text, or fewer or shorter windows' \
    "${bad[@]}" --set windows=100000
expect 2 'a table never mixes protocols' "${bad[@]}" --set "window=[32, 64]"
expect 2 'a table never mixes protocols' "${bad[@]}" --set "window=32,64"
expect 2 'rising whole numbers from 0 to 1048576' "${bad[@]}" --set 'methods=[rtn: {only: ["{0..999999999}.q"]}]'
expect 2 'w_bit is an empty list' "${bad[@]}" --set "w_bit=[]"
expect 2 "w_bit is '17'" "${bad[@]}" --set w_bit=17
expect 1 'drops no cell' "$ptq" run "$work/worse.yaml" -o "$work/bad.h5"
[ -z "$(find "$work" -name 'bad.h5*')" ] || fail 'a refused experiment left something'

# beyond the positions: once a model, not once a cell
expect 0 '2 of 2' "$ptq" run "$work/bad.yaml" -o "$work/beyond.h5" --set window=96
noted 1 window 96

# what it will cost is said although nothing was measured yet; a budget changes no bit, and is refused where it is too small
expect 0 ', about ' "${bad[@]}" --dry-run
grep -qE ', about [1-9] s$' "$work/out" || fail "no seconds in $(cat "$work/out")"
grep -qE '^memory: about [0-9]+ MiB at most$' "$work/out" || fail "no memory in $(cat "$work/out")"
expect 0 'which is more than --memory allows' "${bad[@]}" --dry-run --memory 2M
expect 0 'in each of 2 tasks at once, which is more' "${bad[@]}" --dry-run --memory 4M --jobs 2
expect 1 'and --memory allows 2 MiB' "${bad[@]}" --quiet --memory 2M
expect 2 'must be a size' "${bad[@]}" --memory 8Q
expect 0 '2 of 2' "${bad[@]}"
cp "$work/bad.h5" "$work/usual.h5"
expect 0 '2 of 2' "${bad[@]}" --fresh --memory 1G
expect 0 'equal' "$ptq" diff "$work/bad.h5" "$work/usual.h5"
# two cells at a time, each a process: the same cells
expect 0 '2 of 2' "${bad[@]}" --fresh --jobs 2
grep -qE '^\[1/2\] fp16  ppl [0-9]+\.[0-9]{2}  [0-9.]+ s(, about [0-9]+ s left)?$' "$work/err" || fail "no perplexity: $(cat "$work/err")"
expect 0 'equal' "$ptq" diff "$work/bad.h5" "$work/usual.h5"
[ ! -e "$work/bad.h5.tasks" ] || fail 'tasks were left behind'

# RTN's errors are measured on a calibration that its codes do not depend on, or on none
expect 0 '1 of 1' "$ptq" run "$work/bad.yaml" -o "$work/rtn.h5" --set methods=rtn
expect 0 "Output errors alone were measured on $models/calib.txt" "$ptq" table "$work/rtn.h5" --format md
expect 0 'output errors measured on' "$ptq" inspect "$work/rtn.h5"
expect 0 '1 of 1' "$ptq" run "$work/bad.yaml" -o "$work/none.h5" --set methods=rtn --set calib=none
expect 0 'RTN' "$ptq" table "$work/none.h5" --format md
! grep -qi 'calib\|output errors' "$work/out" || fail "a calibration of none: $(cat "$work/out")"
expect 0 "$models/calib.txt" "$ptq" experiments "$work/bad.yaml"
expect 0 "$models/text.txt" "$ptq" experiments "$work/bad.yaml" --set calib=none
! grep -qx none "$work/out" || fail 'no calibration is to be fetched'

# what was typed is named, and a table is written by the shell
for typed in '-o x.md' --out=x.md; do
    # shellcheck disable=SC2086 # words
    expect 2 "option '${typed%[= ]*}' is not known here: what this command prints goes into a file by > FILE; --help" "$ptq" table "$work/t.h5" $typed
done
expect 2 "option '-n' is not known here; --help" "$ptq" table "$work/t.h5" -n 3

# an unset variable in quotes: no name begins the sentence that would ask for one
expect 2 'ptq: argument 1 is empty; it must be a name' "$ptq" eval '' --text "$models/text.txt"
expect 2 'ptq: argument 2 is empty; it must be a name' "$ptq" diff "$models/llama" ''
expect 2 'ptq: --text is empty; it must be a name' "$ptq" eval "$models/llama" --text ''
expect 2 'ptq: --calib is empty; it must be a name' "${eval_llama[@]}" --method gptq:w4,g32 --calib=
expect 2 'ptq: --reuse is empty; it must be a name' "$ptq" run "$work/e.yaml" --reuse ''

# eval -o adds its cell to what the file holds
expect 0 'ppl' "${eval_llama[@]}" -o "$work/t.h5" --method rtn:w4,g32
expect 0 'rtn:w4,g32' "$ptq" inspect "$work/t.h5"
expect 0 'rtn:w3,g32' "$ptq" inspect "$work/t.h5"
expect 0 'experiment table1' "$ptq" inspect "$work/t.h5" # the experiment's name stays
# what is no results file is refused before the work, and stays; nothing is left beside it
echo mine >"$work/notes.md"
expect 1 'is no HDF5 file' "${eval_llama[@]}" -o "$work/notes.md"
expect 1 'is not removed' "$ptq" run "$root/experiments/table1.yaml" -o "$work/notes.md" --fresh "${sets[@]}"
[ "$(cat "$work/notes.md")" = mine ] || fail 'a text was overwritten'
[ ! -e "$work/notes.md.cells" ] || fail 'a folder was left behind'
expect 2 'is a folder' "${eval_llama[@]}" -o "$work"
# a FIFO, which whoever opens waits for, is no file and stays one
mkfifo "$work/fifo"
for fresh in '' --fresh; do
    expect 2 'fifo: is no regular file' timeout 20 "$ptq" run "$root/experiments/table1.yaml" -o "$work/fifo" ${fresh:+"$fresh"} "${sets[@]}"
done
expect 2 'fifo: is no regular file' timeout 20 "${eval_llama[@]}" -o "$work/fifo"
for command in table inspect; do expect 1 'fifo: is no regular file' timeout 20 "$ptq" $command "$work/fifo"; done
[ -p "$work/fifo" ] || fail 'a FIFO was replaced'
# another config.json is another model: its cells are not taken for those that are there
cp -r "$models/llama" "$work/other"
for theta in 10000.0 17.0; do
    sed -i "s/\"rope_theta\": [0-9.]*/\"rope_theta\": $theta/" "$work/other/config.json"
    expect 0 '1 of' "$ptq" run "$root/experiments/table1.yaml" -o "$work/c.h5" "${sets[@]}" --set "models=$work/other" --set methods=fp16
done
expect 0 '2 cells' "$ptq" inspect "$work/c.h5"

# a results file that is cut in half, and one that is no results file
head -c $(($(stat -c %s "$work/t.h5") / 2)) "$work/t.h5" >"$work/half.h5"
expect 1 'half.h5' "$ptq" table "$work/half.h5"
expect 1 'text.txt' "$ptq" table "$models/text.txt"
# a stream that the caller closed: a file that takes its number is not written into, and a lost result is an error
plain=("$ptq" quantize "$models/llama" --method 'rtn:w4,g32' --format fp16)
expect 0 '4.' "${plain[@]}" -o "$work/open"
# shellcheck disable=SC2016 # for the inner shell
expect 0 '4.' bash -c '"$@" 2>&-' closed "${plain[@]}" -o "$work/closed"
sed -i -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z/WHEN/' "$work/open/README.md" "$work/closed/README.md"
diff -r "$work/open" "$work/closed" >"$work/out" || fail "a closed stderr changed $(cat "$work/out")"
for words in --version --help models; do
    # shellcheck disable=SC2016
    expect 1 'standard output cannot be written' bash -c '"$@" >/dev/full' full "$ptq" $words
    # shellcheck disable=SC2016
    expect 1 'standard output cannot be written' bash -c '"$@" >&-' closed "$ptq" $words
done
# a reader that goes away is no error to talk about
{ "$ptq" inspect "$models/llama" || true; } 2>"$work/err" | head -n 1 >/dev/null
[ ! -s "$work/err" ] || fail "a closed pipe: $(cat "$work/err")"

# a reader gives no advice to a writer, and a writer none that would cost somebody's text
for file in half.h5 notes.md; do
    expect 1 "$file" "$ptq" table "$work/$file"
    grep -qE -- '--fresh|-o' "$work/err" && fail "advice for a writer: $(cat "$work/err")"
done
expect 1 'start over with --fresh' "$ptq" run "$work/bad.yaml" -o "$work/half.h5"
expect 1 'give another name behind -o' "$ptq" run "$work/bad.yaml" -o "$work/notes.md"

# a folder that holds models, or files of them, but is none itself: the message has the path to give
mkdir -p "$work/hub/models--a--b/snapshots"
cp -r "$models/llama" "$work/hub/models--a--b/snapshots/abc"
expect 1 "$work/hub/models--a--b/snapshots/abc" "$ptq" eval "$work/hub/models--a--b" --text "$models/text.txt"
expect 1 "$models/llama-gqa/model.gguf" "$ptq" eval "$models/llama-gqa" --text "$models/text.txt"
expect 1 "give the model's, such as $work/hub/models--a--b/snapshots/abc" "$ptq" inspect "$work/hub/models--a--b/snapshots"

# a prompt that is no text, or none where there is no BOS, is refused before the model is quantised
expect 1 'UTF-8' "$ptq" generate "$models/llama" --prompt $'\xff' --method gptq:w4,g32 \
    --calib "$models/calib.txt" --calib-window 32 --calib-windows 1
expect 2 'prompt is empty' "$ptq" generate "$models/llama" --prompt '' --method gptq:w4,g32 --calib "$models/calib.txt" \
    --calib-window 32 --calib-windows 1

# NaN weights: which tensor, which index
mkdir "$work/nan"
cp "$models/llama/"{config,tokenizer}.json "$work/nan/"
python3 "$root/tests/fixtures/break_tensor.py" "$models/llama/model.safetensors" "$work/nan/model.safetensors" \
    model.layers.1.mlp.up_proj.weight
expect 1 'model.layers.1.mlp.up_proj.weight' "$ptq" eval "$work/nan" --text "$models/text.txt" --window 32 --quiet
# config.json: a family that is not known, a field that is missing
sed 's/"llama"/"lama"/' "$models/llama/config.json" >"$work/nan/config.json"
expect 1 'known: llama, ' "$ptq" eval "$work/nan" --text "$models/text.txt"
grep -v hidden_size "$models/llama/config.json" >"$work/nan/config.json"
expect 1 "hidden_size" "$ptq" eval "$work/nan" --text "$models/text.txt"

echo "$passed passed, 0 failed"
