/* Where a folder says how its codes are meant: config.json, quantize_config.json, quant_config.json, and what they say
 * together. */
#include "arena.h"
#include "files.h"
#include "mapped.h"
#include "quantized.h"

#define OK(err, call)                                                                                                  \
    do {                                                                                                               \
        if (call) fail_msg("%s", (err)->text);                                                                         \
    } while (0)

/* AutoGPTQ's older files have quantize_config.json alone. */
static void test_config_beside(void **state)
{
    struct ptq_arena *arena = ptq_arena_make("beside");
    struct ptq_quantization *q;
    struct ptq_error err;
    char folder[64];
    (void)state;
    make_test_folder(folder);
    write_test_text(folder, "config.json", "{}");
    OK(&err, ptq_quantization_read(arena, folder, &q, &err));
    assert_null(q);
    write_test_text(folder, "quantize_config.json",
                    "{\"bits\": 3, \"group_size\": 128, \"damp_percent\": 0.01, \"desc_act\": true, \"sym\": false}");
    OK(&err, ptq_quantization_read(arena, folder, &q, &err));
    assert_string_equal(q->text, "gptq 3 bits, g128");
    assert_true(q->desc_act && !q->sym && q->group_size == 128);
    write_test_text(folder, "config.json",
                    "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": 128}}");
    OK(&err, ptq_quantization_read(arena, folder, &q, &err)); /* where the first is silent the other counts */
    assert_true(q->desc_act && !q->sym);
    write_test_text(folder, "config.json",
                    "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": 128,"
                    " \"checkpoint_format\": \"gptq_v2\"}}");
    assert_refused("two", ptq_quantization_read(arena, folder, &q, &err), &err,
                   "/config.json: quantization_config says gptq_v2 3 bits, g128, and ;"
                   "/quantize_config.json says gptq 3 bits, g128;programs differ");
    remove(ptq_join(arena, folder, "config.json"));
    remove(ptq_join(arena, folder, "quantize_config.json"));
    write_test_text(folder, "quant_config.json",
                    "{\"zero_point\": true, \"q_group_size\": 64, \"w_bit\": 4, \"version\": \"GEMM\"}");
    OK(&err, ptq_quantization_read(arena, folder, &q, &err));
    assert_string_equal(q->text, "awq 4 bits, g64");
    assert_int_equal(q->group_size, 64);
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

/* Two places, and what they say of what. */
static void test_places_differ(void **state)
{
    static const struct {
        const char *first, *file, *other, *words; /* NULL: they agree */
    } row[] = {
        {"\"desc_act\": false", "quantize_config.json", "\"desc_act\": true",
         "/config.json: quantization_config says desc_act false, and ;/quantize_config.json says desc_act true;wrong"},
        {"\"desc_act\": true", "quantize_config.json", "\"desc_act\": false", "says desc_act true;says desc_act false"},
        {"\"sym\": false", "quantize_config.json", "\"sym\": true", "says sym false;says sym true"},
        {"\"sym\": true", "quantize_config.json", "\"sym\": false", "says sym true;says sym false"},
        {"\"sym\": true, \"desc_act\": true", "quantize_config.json", "\"desc_act\": true", NULL},
        {"\"sym\": null", "quantize_config.json", "\"sym\": false", NULL},
        {"\"zero_point\": true", "quant_config.json", "\"zero_point\": false",
         "says zero_point true;/quant_config.json says zero_point false"},
        {"\"zero_point\": false", "quant_config.json", "\"zero_point\": true", "zero_point false;zero_point true"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct ptq_arena *arena = ptq_arena_make("places");
        struct ptq_quantization *q;
        struct ptq_error err;
        char folder[64];
        const char *method = strcmp(row[i].file, "quant_config.json") ? "gptq" : "awq";
        make_test_folder(folder);
        write_test_text(folder, "config.json",
                        ptq_format(arena,
                                   "{\"quantization_config\": {\"quant_method\": \"%s\", \"bits\": 4, "
                                   "\"group_size\": 32, %s}}",
                                   method, row[i].first));
        write_test_text(folder, row[i].file, ptq_format(arena, "{\"bits\": 4, \"group_size\": 32, %s}", row[i].other));
        enum ptq_status status = ptq_quantization_read(arena, folder, &q, &err);
        if (row[i].words)
            assert_refused(row[i].first, status, &err, row[i].words);
        else if (status)
            fail_msg("row %zu: %s", i, err.text);
        remove_test_folder(folder);
        ptq_arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_config_beside), cmocka_unit_test(test_places_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
