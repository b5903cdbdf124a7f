"""What data/fetch and its helpers share: refusals, folders, hashes, and files that appear whole or not at all."""
import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import sys
import tempfile


class Refusal(Exception):
    """One sentence for the user: what, where, what to do."""


def say(text):
    print("data/fetch: " + text, file=sys.stderr, flush=True)


def home_folder():
    """$HOME; a service or a cron job may have none, then what the password database says. data/locate.c has the same
    rule, which os.path.expanduser has not where HOME is set to nothing."""
    if os.environ.get("HOME"):
        return os.environ["HOME"]
    try:
        return pwd.getpwuid(os.getuid()).pw_dir or "."
    except KeyError:
        return "."


def cache_folder():
    """The cache outside the tree. data/locate.c follows the same rule."""
    if os.environ.get("PTQ_CACHE"):
        return os.path.abspath(os.environ["PTQ_CACHE"])
    if os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(os.environ["XDG_CACHE_HOME"], "ptq")
    return os.path.join(home_folder(), ".cache", "ptq")


def expanded(path):
    """~ at its beginning is the user's folder."""
    return home_folder() + path[1:] if path == "~" or path.startswith("~/") else path


def hub_folder():
    """The Hugging Face cache, by that library's rules. data/locate.c follows the same ones."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return expanded(os.environ[name])
    if os.environ.get("HF_HOME"):
        return os.path.join(expanded(os.environ["HF_HOME"]), "hub")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.join(expanded(cache), "huggingface", "hub")


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def megabytes(count):
    return "%.1f GB" % (count / 1e9) if count >= 1e9 else "%.1f MB" % (count / 1e6)


def write_whole(path, data):
    """Writes a small file so that it is there whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def only_one(folder):
    """One fetch at a time in a folder: a second one waits, and then finds the work done."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".fetch.lock"), "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waits for another data/fetch that works in %s" % folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def workspace(cache):
    """A folder for half-done things on the cache's file system; what a killed fetch left there goes first."""
    root = os.path.join(cache, "tmp")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
