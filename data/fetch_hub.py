"""A model of the Hugging Face hub into that library's own cache: models--ORG--NAME/{refs,snapshots,blobs}, so that
other programs find it too. curl does the transfers; each can be broken off and goes on where it stopped.

What the hub answers is not trusted: names and hashes are checked before they become paths, and each file's content
against the hash that the hub gives for it (SHA-256 for large files, git's blob hash for small ones)."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

from fetch_base import Refusal, cache_folder, hub_folder, megabytes, only_one, say, sha256_of, write_whole

DEFAULT_ENDPOINT = "https://huggingface.co"
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
               "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")
SAFE_INDEX, SAFE_FILE = "model.safetensors.index.json", "model.safetensors"
BIN_INDEX, BIN_FILE = "pytorch_model.bin.index.json", "pytorch_model.bin"
ATTEMPTS = 4  # for a transfer that breaks off
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
UNREACHABLE = (5, 6, 7, 28, 35, 97)  # curl's exits for: no name, no connection, no answer in time, no TLS


def is_hub_name(name):
    """ORG/NAME, or NAME alone, as the hub's oldest models are called (gpt2)."""
    return bool(re.fullmatch("(" + NAME + "/)?" + NAME + r"(@[A-Za-z0-9._/-]+)?", name)) and ".." not in name


def is_meant(name):
    """Whether a name that nobody said to be the hub's is: a word alone may be anything, unless its model is here."""
    repo, _, revision = name.partition("@")
    return is_hub_name(name) and ("/" in repo or os.path.isdir(Repo(repo, revision or "main").folder))


def endpoint():
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def curl_config(url, out):
    """curl reads this from its standard input, so that a token never stands on a command line."""
    lines = ["url = " + json.dumps(url), "output = " + json.dumps(out)]
    token = os.environ.get("HF_TOKEN", "")
    if token:
        if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", token):
            raise Refusal("HF_TOKEN holds characters that no token has; set it again")
        lines.append('header = "Authorization: Bearer %s"' % token)
    return "\n".join(lines) + "\n"


def curl(url, out, resume=False):
    """(curl's exit, HTTP status, what curl said). On a redirect to another host curl leaves the token out."""
    command = ["curl", "--silent", "--show-error", "--fail", "--location", "--connect-timeout", "6", "--speed-limit",
               "1", "--speed-time", "30", "--write-out", "%{http_code}", "--config", "-"]
    if url.startswith("https:"):
        command += ["--proto-redir", "=https"]
    command += ["--continue-at", "-"] if resume else []
    try:
        done = subprocess.run(command, input=curl_config(url, out).encode(), capture_output=True, check=False)
    except FileNotFoundError as error:
        raise Refusal("curl is not here; run `scripts/install-deps --for fetch`") from error
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    status = done.stdout.decode("ascii", "replace").strip()
    return done.returncode, int(status) if status.isdigit() else 0, said[-1] if said else "nothing"


