# What the tests in shell share. A test is a function test_NAME; run_tests runs them all and says which held.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # used by the tests
tree=$(dirname "$here")
scratch=$(mktemp -d)
trap 'clean_up' EXIT

clean_up() {
    local pid
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}

# fail WHAT: the test at hand did not hold.
fail() {
    echo "  not held: $*"
    held=0
}

# expect_file WANTED FOUND: the same bytes.
expect_file() {
    cmp -s "$1" "$2" || { fail "$2 differs:"; diff "$1" "$2" | head -20; }
}

# expect_text PATTERN FILE: some line matches the extended regular expression.
expect_text() {
    grep -qE -- "$1" "$2" || { fail "no '$1' in:"; head -5 "$2"; }
}

expect_no_text() {
    ! grep -qE -- "$1" "$2" || fail "'$1' is in $2: $(grep -E -- "$1" "$2" | head -1)"
}

# expect_exit WANTED COMMAND...: standard output and error go to $scratch/out and $scratch/err.
expect_exit() {
    local wanted=$1 code=0
    shift
    "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
    [ "$code" = "$wanted" ] || { fail "exit $code, not $wanted: $*"; tail -5 "$scratch/err"; }
}

# cannot_run WHY: the whole test is left out, which ctest says; not where PTQ_MUST_RUN=1 (CI).
cannot_run() {
    echo "cannot run: $*"
    [ "${PTQ_MUST_RUN:-0}" != 1 ] || { echo "and it must (PTQ_MUST_RUN)"; exit 1; }
    exit 77
}

# need_python MODULE...: sets python to an interpreter that has them; Debian's packages belong to Debian's own.
need_python() {
    local candidate modules
    modules=$(IFS=,; echo "$*")
    for candidate in /usr/bin/python3 python3; do
        # shellcheck disable=SC2034 # used by the tests
        "$candidate" -c "import $modules" 2>/dev/null && python=$candidate && return
    done
    cannot_run "there is no python3 with $* (Debian:$(printf ' python3-%s' "$@"); scripts/install-deps --for ci)"
}

# have PROGRAM...: whether all are installed; says it where they are not, and does not hold where they must be.
have() {
    local program
    for program; do
        command -v "$program" >/dev/null && continue
        echo "  skipped: $program is not installed (scripts/install-deps --for ci)"
        [ -z "${PTQ_MUST_RUN:-}" ] || fail "$program must be there"
        return 1
    done
}

run_tests() {
    local test start failures=0
    for test in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do
        start=$SECONDS
        held=1
        "$test"
        if [ $held = 1 ]; then
            echo "ok   $test ($((SECONDS - start)) s)"
        else
            echo "FAIL $test"
            failures=$((failures + 1))
        fi
    done
    [ $failures = 0 ] || { echo "$failures did not hold"; exit 1; }
}
