/* What people write: experiments, claims, texts. */
#include "claims.h"
#include "documents.h"
#include "experiment.h"
#include "fuzz.h"

#include <string.h>

void ptq_fuzz_experiment(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_experiment experiment;
    struct ptq_error err;
    const char *path = ptq_fuzz_file(arena, "e.yaml", data, size);
    if (!ptq_experiment_read(arena, path, NULL, 0, &experiment, &err)) {
        ptq_fuzz_require(experiment.n_jobs >= 1 && experiment.n_jobs <= PTQ_MAX_CELLS, "as many cells as are allowed");
        for (int i = 0; i < experiment.n_jobs; i++) {
            struct ptq_spec spec;
            ptq_fuzz_require(!ptq_spec_parse(experiment.job[i].spec, &spec, &err), "a cell's SPEC can be read again");
        }
    }
    ptq_arena_free(arena);
}

void ptq_fuzz_claims(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_claims claims;
    struct ptq_error err;
    const char *path = ptq_fuzz_file(arena, "c.yaml", data, size);
    if (!ptq_claims_read(arena, path, &claims, &err)) {
        ptq_fuzz_require(claims.n >= 0 && claims.n_sides <= PTQ_CLAIM_SIDE, "as many sides as there is room for");
        for (int i = 0; i < claims.n; i++)
            for (int t = 0; t < claims.claim[i].n_tests; t++)
                ptq_fuzz_require(claims.claim[i].test[t].measure != NULL, "a test has a measure");
    }
    ptq_arena_free(arena);
}

/* Documents lie behind one another, in the text or in the arena; all of them can be read. */
static void check_documents(const char *path, const char *text, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_documents documents;
    struct ptq_error err;
    size_t bytes = 0;
    if (!ptq_documents_read(arena, path, text, size, &documents, &err))
        for (int32_t i = 0; i < documents.n; i++) {
            struct ptq_document d = documents.document[i], stripped = ptq_document_strip(d);
            ptq_fuzz_require(stripped.text >= d.text && stripped.size <= d.size, "stripped, it is a part of itself");
            if (d.size) bytes += (unsigned char)d.text[0] + (unsigned char)d.text[d.size - 1];
            if (documents.paragraphs)
                ptq_fuzz_require(d.size && d.text >= text && d.text + d.size <= text + size, "it lies in the text");
        }
    ptq_fuzz_require(bytes != SIZE_MAX, "every byte can be read");
    ptq_arena_free(arena);
}

void ptq_fuzz_documents(const uint8_t *data, size_t size)
{
    check_documents("F.txt", (const char *)data, size);
    check_documents("F.jsonl", (const char *)data, size);
}
