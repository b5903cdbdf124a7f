# shellcheck shell=bash
# The settings of an experiment that come from the environment, as make passes them: MODEL TEXT CALIB BITS GROUP WINDOW
# WINDOWS CALIB_WINDOW CALIB_WINDOWS SEED. An empty one leaves what the YAML says. scripts/table and scripts/claims find
#   settings  array: what ptq run is told
#   slug      what is put behind the name of the results, so that no two settings share a file or a folder

settings=() slug=""

# setting KEY VALUE: of a long value the slug has the end, where paths differ, and a checksum of all of it.
setting() {
    [ -n "$2" ] || return 0
    settings+=(--set "$1=$2")
    local short
    short=$(printf '%s' "$2" | LC_ALL=C tr -cs 'A-Za-z0-9.+=\n' _)
    if [ ${#short} -gt 24 ]; then short=${short: -16}.$(printf '%s' "$2" | cksum | cut -d' ' -f1); fi
    slug+="-$1=$short"
}

setting models "${MODEL:-}"
setting text "${TEXT:-}"
setting calib "${CALIB:-}"
setting w_bit "${BITS:-}"
setting group_size "${GROUP:-}"
setting window "${WINDOW:-}"
setting windows "${WINDOWS:-}"
setting calib_window "${CALIB_WINDOW:-}"
setting calib_windows "${CALIB_WINDOWS:-}"
setting seed "${SEED:-}"
