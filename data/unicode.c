#include "unicode.h"

#include "unicode_tables.h"

/* Classes of the ASCII characters, so that English text never reaches the binary search. */
enum { CTL = PTQ_SPACE, DIG = PTQ_NUMBER | PTQ_NUMERIC | PTQ_WORD, LET = PTQ_LETTER | PTQ_WORD };
static const uint8_t ascii_flags[128] = {
    ['\t'] = CTL, ['\n'] = CTL, ['\v'] = CTL, ['\f'] = CTL, ['\r'] = CTL, [' '] = CTL, ['_'] = PTQ_WORD, ['0'] = DIG,
    ['1'] = DIG,  ['2'] = DIG,  ['3'] = DIG,  ['4'] = DIG,  ['5'] = DIG,  ['6'] = DIG, ['7'] = DIG,      ['8'] = DIG,
    ['9'] = DIG,  ['A'] = LET,  ['B'] = LET,  ['C'] = LET,  ['D'] = LET,  ['E'] = LET, ['F'] = LET,      ['G'] = LET,
    ['H'] = LET,  ['I'] = LET,  ['J'] = LET,  ['K'] = LET,  ['L'] = LET,  ['M'] = LET, ['N'] = LET,      ['O'] = LET,
    ['P'] = LET,  ['Q'] = LET,  ['R'] = LET,  ['S'] = LET,  ['T'] = LET,  ['U'] = LET, ['V'] = LET,      ['W'] = LET,
    ['X'] = LET,  ['Y'] = LET,  ['Z'] = LET,  ['a'] = LET,  ['b'] = LET,  ['c'] = LET, ['d'] = LET,      ['e'] = LET,
    ['f'] = LET,  ['g'] = LET,  ['h'] = LET,  ['i'] = LET,  ['j'] = LET,  ['k'] = LET, ['l'] = LET,      ['m'] = LET,
    ['n'] = LET,  ['o'] = LET,  ['p'] = LET,  ['q'] = LET,  ['r'] = LET,  ['s'] = LET, ['t'] = LET,      ['u'] = LET,
    ['v'] = LET,  ['w'] = LET,  ['x'] = LET,  ['y'] = LET,  ['z'] = LET,
};

int ptq_char_flags(uint32_t code)
{
    if (code < 128) return ascii_flags[code];
    int low = 0, high = ptq_n_char_ranges;
    while (low < high) {
        int middle = (low + high) / 2;
        if (ptq_char_ranges[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == ptq_n_char_ranges || ptq_char_ranges[low].first > code) return 0;
    return ptq_char_ranges[low].flags;
}

static int is_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the well-formed character at text, or 0. The bounds on the second byte are what keeps out overlong forms,
 * surrogates and code points above U+10FFFF. */
static size_t well_formed(const unsigned char *text, size_t left)
{
    unsigned char lead = text[0];
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (left < length) return 0;
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (!is_tail(text[i])) return 0;
    return length;
}

size_t ptq_utf8_check(const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while (at < size) {
        size_t length = well_formed(bytes + at, size - at);
        if (length == 0) return at;
        at += length;
    }
    return size;
}

uint32_t ptq_utf8_decode(const char *text, int *length)
{
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) {
        *length = 1;
        return b[0];
    }
    if (b[0] < 0xe0) {
        *length = 2;
        return (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
    }
    if (b[0] < 0xf0) {
        *length = 3;
        return (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
    }
    *length = 4;
    return (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 | (uint32_t)(b[2] & 0x3f) << 6 | (b[3] & 0x3f);
}

size_t ptq_utf8_last(const char *text, size_t size)
{
    size_t at = size - 1;
    while (at > 0 && is_tail((unsigned char)text[at])) at--;
    return at;
}

int ptq_utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[length] | code);
    return length;
}
