#!/usr/bin/env python3
"""Writes data/unicode_tables.c: the character classes that Hugging Face tokenizers gives to its regular expressions.

The library itself is asked, code point by code point, so the tables say what it does and not what a Unicode file says:
\\p{L}, \\p{N} and \\s of its Oniguruma, the `is_numeric` of its Digits step, the \\w of its added tokens.
RECENT marks letters, numbers and word characters that PCRE2 10.42 does not know: those that Unicode 14, the version of Python 3.11, has
not assigned. INERT marks what the library's normal forms, those of an older Unicode than its expressions, leave alone.

    pip install tokenizers && python3 scripts/make_unicode.py > data/unicode_tables.c
"""
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, ALL))
FLAGS = ("LETTER", "NUMBER", "SPACE", "NUMERIC", "WORD", "RECENT", "INERT")


def by_regex(pattern):
    """The code points that the one-character pattern matches."""
    pieces = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(TEXT)
    return {ord(c) for piece, _ in pieces for c in piece}


def by_digits():
    digits = pre_tokenizers.Digits(individual_digits=True)
    return {c for c in ALL if len(digits.pre_tokenize_str("a" + chr(c))) == 2}


def by_single_word():
    """A token marked single_word is found only where no word character follows it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("<t>", single_word=True, normalized=False)])
    return {c for c in ALL if not tokenizer.encode("<t>" + chr(c)).ids}


def recent(known):
    """Those of known that PCRE2 10.42, at Unicode 14, has as unassigned."""
    assert unicodedata.unidata_version == "14.0.0", "run this with Python 3.11, whose Unicode is PCRE2's"
    return {c for c in known if unicodedata.category(chr(c)) == "Cn"}


def inert():
    """Characters that Unicode 14 reorders, decomposes or composes, and the library, whose normal forms are older, does
    not: marks that stay where they are between one of lower and one of higher class, letters that do not come apart."""
    nfd = normalizers.NFD().normalize_str
    found = set()
    for c in map(chr, ALL):
        parts = unicodedata.normalize("NFKD", c)
        if parts != c and normalizers.NFKD().normalize_str(c) == c:
            found.update(map(ord, c + parts))
        if unicodedata.combining(c) and all(nfd(s) == s for s in ("a\u0345" + c, "a" + c + "\u0334")):
            found.add(ord(c))
    return found


def ranges(sets):
    """(first, last, flags) for each maximal run of code points with the same flags, flags 0 left out."""
    runs = []
    for c in ALL:
        flags = sum(1 << i for i, s in enumerate(sets) if c in s)
        if not flags:
            continue
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == flags:
            runs[-1][1] = c
        else:
            runs.append([c, c, flags])
    return runs


def main():
    letters, numbers, words = by_regex(r"\p{L}"), by_regex(r"\p{N}"), by_single_word()
    runs = ranges([letters, numbers, by_regex(r"\s"), by_digits(), words, recent(letters | numbers | words), inert()])
    print(f"/* Written by scripts/make_unicode.py from tokenizers {tokenizers.__version__}; do not edit. */")
    print('#include "unicode_tables.h"\n')
    print("/* clang-format off */")
    print("const struct ptq_char_range ptq_char_ranges[] = {")
    line = "   "
    for first, last, flags in runs:
        word = f" {{{first:#x},{last:#x},{flags}}},"
        if len(line) + len(word) > 118:
            print(line)
            line = "   "
        line += word
    print(line)
    print("};")
    print("/* clang-format on */")
    print("const int ptq_n_char_ranges = sizeof ptq_char_ranges / sizeof ptq_char_ranges[0];")


if __name__ == "__main__":
    main()
