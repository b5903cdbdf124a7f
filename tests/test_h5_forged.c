/* Results files with one byte of an object header changed, and every checksum right again (forged_h5.h): whatever HDF5
 * makes of them, the process lives, and says one sentence that names the file or has a cell whose numbers are numbers.
 * With Debian's HDF5 1.10.8 some of them end the child that reads them. */
#include "cells.h"
#include "folder_test.h"
#include "forged_h5.h"
#include "mapped.h"

enum { MOST_HEADERS = 200, TRIES = 140, LOOSE_TRIES = 20 };

static const char *path;
static uint8_t *good; /* [size + PTQ_H5_SEAL] */
static size_t size;
static struct forged_header header[MOST_HEADERS];
static int n_headers;
static char id[PTQ_SHA256_HEX];

static void write_bytes(const char *to, const uint8_t *data, size_t bytes)
{
    FILE *file = fopen(to, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* Change number `i` of those that there are, spread over the headers and the kinds of value; the root's come most. */
static void forge(int i, const char *to)
{
    static const uint8_t values[] = {0xff, 0x14, 0x7f, 0x80, 0x01, 0x00};
    struct forged_header *h = &header[i % 2 ? 0 : i / 2 * 7 % n_headers];
    uint8_t *at = good + h->body + (size_t)i * 37 % (h->end - h->body), kept = *at;
    *at = *at == values[i % 6] ? (uint8_t) ~*at : values[i % 6];
    forged_renew(good, h);
    ptq_h5_seal(good, size);
    write_bytes(to, good, size + PTQ_H5_SEAL);
    *at = kept;
    forged_renew(good, h);
}

static void headers_that_lie(void **state)
{
    (void)state;
    int read = 0, refused = 0, ended = 0;
    for (int i = 0; i < TRIES; i++) {
        struct ptq_error err;
        struct ptq_cell *cell;
        int n;
        forge(i, path);
        struct ptq_mark mark = ptq_arena_mark(arena);
        if (ptq_results_read(arena, path, &cell, &n, &err)) {
            if (strncmp(err.text, path, strlen(path)) != 0 || strchr(err.text, '\n'))
                fail_msg("%d: no sentence that names the file: %s", i, err.text);
            refused++;
            ended += strstr(err.text, "reading it ended by") != NULL;
        } else {
            for (int k = 0; k < n; k++) assert_true(isfinite(cell[k].ppl) && isfinite(cell[k].nll[0]));
            read++;
        }
        ptq_arena_rewind(arena, mark);
    }
    print_message("%d read, %d refused, %d of them after the child's end\n", read, refused, ended);
    assert_true(read > 20 && refused > 20);
}

/* A finished cell beside a results file: sealed, so what cannot be read is refused by its name, and stays. */
static void cells_that_lie(void **state)
{
    (void)state;
    int finished = 0;
    const char *name = ptq_join(arena, folder, "other.h5");
    const char *loose = ptq_format(arena, "%s.cells/%s.h5", name, id);
    struct ptq_error err;
    assert_int_equal(ptq_make_folder(ptq_format(arena, "%s.cells", name), &err), PTQ_OK);
    for (int i = 0; i < LOOSE_TRIES; i++) {
        char(*ids)[PTQ_SHA256_HEX];
        int n;
        forge(i, loose);
        if (!ptq_results_ids(arena, name, &ids, &n, &err)) {
            assert_true(n == 1 && strcmp(ids[0], id) == 0);
            finished++;
        } else if (strncmp(err.text, loose, strlen(loose)) != 0 || strchr(err.text, '\n')) {
            fail_msg("%d: no sentence that names the file: %s", i, err.text);
        }
        assert_int_equal(access(loose, F_OK), 0);
    }
    assert_true(finished > 0 && finished < LOOSE_TRIES);
}

static int set_up_file(void **state)
{
    set_up(state);
    struct ptq_error err;
    struct ptq_mapped file;
    struct ptq_cell cell = make_whole_cell(arena);
    path = ptq_join(arena, folder, "x.h5");
    memcpy(id, cell.id, sizeof id);
    if (ptq_results_put(path, &cell, &err) || ptq_results_merge(path, "eval", "title: x\n", NULL, 0, &err) ||
        ptq_map(arena, path, &file, &err))
        return -1;
    size = file.size - PTQ_H5_SEAL;
    good = ptq_new(arena, uint8_t, file.size);
    memcpy(good, file.data, size);
    ptq_unmap(&file);
    n_headers = forged_headers(good, size, header, MOST_HEADERS);
    return n_headers > 20 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(headers_that_lie), cmocka_unit_test(cells_that_lie)};
    return cmocka_run_group_tests(tests, set_up_file, tear_down);
}
