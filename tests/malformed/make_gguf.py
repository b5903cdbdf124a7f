"""Malformed GGUF files, for make.py: "GGUF", version, counts, keys, tensors, data."""
import struct

from good import MODELS, read

U8, U32, F32, BOOL, STRING, ARRAY = 0, 4, 6, 7, 8, 9


def text(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def tensor(name, dims=(32, 2), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)


ARCHITECTURE = key("general.architecture", STRING, text("llama"))


def gguf(keys=(ARCHITECTURE,), tensors=(tensor("t"),), data=bytes(256), magic=b"GGUF", version=3, n_tensors=None,
         n_keys=None):
    head = magic + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                               len(keys) if n_keys is None else n_keys) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def with_key(*args):
    return gguf((ARCHITECTURE, key(*args)))


def gguf_files():
    """Names and bytes: headers alone, which inspect reads, then whole models with one thing wrong."""
    two = [tensor("t"), tensor("u", offset=256)]
    files = {
        "87a-magic": gguf(magic=b"GGML"), "87b-version-0": gguf(version=0), "87c-version-1": gguf(version=1),
        "87d-version-4": gguf(version=4), "87e-big-endian": gguf(version=3 << 24),
        "88a-tensors-2^63": gguf(n_tensors=2**63), "88b-keys-2^63": gguf(n_keys=2**63),
        "89-key-length-2^64-1": gguf((struct.pack("<Q", 2**64 - 1) + b"abc",)),
        "89b-string-length-2^64-1": with_key("a", STRING, struct.pack("<Q", 2**64 - 1)),
        "90a-key-empty": with_key("", U32, bytes(4)), "90b-key-twice": gguf((ARCHITECTURE, ARCHITECTURE)),
        "91-value-type-13": with_key("a", 13, bytes(8)),
        "92-nested-array": with_key("a", ARRAY, struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U8, 1) + b"a"),
        "92b-array-2^62": with_key("a", ARRAY, struct.pack("<IQ", U32, 2**62)),
        "93-bool-2": with_key("a", BOOL, b"\2"),
        "94a-alignment-0": with_key("general.alignment", U32, bytes(4)),
        "94b-alignment-13": with_key("general.alignment", U32, struct.pack("<I", 13)),
        "94c-alignment-i32": with_key("general.alignment", 5, struct.pack("<i", 32)),
        "95a-rank-5": gguf(tensors=(tensor("t", (2, 2, 2, 2, 2)),)), "95b-rank-0": gguf(tensors=(tensor("t", ()),)),
        "96a-dimension-0": gguf(tensors=(tensor("t", (0, 2)),)),
        "96b-dimension-2^42+1": gguf(tensors=(tensor("t", (2**42 + 1, 1)),)),
        "96c-product-wraps": gguf(tensors=(tensor("t", (2**32, 2**32, 2)),)),
        "97-row-and-block": gguf(tensors=(tensor("t", (33, 2), kind=8),)),
        "98a-type-4": gguf(tensors=(tensor("t", kind=4),)), "98b-type-31": gguf(tensors=(tensor("t", kind=31),)),
        "98c-type-200": gguf(tensors=(tensor("t", kind=200),)),
        "99a-offset-unaligned": gguf(tensors=(tensor("t", offset=16),), data=bytes(512)),
        "99b-overlap": gguf(tensors=(two[0], tensor("u", offset=128)), data=bytes(512)),
        "99c-past-the-end": gguf(tensors=(two[0], tensor("u", offset=1 << 40)), data=bytes(512)),
        "100a-name-of-64": gguf(tensors=(tensor("t" * 64),)),
        "100b-name-twice": gguf(tensors=(two[0], tensor("t", offset=256)), data=bytes(512)),
        "103-last-tensor-cut": gguf(tensors=two, data=bytes(500)),
    }
    yield from files.items()
    model = read(MODELS, "llama.gguf")
    blocks = text("llama.block_count") + struct.pack("<II", U32, 2)
    yield "102-blocks-10^6", changed(model, blocks, blocks[:-4] + struct.pack("<I", 10**6))
    yield "102b-blocks-3", changed(model, blocks, blocks[:-4] + struct.pack("<I", 3))
    length = text("llama.context_length") + struct.pack("<II", U32, 64)
    yield "102c-one-position", changed(model, length, length[:-4] + struct.pack("<I", 1))
    yield "101a-tokens-of-u8", tokens_of_bytes(model)
    yield "101b-token-count", one_token_more(model)
    yield "101c-long-tokens", long_tokens()
    for name, half in (("nan", b"\0\x7e"), ("inf", b"\0\x7c")):
        yield f"104-d-{name}", broken_scale(read(MODELS, "llama-gqa", "model.gguf"), half)
    for name, n, (kind, data) in biases():
        tensor_name = f"blk.0.{name.split('-')[0]}.bias"
        yield f"104-{name}", one_tensor_more(read(MODELS, "llama-gqa", "model.gguf"), tensor_name, (n,), kind, data)


