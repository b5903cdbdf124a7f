#!/usr/bin/env bash
# Results read by others: the example of docs/results.md with Debian's h5py and pandas gives what ptq table gives, h5dump
# shows names and units, CSV and JSON hold the same numbers.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1
models=$tree/tests/fixtures/models
export PTQ_CACHE=$scratch/cache

python=
need_python h5py pandas
command -v h5dump >/dev/null || cannot_run "there is no h5dump (Debian: hdf5-tools; scripts/install-deps --for ci)"

cat >"$scratch/r.yaml" <<YAML
title: "read by others"
models: ["$models/llama"]
w_bit: [3, 8]
group_size: 32
methods: [fp16, rtn]
calib: {text: "$models/calib.txt", windows: 4, window: 32}
eval: {text: "$models/text.txt", window: 32, windows: 8}
YAML
expect_exit 0 "$ptq" run "$scratch/r.yaml" -o "$scratch/r.h5" --quiet

awk -v fence="$(printf '\140\140\140')" '$0 == fence {on = 0} on; $0 == fence "python" {on = 1}' \
    "$tree/docs/results.md" >"$scratch/example.py"

test_example() {
    expect_exit 0 "$python" "$scratch/example.py" "$scratch/r.h5"
    expect_text '^ *fp16 +[0-9.]+ +NaN +NaN$' "$scratch/out"
    expect_text '^rtn:w3,g32 +[0-9.]+ +0\.[0-9]+ +0\.[0-9]+$' "$scratch/out"
    expect_text '^rtn:w3,g32: -?0\.[0-9]+ nat a token, [0-9.]+% of the tokens' "$scratch/out"
    expect_text '^model\.layers\.[01]\.[a-z_.]+ +0\.[0-9]+ +0\.[0-9]+$' "$scratch/out"
    expect_text '^nat; mean over tokens of D\(p_FP \|\| p\), natural log$' "$scratch/out"
}

# Of several models in one file each has an FP16 of its own.
test_example_of_two_models() {
    local order one two
    for order in "$models/llama, $models/opt" "$models/opt, $models/llama"; do
        sed "s|^models:.*|models: [$order]|" "$scratch/r.yaml" >"$scratch/two.yaml"
        expect_exit 0 "$ptq" run "$scratch/two.yaml" -o "$scratch/two.h5" --fresh --quiet
        expect_exit 0 "$python" "$scratch/example.py" "$scratch/two.h5"
        one=$(sed -n 's/.*: \(.*\) nat a token.*/\1/p' "$scratch/out")
        two=$("$ptq" table "$scratch/two.h5" --format csv | "$python" -c '
import sys, pandas
rows = pandas.read_csv(sys.stdin)
worst = rows.loc[rows["kl_mean"].idxmax()]
print("%.6f" % (worst.nll_mean - rows[(rows.method == "fp16") & (rows.model == worst.model)].nll_mean.iloc[0]))')
        [ "$one" = "$two" ] || fail "the example says $one nat a token, and it is $two"
    done
}

# The scalars of the file, of CSV and of JSON are the same numbers, and those computed from the arrays.
test_same_numbers() {
    "$ptq" table "$scratch/r.h5" --format csv >"$scratch/r.csv"
    "$ptq" table "$scratch/r.h5" --format json --against rtn:w8,g32 >"$scratch/r.json"
    cat >"$scratch/check.py" <<'PYTHON'
import hashlib, json, math, re, sys
import h5py, numpy, pandas
csv = pandas.read_csv(sys.argv[2]).set_index("id")
records = {cell["id"]: cell for cell in json.load(open(sys.argv[3]))["cells"]}
with h5py.File(sys.argv[1], "r") as file:
    assert len(csv) == len(records) == len(file["cells"]) == 3
    fp16 = next(cell for cell in file["cells"].values() if cell.attrs["method"] == b"fp16")["nll"][()]
    for cell_id, cell in file["cells"].items():
        names = [name for name, value in cell.attrs.items() if not isinstance(value, bytes)]
        assert {"kl_p99", "delta_p_p05"} <= set(names) or cell.attrs["method"] == b"fp16"
        for name in names:
            assert math.isclose(csv.loc[cell_id, name], cell.attrs[name], rel_tol=1e-10), name
            assert math.isclose(records[cell_id][name], cell.attrs[name], rel_tol=1e-12), name
        # what the id is the SHA-256 of, to the byte, and the other texts
        one_line = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], csv.loc[cell_id, "config"])
        for config in (one_line, records[cell_id]["config"]):
            assert hashlib.sha256(config.encode()).hexdigest() == cell_id, config
        for name, value in cell.attrs.items():
            if isinstance(value, bytes) and name != "config":
                assert ("" if csv.isna().loc[cell_id, name] else str(csv.loc[cell_id, name])) == value.decode(), name
        for name in cell.attrs:
            assert b"; " in file["about"].attrs[name], name
        assert records[cell_id]["against"] == "rtn:w8,g32"
        nll = cell["nll"][()].astype(float)
        assert math.isclose(math.exp(nll.mean()), cell.attrs["ppl"], rel_tol=1e-9)
        if "kl" not in cell:
            assert records[cell_id]["kl_mean"] is None and math.isnan(csv.loc[cell_id, "kl_mean"])
            continue
        kl, delta = cell["kl"][()].astype(float), numpy.exp(-nll) - numpy.exp(-fp16.astype(float))
        for name, value in (("kl_mean", kl.mean()), ("kl_median", numpy.median(kl)), ("kl_max", kl.max()),
                            ("kl_p95", numpy.percentile(kl, 95)), ("kl_p99", numpy.percentile(kl, 99)),
                            ("delta_p_mean", delta.mean()), ("delta_p_rms", math.sqrt((delta ** 2).mean())),
                            ("delta_p_p01", numpy.percentile(delta, 1)), ("delta_p_p90", numpy.percentile(delta, 90))):
            assert math.isclose(cell.attrs[name], value, rel_tol=1e-6, abs_tol=1e-7), (name, cell.attrs[name], value)
        assert 0 <= cell.attrs["same_top"] <= 1 and (kl >= 0).all() and kl.mean() > 0
        for dataset in [cell["nll"], cell["kl"], *cell["linears"].values()]:
            assert dataset.attrs["unit"] and dataset.attrs["about"], dataset.name
PYTHON
    expect_exit 0 "$python" "$scratch/check.py" "$scratch/r.h5" "$scratch/r.csv" "$scratch/r.json"
}

test_h5dump() {
    h5dump -A "$scratch/r.h5" >"$scratch/dump"
    expect_text '"nat; mean -ln p over scored tokens"' "$scratch/dump"
    expect_text 'DATASET "output_error"' "$scratch/dump"
    expect_text '"\[window\]\[scored token\] D\(p_FP \|\| p\), natural log"' "$scratch/dump"
    expect_text 'ATTRIBUTE "unit"' "$scratch/dump"
}

run_tests
