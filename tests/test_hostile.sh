#!/usr/bin/env bash
# A model from a stranger whose folder, files and tensors have names that would be commands, formulas or markup, and a
# stranger's results file whose texts are that: none of them gets into a shell, gnuplot, CSV, HTML, LaTeX or a terminal as
# more than text. The functions that escape have tests of their own (table, plot, page); here the whole way is gone, from
# a folder to what stands on the disk.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # what looks like an expansion is not to be one
. "$(dirname "$0")/shell.bash"
ptq=$(realpath "$1")
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache

# Four names; in each, `touch RAN` would leave a file in the folder where the commands run.
shell_name='x`touch RAN`$(touch RAN); system("touch RAN")|touch RAN'
csv_name='=cmd|touch RAN'
html_name='<script>alert(1)<&"script>'
tex_name='\input{passwd}\write18{touch RAN}%$^_~#'
names=("$shell_name" "$csv_name" "$html_name" "$tex_name")

mkdir "$scratch/work" && cd "$scratch/work" || exit 1
for i in "${!names[@]}"; do
    mkdir -p "${names[i]}"
    cp "$models/llama/"{config,tokenizer}.json "$models/llama/model.safetensors" "${names[i]}"
    cp "$models/text.txt" "${names[i]}.txt"
    for method in fp16 rtn:w3,g32 rtn:w4,g32; do
        # a relative path, so that the name stands where a cell's model and text do: at the start
        "$ptq" eval "${names[i]}" --text "${names[i]}.txt" --method $method --window 32 --max-windows 4 --quiet \
            -o "$scratch/$i.h5" >/dev/null || { echo "cannot be evaluated: ${names[i]}"; exit 1; }
    done
done

nothing_ran() {
    local ran
    ran=$(find "$scratch" "$tree" -path "$tree/.git" -prune -o -name 'RAN*' -print)
    [ -z "$ran" ] || fail "something ran: $ran"
}

# every FORMAT: the tables of all four files, one behind the other
every() {
    local i
    for i in "${!names[@]}"; do
        expect_exit 0 "$ptq" table "$scratch/$i.h5" --format "$1"
        cat "$scratch/out"
    done >"$scratch/every"
}

test_backquotes_and_system() {
    have gnuplot || return 0
    for i in "${!names[@]}"; do
        expect_exit 0 "$ptq" plot "$scratch/$i.h5" -o "$scratch/plots/$i" --quiet
        [ "$(find "$scratch/plots/$i" -name '*.svg' | wc -l)" -gt 0 ] || fail "no figure of ${names[i]}"
    done
    nothing_ran
    expect_exit 0 grep -rlF 'touch RAN' "$scratch/plots" # as text it is there
}

# A spreadsheet takes a field for a formula that begins with = + - or @.
test_formula_in_csv() {
    every csv
    expect_exit 0 python3 - "$scratch/every" <<'PYTHON'
import csv, sys
fields = [field for row in csv.reader(open(sys.argv[1], encoding="utf-8")) for field in row]
assert any("cmd|touch RAN" in field for field in fields), "the name is not there at all"
for field in fields:
    if field[:1] in ("=", "@", "+", "-"):
        float(field)  # a number is no formula
PYTHON
}

test_script_in_html() {
    have gnuplot || return 0
    for i in "${!names[@]}"; do
        expect_exit 0 "$ptq" report "$scratch/$i.h5" --format html -o "$scratch/report/$i" --quiet
        expect_exit 0 python3 "$tree/tests/check_page.py" "$scratch/report/$i/report.html"
    done
    expect_no_text '<script' "$scratch/report/2/report.html"
    expect_text '&lt;script&gt;' "$scratch/report/2/report.html"
    every md
    expect_no_text '<script' "$scratch/every"
    expect_text '&lt;script' "$scratch/every"
    nothing_ran
}

test_input_in_latex() {
    every tex
    expect_no_text '\\(input|write)' "$scratch/every"
    expect_text 'textbackslash\{\}input' "$scratch/every"
}

# ---- results files ----

# What each text of a forged file is in turn. As one word of a shell, unquoted or in naive quotes, the first five leave RAN.
texts=('x;>RAN' '$(>RAN)' '`>RAN`' "';>RAN;'" '";>RAN;"' '=cmd|>RAN' '<script>alert(1)</script>' '\input{passwd}'
    '-o=RAN' '&quot;&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&é')

# forged NAME FIELD=TEXT...: the first file with other texts, as $scratch/NAME.h5.
forged() {
    rm -f "$scratch/$1.h5"
    expect_exit 0 "${PTQ_FORGE_RESULTS:?}" "$scratch/0.h5" "$scratch/$1.h5" "${@:2}"
}

# A file that says TEXT wherever a stranger may say what he likes.
forge_all() {
    local field fields=()
    for field in commit path calib text model method protocol family device host cpu experiment source_dtype; do
        fields+=("$field=$1")
    done
    forged forged "${fields[@]}" "calib_protocol=$1 of windows" "yaml=title: x
# --set seed=$1
"
}