class Repo:
    """One model at one revision, and its folder in the cache."""

    def __init__(self, repo, revision):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", revision) or ".." in revision or "//" in revision:
            raise Refusal("%s: a revision is a branch, a tag or a commit, not '%s'" % (repo, revision))
        self.repo = repo
        self.revision = revision
        self.folder = os.path.join(hub_folder(), "models--" + repo.replace("/", "--"))

    def refuse_transfer(self, what, code, status, said):
        """The one sentence for a transfer that failed."""
        whole = self.repo + ("" if self.revision == "main" else "@" + self.revision)
        if status in (401, 403):
            why = "does not have it, or asks for a login: accept the model's terms on its page, then set HF_TOKEN"
            raise Refusal("%s: %s %s (HTTP %d)" % (whole, endpoint(), why, status))
        if status == 404:
            raise Refusal("%s: %s has no %s (HTTP 404); look at the spelling and the revision"
                          % (whole, endpoint(), what))
        if code in UNREACHABLE:
            raise Refusal("no network: %s is not in the cache; put it to %s or run `data/fetch hub %s` where there is "
                          "one (curl said: %s)" % (whole, self.folder, whole, said))
        raise Refusal("%s: the transfer of %s broke off (curl said: %s); run the same command again, it goes on where "
                      "it stopped" % (whole, what, said))

    def get_json(self, path, what):
        os.makedirs(self.folder, exist_ok=True)
        out = os.path.join(self.folder, ".answer.tmp")
        code, status, said = curl(endpoint() + path, out)
        try:
            if code != 0:
                self.refuse_transfer(what, code, status, said)
            with open(out, encoding="utf-8") as file:
                return json.load(file)
        except (ValueError, FileNotFoundError) as error:
            raise Refusal("%s: %s%s answered something that is no JSON" % (self.repo, endpoint(), path)) from error
        finally:
            if os.path.exists(out):
                os.unlink(out)

    def commit(self):
        """The commit that the revision means now."""
        answer = self.get_json("/api/models/%s/revision/%s" % (self.repo, self.revision.replace("/", "%2F")), "model")
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise Refusal("%s: the hub names no commit for revision %s" % (self.repo, self.revision))
        return commit

    def tree(self, commit):
        """{name: (bytes, hash)} of the files in the repository's root."""
        answer = self.get_json("/api/models/%s/tree/%s" % (self.repo, commit), "list of files")
        files = {}
        for item in answer if isinstance(answer, list) else []:
            if not isinstance(item, dict) or item.get("type") != "file":
                continue
            name, large = item.get("path"), item.get("lfs")
            oid = large.get("oid") if isinstance(large, dict) else item.get("oid")
            size = large.get("size") if isinstance(large, dict) else item.get("size")
            if not isinstance(name, str) or not re.fullmatch(NAME, name) or ".." in name:
                continue
            if not isinstance(oid, str) or not re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", oid):
                raise Refusal("%s: the hub gives no hash for %s" % (self.repo, name))
            if not isinstance(size, int) or size < 0:
                raise Refusal("%s: the hub gives no size for %s" % (self.repo, name))
            files[name] = (size, oid)
        return files

    def snapshot(self):
        """The folder that the revision means on this machine, or none."""
        commit = self.revision
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            try:
                with open(os.path.join(self.folder, "refs", *self.revision.split("/")), encoding="ascii") as file:
                    commit = file.read().strip()
            except (OSError, UnicodeDecodeError):
                return None
        folder = os.path.join(self.folder, "snapshots", commit)
        return folder if re.fullmatch(r"[0-9a-f]{40}", commit) and os.path.isdir(folder) else None

    def download(self, commit, name, size, oid):
        """One file: into blobs/HASH.incomplete, checked, then under its hash, then linked into the snapshot."""
        blob = os.path.join(self.folder, "blobs", oid)
        os.makedirs(os.path.dirname(blob), exist_ok=True)
        if not os.path.exists(blob):
            self.transfer(commit, name, size, blob + ".incomplete")
            if os.path.getsize(blob + ".incomplete") != size or hash_of(blob + ".incomplete", oid) != oid:
                os.unlink(blob + ".incomplete")
                raise Refusal("%s: %s came damaged (its hash is not the hub's %s); it was deleted: run again"
                              % (self.repo, name, oid))
            os.replace(blob + ".incomplete", blob)
        link = os.path.join(self.folder, "snapshots", commit, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(os.path.join("..", "..", "blobs", oid), link)

    def transfer(self, commit, name, size, out):
        url = "%s/%s/resolve/%s/%s" % (endpoint(), self.repo, commit, name)
        for attempt in range(ATTEMPTS):
            have = os.path.getsize(out) if os.path.exists(out) else 0
            if have > size:
                os.unlink(out)
                have = 0
            if have == size and (size > 0 or os.path.exists(out)):
                return
            if size > 10e6:
                rest = " from %s on" % megabytes(have) if have else ""
                say("%s: %s, %s%s" % (self.repo, name, megabytes(size), rest))
            code, status, said = curl(url, out, resume=have > 0)
            if code == 0:
                if not os.path.exists(out):  # curl makes no file for an empty answer
                    write_whole(out, b"")
                return
            if code == 33:  # the server cannot go on in the middle: from the start, then
                os.unlink(out)
            elif code not in (18, 52, 55, 56, 92) or attempt == ATTEMPTS - 1:
                self.refuse_transfer(name, code, status, said)


def hash_of(path, oid):
    """SHA-256 where the hub gives that; else git's hash of a blob."""
    if len(oid) == 64:
        return sha256_of(path)
    with open(path, "rb") as file:
        data = file.read()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def shards_of(index, whose):
    """The files that an index names."""
    try:
        with open(index, encoding="utf-8") as file:
            names = set(json.load(file)["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Refusal("%s: %s has no weight_map" % (whose, os.path.basename(index))) from error
    if not names or not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names):
        raise Refusal("%s: %s names no files" % (whose, os.path.basename(index)))
    return sorted(names)


def weights_here(folder):
    """"safetensors", "bin" or none: which whole set of weights a snapshot holds."""
    for index, single, kind in ((SAFE_INDEX, SAFE_FILE, "safetensors"), (BIN_INDEX, BIN_FILE, "bin")):
        path = os.path.join(folder, index)
        names = shards_of(path, folder) if os.path.exists(path) else [single]
        if all(os.path.exists(os.path.join(folder, name)) for name in names):
            return kind
    return None


def complete(folder):
    """Which weights a usable snapshot holds: it also has a config and a tokenizer."""
    have = {name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name))}
    tokenizer = {"tokenizer.json"} <= have or {"vocab.json", "merges.txt"} <= have or {"tokenizer.model"} <= have
    return weights_here(folder) if "config.json" in have and tokenizer else None


