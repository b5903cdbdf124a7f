#!/usr/bin/env python3
"""Makes malformed results files of a good one: make_h5.py RESULTS.h5 FOLDER (needs h5py).

What ptq reads must end in a line with the SHA-256 of what is before it (core/h5_image.c). Whoever changes a file can
write that line anew, and so does this: what is refused is refused for what it holds."""
import hashlib
import os
import struct
import sys

import h5py
import numpy

SEAL = len("\nptq-sha256 ") + 64 + 1


def sealed(path):
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "ab") as file:
        file.write(b"\nptq-sha256 " + hashlib.sha256(data).hexdigest().encode() + b"\n")


def changed(good, path, change):
    """A copy of the image `good`, changed by `change(file, cell)`, with a new seal."""
    with open(path, "wb") as file:
        file.write(good)
    with h5py.File(path, "r+", libver=("earliest", "v110")) as file:
        change(file, next(iter(file["cells"].values())))
    sealed(path)


def rotated(x, k):
    return (x << k | x >> (32 - k)) & 0xffffffff


def checksum(data):
    """Bob Jenkins' lookup3, which HDF5 takes for its metadata."""
    v = [(0xdeadbeef + len(data)) & 0xffffffff] * 3
    words = struct.unpack(f"<{(len(data) + 3) // 4}I", data + bytes(-len(data) % 4))
    for at in range(0, len(words), 3):
        v = [(x + word) & 0xffffffff for x, word in zip(v, (*words[at:at + 3], 0, 0))]
        if at + 3 >= len(words):
            break
        for i, k in enumerate((4, 6, 8, 16, 19, 4)):
            x, y, z = i % 3, (i + 2) % 3, (i + 1) % 3
            v[x] = ((v[x] - v[y]) & 0xffffffff) ^ rotated(v[y], k)
            v[y] = (v[y] + v[z]) & 0xffffffff
    for i, k in enumerate((14, 11, 25, 16, 4, 14, 24)):
        x, y = (i + 2) % 3, (i + 1) % 3
        v[x] = ((v[x] ^ v[y]) - rotated(v[y], k)) & 0xffffffff
    return v[2]


def flagged(good):
    """The image with the flag of a file that is open for writing, and the superblock's checksum."""
    if struct.unpack_from("<I", good, 44)[0] != checksum(good[:44]):
        raise SystemExit("make_h5.py: the superblock's checksum is not where it was")
    superblock = good[:11] + b"\1" + good[12:44]
    return superblock + struct.pack("<I", checksum(superblock)) + good[48:]


def half_written(path):
    """The bytes of a file of the newest format that HDF5 itself has open for writing."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_group("cells")
        file.flush()
        with open(path, "rb") as image:
            return image.read()


def replace(name, make):
    def change(_, cell):
        del cell[name]
        make(cell, name)
    return change


def external_link(cell, name):
    cell[name] = h5py.ExternalLink("/etc/passwd", "/x")


def external_storage(cell, name):
    cell.create_dataset(name, (1, 31), "f4", external=[("/etc/passwd", 0, 124)])


def virtual(cell, name):
    layout = h5py.VirtualLayout((1, 31), "f4")
    layout[0] = h5py.VirtualSource("/etc/passwd", "nll", (31,))
    cell.create_virtual_dataset(name, layout)


def lzf(cell, name):
    cell.create_dataset(name, data=numpy.zeros((1, 31), "f4"), chunks=(1, 31), compression="lzf")


def huge(cell, name):
    cell.create_dataset(name, (2**30, 2**30), "f4", chunks=(1, 1024))


def chunk_bomb(cell, name):
    cell.create_dataset(name, data=numpy.zeros((1, 1 << 24), "f4"), chunks=(1, 1 << 24), compression="gzip")


def soft_loop(cell, name):
    cell[name] = h5py.SoftLink(cell.name + "/other")
    cell["other"] = h5py.SoftLink(cell.name + "/" + name)


def hard_loop(cell, name):
    cell[name] = cell.file["/"]


def of_text(cell, name):
    cell.create_dataset(name, data=numpy.full((1, 31), b"text", "S4"))


def of_rank_3(cell, name):
    cell.create_dataset(name, data=numpy.zeros((1, 31, 2), "f4"))


def attribute(name, value):
    def change(_, cell):
        cell.attrs[name] = value
    return change


def newer(file, _):
    file.attrs["schema"] = 1000


def renamed(file, cell):
    file.move(cell.name, "/cells/" + "0" * 64)


def main():
    with open(sys.argv[1], "rb") as file:
        good = file.read()[:-SEAL]
    out = sys.argv[2]
    os.makedirs(out, exist_ok=True)
    changes = {
        "107a-external-link": replace("nll", external_link), "107b-external-storage": replace("nll", external_storage),
        "108-virtual": replace("nll", virtual), "109-filter": replace("nll", lzf),
        "110a-2^60-elements": replace("nll", huge), "110b-chunk-bomb": replace("nll", chunk_bomb),
        "111a-text-for-nll": replace("nll", of_text), "111b-rank-3": replace("nll", of_rank_3),
        "111c-text-for-a-number": attribute("ppl", "many"), "111d-number-for-a-text": attribute("model", 3),
        "111e-variable-text": attribute("model", "x" * 10), "112a-soft-links": replace("nll", soft_loop),
        "112b-hard-link": replace("linears", hard_loop), "113-newer-schema": newer, "114-id-is-not-the-hash": renamed,
    }
    for name, change in changes.items():
        changed(good, os.path.join(out, name + ".h5"), change)
    files = {"105a-no-hdf5": b"not HDF5 at all\n", "105b-cut-short": good[:len(good) // 2], "105c-empty": b"",
             "105d-not-sealed": good, "106-flags-set": flagged(good),
             "106b-half-written": half_written(os.path.join(out, "106b-half-written.h5"))}
    for name, data in files.items():
        with open(os.path.join(out, name + ".h5"), "wb") as file:
            file.write(data)
    for name in ("106-flags-set", "106b-half-written"):
        sealed(os.path.join(out, name + ".h5"))
    lists = {"118a-values": b'{"failed":[' + b"0," * 5000000 + b"0]}", "118b-deep": b"[" * 100000,
             "118c-no-json": b'{"failed": [', "118d-20mb": b" " * 20000000}
    for name, data in lists.items():
        with open(os.path.join(out, name + ".h5"), "wb") as file:
            file.write(good)
        sealed(os.path.join(out, name + ".h5"))
        with open(os.path.join(out, name + ".h5.failed.json"), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main()
