#!/usr/bin/env bash
# The malformed results files of the catalogue: see test_malformed.sh.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$(realpath "$1")
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache PYTHONDONTWRITEBYTECODE=1

python=
need_python h5py

make_files() {
    expect_exit 0 "$ptq" eval "$models/llama" --method rtn:w4,g32 --text "$models/text.txt" --window 32 --max-windows 1 \
        --quiet -o "$scratch/good.h5"
    expect_exit 0 "$python" "$tree/tests/malformed/make_h5.py" "$scratch/good.h5" "$scratch/bad/h5"
}
make_files

test_results_files() {
    expect_exit 0 python3 "$tree/tests/malformed/check.py" "$ptq" "$tree/tests/malformed/table.tsv" "$scratch/bad" --of h5/
    cat "$scratch/out" "$scratch/err"
}

# A filter that HDF5 lacks is looked for among plug-ins, and loading one runs its code. ptq loads none, whatever the
# environment says; h5dump, where it is there, shows that this one would have been found.
test_no_plugin_is_loaded() {
    mkdir "$scratch/plugins"
    printf '#include <fcntl.h>\n__attribute__((constructor)) static void ran(void) { creat("%s", 0666); }\n' \
        "$scratch/RAN" >"$scratch/plugin.c"
    cc -shared -fPIC -o "$scratch/plugins/libplugin.so" "$scratch/plugin.c" || { fail "no plug-in could be built"; return; }
    for command in table inspect; do
        HDF5_PLUGIN_PATH=$scratch/plugins expect_exit 1 "$ptq" $command "$scratch/bad/h5/109-filter.h5"
    done
    [ ! -e "$scratch/RAN" ] || fail "a plug-in was loaded"
    command -v h5dump >/dev/null || return
    HDF5_PLUGIN_PATH=$scratch/plugins h5dump "$scratch/bad/h5/109-filter.h5" >"$scratch/out" 2>&1 || true
    [ -e "$scratch/RAN" ] || fail "h5dump does not load it either, so this test shows nothing"
}

run_tests