# paste_commands PAGE: whoever pastes the page's commands into a shell runs git, make and ptq with the words in $scratch/pasted, one
# a line, and nothing else.
paste_commands() {
    local program
    mkdir -p "$scratch/stubs"
    for program in git make ptq; do
        printf '#!/bin/sh\nprintf "%%s\\n" %s "$@" >>"%s/pasted"\n' "$program" "$scratch" >"$scratch/stubs/$program"
        chmod +x "$scratch/stubs/$program"
    done
    rm -f "$scratch/pasted"
    expect_exit 0 python3 - "$1" "$scratch/commands" <<'PYTHON'
import html, re, sys
page = open(sys.argv[1], encoding="utf-8").read()
commands = re.findall("</h3>\n<pre>(.*?)</pre>", page[page.index('<section id="provenance">'):], re.S)
assert commands, "the page has no commands"
open(sys.argv[2], "w", encoding="utf-8").write("\n".join(map(html.unescape, commands)) + "\n")
PYTHON
    PATH=$scratch/stubs:$PATH expect_exit 0 sh "$scratch/commands"
}

# word_behind OPTION TEXT: so it was pasted.
word_behind() {
    grep -xF -A 1 -e "$1" "$scratch/pasted" | grep -qxF -e "$2" || fail "$1 is not followed by $2: $(cat "$scratch/commands")"
}

test_forged_page() {
    local text
    have gnuplot || return 0
    for text in "${texts[@]}"; do
        forge_all "$text"
        expect_exit 0 "$ptq" report "$scratch/forged.h5" --format html -o "$scratch/forged" --quiet
        expect_exit 0 python3 "$tree/tests/check_page.py" "$scratch/forged/report.html"
        expect_no_text '<script' "$scratch/forged/report.html"
        paste_commands "$scratch/forged/report.html"
        nothing_ran
        for option in --path --calib-sample; do word_behind $option "$text"; done
        for option in --text --calib; do word_behind $option "${text/#-/./-}"; done
        word_behind --set "seed=$text"
        word_behind run "${text/#-/./-}.yaml"
        ! grep -qx git "$scratch/pasted" || fail "git is given what is no commit: $(cat "$scratch/commands")"
    done
    forged forged commit=0123456789012345678901234567890123456789+0123456789ab
    expect_exit 0 "$ptq" report "$scratch/forged.h5" --format html -o "$scratch/forged" --quiet
    paste_commands "$scratch/forged/report.html"
    word_behind checkout 0123456789012345678901234567890123456789
    expect_exit 0 grep -qx make "$scratch/pasted"
}

test_forged_figures() {
    local text
    have gnuplot || return 0
    for text in "${texts[@]}"; do
        forge_all "$text"
        expect_exit 0 "$ptq" plot "$scratch/forged.h5" -o "$scratch/drawn" --quiet
    done
    nothing_ran
    [ -z "$(find "$scratch/drawn" -mindepth 1 -name '*[!a-zA-Z0-9._-]*')" ] || fail "figures are called $(ls "$scratch/drawn")"
}

test_forged_tables() {
    local text format
    for text in "${texts[@]}"; do
        forge_all "$text"
        for format in csv tex md; do
            expect_exit 0 "$ptq" table "$scratch/forged.h5" --format $format
            cat "$scratch/out" >>"$scratch/forged.$format"
        done
    done
    expect_no_text '<script' "$scratch/forged.md"
    expect_text '&lt;script' "$scratch/forged.md"
    expect_no_text '\\(input|write)' "$scratch/forged.tex"
    expect_text 'textbackslash\{\}input' "$scratch/forged.tex"
    expect_exit 0 python3 - "$scratch/forged.csv" <<'PYTHON'
import csv, sys
for field in (field for row in csv.reader(open(sys.argv[1], encoding="utf-8")) for field in row):
    if field[:1] in ("=", "@", "+", "-"):
        float(field)
PYTHON
    nothing_ran
}

# A piece of these names figures, and would be a path or a tag.
test_forged_sha256() {
    local field text command
    for field in model_sha256 text_sha256 tokens_sha256 calib_sha256; do
        for text in '<script>' '/../../e'; do
            forged refused "$field=$text"
            for command in table inspect "plot -o $scratch/refused" "report --format html -o $scratch/refused"; do
                # shellcheck disable=SC2086 # words of a command
                expect_exit 1 "$ptq" $command "$scratch/refused.h5"
                expect_text "^ptq: .*refused.h5: /cells/[0-9a-f]{64}: $field is no SHA-256" "$scratch/err"
                [ "$(grep -c . "$scratch/err")" = 1 ] || fail "said: $(cat "$scratch/err")"
                [ ! -e "$scratch/refused" ] || fail "$command left $(find "$scratch/refused")"
            done
        done
    done
}

# ---- terminals ----

