#!/usr/bin/env bash
# The README's first block on a machine that has nothing: a bare Debian 12 in FOLDER, which debootstrap makes and chroot
# enters, gets git and make, a clone of this commit, and runs the commands there, one after the other:
#   tests/bare_debian.sh FOLDER [COMMAND...]      (default: "make table1 QUICK=1 WINDOWS=1" "make test")
# As root, with debootstrap and this machine's own package sources. Ten to twenty minutes, so it is no ctest and not in
# CI, whose machines have python, perl and half of what a bare one lacks. A folder that is there is used again.
set -euo pipefail
folder=$1
shift
[ $# -gt 0 ] || set -- "make table1 QUICK=1 WINDOWS=1" "make test"
top=$(cd "$(dirname "$0")/.." && pwd)
command -v debootstrap >/dev/null || { echo "tests/bare_debian.sh: needs debootstrap; apt-get install debootstrap" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "tests/bare_debian.sh: chroot is root's alone" >&2; exit 1; }

# inside COMMAND: in the folder, with nothing of this machine's environment but how to reach packages.
inside() {
    local kept=()
    mapfile -t kept < <(env | grep -E '^(PIP_(CERT|INDEX_URL|DEFAULT_TIMEOUT|PROXY)|https?_proxy|HTTPS?_PROXY)=' || true)
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb "${kept[@]}" \
        chroot "$folder" /bin/bash -c "$1"
}

# shellcheck disable=SC2317 # the trap calls it
let_go() {
    for at in dev sys proc; do umount -l "$folder/$at" 2>/dev/null || true; done
}

if [ ! -e "$folder/etc/apt" ]; then
    mirror=$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/bookworm/.*|\1|p" | head -n 1)
    debootstrap --variant=minbase bookworm "$folder" ${mirror:+"$mirror"} >"$folder.log" 2>&1 || { tail -5 "$folder.log"; exit 1; }
    rm -f "$folder/etc/apt/sources.list"
    cp -r /etc/apt/sources.list* "$folder/etc/apt/"
    cp -r /etc/apt/apt.conf.d "$folder/etc/apt/" 2>/dev/null || true
    cp /etc/resolv.conf "$folder/etc/" 2>/dev/null || true
    # A proxy's certificate, where this machine needs one: ca-certificates takes it from there when it is installed.
    cp -r /usr/local/share/ca-certificates "$folder/usr/local/share/" 2>/dev/null || true
fi
trap let_go EXIT
for at in proc sys dev; do mount --rbind "/$at" "$folder/$at"; mount --make-rslave "$folder/$at"; done
rm -rf "$folder/root/ptq"
inside "apt-get update --quiet && apt-get install --quiet --yes git make" >"$folder.log" 2>&1 || { tail -5 "$folder.log"; exit 1; }
git clone --quiet --bare "$top" "$folder/root/ptq.git.$$"
inside "git clone --quiet /root/ptq.git.$$ /root/ptq"
rm -rf "$folder/root/ptq.git.$$"
failed=0
for command; do
    started=$SECONDS
    if inside "cd /root/ptq && $command"; then
        echo "---- $command: ok ($((SECONDS - started)) s)"
    else
        echo "---- $command: FAILED ($((SECONDS - started)) s)"
        failed=1
    fi
done
exit $failed
