# shellcheck shell=bash
# Whether what a script made before still stands: a stamp holds a checksum of what it was told, and of name, size and
# time of all that it read and wrote. For scripts/table and scripts/claims, which set:
#   stamp    where it is kept; what was printed is kept beside it, in $stamp.txt
#   told     array of words: settings
#   used     array of files and folders that were read, known after the work; the stamp remembers them
#   written  array of files and folders
# Nothing is hashed but names and times: a model of 98 MB costs a second.

stamp="" told=() used=() written=()

# made_of: the checksum. What is not there is no part of it, and so a difference.
made_of() {
    {
        printf '%s\0' "${told[@]}"
        # find fails where one is not there, which is no fault here.
        { find -L "${used[@]}" "${written[@]}" -type f ! -name '.tmp.*' -printf '%p %s %T@\n' 2>/dev/null || true; } |
            LC_ALL=C sort
    } | sha256sum
}

# stands: true where all is as the stamp has it.
stands() {
    [ -f "$stamp" ] && [ -f "$stamp.txt" ] || return 1
    local lines
    mapfile -t lines <"$stamp"
    used=("${lines[@]:1}")
    [ "${lines[0]}" = "$(made_of)" ]
}

# remember: makes the stamp, and the printed text from standard input.
remember() {
    mkdir -p "$(dirname "$stamp")"
    rm -f "$stamp"
    cat >"$stamp.txt.tmp"
    mv "$stamp.txt.tmp" "$stamp.txt"
    { made_of; printf '%s\n' "${used[@]}"; } >"$stamp.tmp"
    mv "$stamp.tmp" "$stamp"
}