# What a terminal would obey: ESC, C1's CSI, a change of the direction of writing. In a tensor's name, a key, a message.
test_terminal() {
    expect_exit 0 python3 - "$scratch" "$models" <<'PYTHON'
import json, struct, sys
def st(name):
    header = json.dumps({name: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, ensure_ascii=False).encode()
    return struct.pack("<Q", len(header)) + header + b"x"
open(sys.argv[1] + "/c1.safetensors", "wb").write(st("a\x9b31m\u202eb"))
open(sys.argv[1] + "/esc.safetensors", "wb").write(st("a\x1b[31mb"))
config = json.load(open(sys.argv[2] + "/llama/config.json"))
config["hidden_act"] = "a\x9b31m\u202e\x1b[31mb"
open(sys.argv[1] + "/work/=cmd|touch RAN/config.json", "w").write(json.dumps(config))
open(sys.argv[1] + "/raw.safetensors", "wb").write(st("a").replace(b"U8", b"\x9b8"))
open(sys.argv[1] + "/marks.safetensors", "wb").write(st("a\u200eb\u200fc\u061cd"))
text = lambda s: struct.pack("<Q", len(s)) + s
gguf = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"general.name\xc2\x9bx") + struct.pack("<I", 8) + text(b"\x1b[31m\xc2\x9b\xe2\x80\xae")
open(sys.argv[1] + "/raw.gguf", "wb").write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"a\x9b31m") + struct.pack("<I", 99))
open(sys.argv[1] + "/c1.gguf", "wb").write(gguf + bytes(-len(gguf) % 32))
PYTHON
    for file in c1.safetensors c1.gguf marks.safetensors; do
        expect_exit 0 "$ptq" inspect "$scratch/$file"
        nothing_obeyed "inspect $file"
    done
    expect_exit 0 "$ptq" inspect "$scratch/c1.safetensors" --json
    nothing_obeyed "inspect --json"
    python3 -c 'import json, sys
assert json.load(sys.stdin)["tensors"][0]["name"] == "a\x9b31m\u202eb"' <"$scratch/out" || fail "a parser sees another name"
    expect_exit 0 "$ptq" diff "$scratch/c1.safetensors" "$models/llama/model.safetensors"
    nothing_obeyed diff
    for file in esc.safetensors raw.safetensors raw.gguf; do
        expect_exit 1 "$ptq" inspect "$scratch/$file"
        nothing_obeyed "inspect $file"
    done
    expect_exit 1 "$ptq" eval "$csv_name" --text "$csv_name.txt" --window 32 --quiet
    nothing_obeyed eval
    expect_text 'hidden_act' "$scratch/err"
}

# JSON has no place for such a name, which is said before the work and not after it; all else takes it.
test_name_that_is_not_utf8() {
    local model=$scratch/$'odd\xff' command
    cp -r "$models/llama" "$model"
    for command in "eval --text $models/text.txt --window 32 --max-windows 1" "quantize --method rtn:w4,g32 --format fp16 -o $scratch/none" \
        "generate --prompt a -n 1"; do
        # shellcheck disable=SC2086 # words
        expect_exit 2 "$ptq" $command "$model" --json
        [ "$(cat "$scratch/out" "$scratch/err")" = "ptq: $scratch/odd?: JSON holds no name that is not UTF-8; call without --json" ] ||
            fail "${command%% *}: $(cat "$scratch/out" "$scratch/err")"
    done
    [ ! -e "$scratch/none" ] || fail "it was quantised"
    expect_exit 0 "$ptq" eval "$model" --text "$models/text.txt" --window 32 --max-windows 1
}

# Nothing in $scratch/out and err that a terminal would obey, in UTF-8 or as single bytes.
nothing_obeyed() {
    python3 - "$1" "$scratch/out" "$scratch/err" <<'PYTHON' || fail "$1 prints what a terminal obeys"
import re, sys
for path in sys.argv[2:]:
    text = open(path, "rb").read().decode("utf-8")  # a byte that is no UTF-8 ends it
    found = re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", text)
    sys.exit(f"{sys.argv[1]}: {found[0]!r} in {path}") if found else None
PYTHON
}

# A folder's own name, in what is said on both streams, notes included.
test_terminal_of_a_folder() {
    local name=$'m\e]0;pwn\a\xc2\x9bx' command
    mkdir "$name"
    cp "$models/llama3/"* "$name"
    python3 - "$name/model.safetensors.index.json" <<'PYTHON'
import json, sys
index = json.load(open(sys.argv[1]))
index["metadata"] = {"total_size": 1}
json.dump(index, open(sys.argv[1], "w"))
PYTHON
    for command in inspect "eval --text $models/text.txt --window 32 --max-windows 1" \
        "quantize --method rtn:w4,g32 --format fp16 -o $scratch/quantized"; do
        # shellcheck disable=SC2086 # words of a command
        expect_exit 0 "$ptq" $command "$name"
        nothing_obeyed "$command"
    done
    expect_text 'total_size' "$scratch/err"
    nothing_ran

}

run_tests