def choose(repo, files, commit):
    """The names of the files to take. An index is fetched at once, because it says which shards there are."""
    if "config.json" not in files:
        raise Refusal("%s has no config.json: it is no model that ptq reads" % repo.repo)
    names = [name for name in SMALL_FILES if name in files]
    for index, single in ((SAFE_INDEX, SAFE_FILE), (BIN_INDEX, BIN_FILE)):
        if index in files:
            repo.download(commit, index, *files[index])
            shards = shards_of(os.path.join(repo.folder, "snapshots", commit, index), repo.repo)
            missing = [name for name in shards if name not in files]
            if missing:
                raise Refusal("%s: %s names %s, which the hub does not have" % (repo.repo, index, missing[0]))
            return names + [index] + shards
        if single in files:
            return names + [single]
    raise Refusal("%s has neither %s nor %s; it has: %s"
                  % (repo.repo, SAFE_FILE, BIN_FILE, ", ".join(sorted(files)[:12]) or "nothing"))


def refuse_full_disk(repo, names, files):
    missing = sum(files[name][0] for name in names
                  if not os.path.exists(os.path.join(repo.folder, "blobs", files[name][1])))
    free = shutil.disk_usage(repo.folder).free
    if missing > free:
        raise Refusal("%s needs %s more, and %s has %s free; set HF_HUB_CACHE to a larger place"
                      % (repo.repo, megabytes(missing), repo.folder, megabytes(free)))


def bring(repo):
    """Fetches the revision; refs/ names it only when it is whole."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no"):
        raise Refusal("%s is not in the cache, and HF_HUB_OFFLINE is set; unset it, or put the model to %s"
                      % (repo.repo, repo.folder))
    commit = repo.commit()
    files = repo.tree(commit)
    names = choose(repo, files, commit)
    refuse_full_disk(repo, names, files)
    for name in names:
        repo.download(commit, name, *files[name])
    if repo.revision != commit:
        write_whole(os.path.join(repo.folder, "refs", *repo.revision.split("/")), commit.encode())
    return os.path.join(repo.folder, "snapshots", commit)


def verify_links(repo, folder):
    """Hashes again what a snapshot's links lead to; a damaged one is deleted, so that it is fetched anew."""
    for name in sorted(os.listdir(folder)):
        blob = os.path.realpath(os.path.join(folder, name))
        oid = os.path.basename(blob)
        if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", oid) and os.path.exists(blob) and hash_of(blob, oid) != oid:
            say("%s: %s is damaged, and is fetched anew" % (repo.repo, name))
            os.unlink(blob)


def convert(folder):
    """Pickled weights become safetensors once; a Python that has torch does it."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "convert_bin.py")
    own = os.path.join(cache_folder(), "venv", "bin", "python")
    done = subprocess.run([own if os.path.exists(own) else sys.executable, script, folder], check=False)
    if done.returncode != 0:
        raise Refusal("%s holds only pickled weights, and they could not be converted (see above)" % folder)


def fetch(name, revision, verify):
    """The snapshot's folder, fetched and converted if need be."""
    repo = Repo(name, revision)
    folder = repo.snapshot()
    if folder and verify:
        verify_links(repo, folder)
    kind = complete(folder) if folder else None
    if not kind:
        with only_one(repo.folder):
            folder = bring(repo)
            kind = complete(folder) or weights_here(folder)
    if kind == "bin":
        convert(folder)
    return folder
