#!/usr/bin/env bash
# What the linker and the compiler did to the command itself: position independent, relocations read-only before main, a
# stack that is not executable and is guarded, and calls that check their sizes.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/shell.bash"
ptq=$1
readelf -hldW "$ptq" >"$scratch/elf"
readelf -sW "$ptq" >"$scratch/symbols"

test_position_independent() {
    expect_text '^ *Type: +DYN ' "$scratch/elf"
    expect_text 'FLAGS_1.*PIE' "$scratch/elf"
}

test_relocations_are_read_only() {
    expect_text '^ *GNU_RELRO ' "$scratch/elf"
    expect_text 'FLAGS_1.*NOW' "$scratch/elf"
}

test_no_executable_stack_or_writable_code() {
    expect_text '^ *GNU_STACK +([^ ]+ +){5}RW ' "$scratch/elf"
    expect_no_text '^ *LOAD .* RWE ' "$scratch/elf"
}

test_stack_is_guarded() {
    expect_text '__stack_chk_fail' "$scratch/symbols"
}

test_calls_check_sizes() {
    if grep -q '__asan_init' "$ptq"; then
        echo "  a sanitized build: the sanitizer checks sizes, and _FORTIFY_SOURCE is off"
        return
    fi
    expect_text '__(v?snprintf|memcpy|memset|strcpy|fprintf)_chk' "$scratch/symbols"
}

run_tests