def changed(data, old, new):
    if data.count(old) != 1:
        raise SystemExit(f"make_gguf.py: {old!r} is not once in the file")
    return data.replace(old, new)


def parted(model):
    """A GGUF fixture as what stands before the padding, and the data behind it; the last tensor is output.weight."""
    end = model.rindex(text("output.weight")) + len(tensor("output.weight"))
    return model[:end], model[end + -end % 32:]


def tokens_of_bytes(model):
    """A well-formed file whose tokens are as many, and bytes for texts."""
    head, data = parted(model)
    start = head.index(text("tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, 287))
    end = start + len(text("tokenizer.ggml.tokens")) + 16
    for _ in range(287):
        end += 8 + struct.unpack_from("<Q", head, end)[0]
    head = head[:start] + key("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", U8, 287) + b"t" * 287) + head[end:]
    return head + bytes(-len(head) % 32) + data


def long_tokens():
    """The keys of a tokenizer of SentencePiece's kind: 20,000 tokens of 500 bytes."""
    n, name = 20000, "tokenizer.ggml."
    tokens = b"".join(text(f"{i:0500}") for i in range(n))
    return gguf((ARCHITECTURE, key(name + "model", STRING, text("llama")),
                 key(name + "tokens", ARRAY, struct.pack("<IQ", STRING, n) + tokens),
                 key(name + "scores", ARRAY, struct.pack("<IQ", F32, n) + bytes(4 * n))))


def one_token_more(model):
    """Tokens and their kinds are one more than the embedding has rows."""
    head, data = parted(model)
    head = changed(head, struct.pack("<IIQ", ARRAY, STRING, 287) + text("<unk>"),
                   struct.pack("<IIQ", ARRAY, STRING, 288) + text("one more") + text("<unk>"))
    head = changed(head, struct.pack("<IIQ", ARRAY, 5, 287), struct.pack("<IIQI", ARRAY, 5, 288, 1))
    return head + bytes(-len(head) % 32) + data


def biases():
    """64 of them, -1 to 0.97: as F32, in the blocks of Q8_0, which hold them exactly, and in blocks of 4 bits; and 33."""
    steps, scale = range(-32, 32), struct.pack("<e", 1 / 32)
    f32 = 0, struct.pack("<64f", *(step / 32 for step in steps))
    q4_0, q4_1 = (2, 2 * (scale + bytes(range(16)))), (3, 2 * (2 * scale + bytes(range(16))))
    q8_0 = 8, b"".join(scale + struct.pack("<32b", *steps[i:i + 32]) for i in (0, 32))
    return (("attn_q-f32", 64, f32), ("attn_q-q4_0", 64, q4_0), ("attn_q-q4_1", 64, q4_1), ("attn_q-q8_0", 64, q8_0),
            ("attn_output-f32", 64, f32), ("attn_output-q8_0", 64, q8_0), ("attn_q-33", 33, q8_0))


def one_tensor_more(model, name, dims, kind, data):
    head, before = parted(model)
    before += bytes(-len(before) % 32)
    head = head[:8] + struct.pack("<Q", struct.unpack_from("<Q", head, 8)[0] + 1) + head[16:]
    head += tensor(name, dims, kind, len(before))
    return head + bytes(-len(head) % 32) + before + data


def broken_scale(model, half):
    """The scale of the first block of blk.0.attn_q.weight, which is Q4_0, is another number in binary16."""
    head, _ = parted(model)
    at = len(head) + -len(head) % 32 + struct.unpack_from("<Q", head, head.index(text("blk.0.attn_q.weight")) +
                                                          len(tensor("blk.0.attn_q.weight")) - 8)[0]
    return model[:at] + half + model[at + 2:]
