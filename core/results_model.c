/* Of which model a cell is. */
#include "results.h"

#include <string.h>

void ptq_cell_model_config(const struct ptq_cell *cell, char hex[PTQ_SHA256_HEX])
{
    static const char key[] = "\nmodel_config=";
    const char *line = strstr(cell->config, key), *value = line ? line + sizeof key - 1 : "";
    size_t length = strcspn(value, "\n");
    int is_one = ptq_is_sha256(value, length);
    if (is_one) memcpy(hex, value, length);
    hex[is_one ? length : 0] = 0;
}

int ptq_same_model(const struct ptq_cell *a, const struct ptq_cell *b)
{
    char config[2][PTQ_SHA256_HEX];
    if (strcmp(a->model_sha256, b->model_sha256)) return 0;
    ptq_cell_model_config(a, config[0]);
    ptq_cell_model_config(b, config[1]);
    return strcmp(config[0], config[1]) == 0;
}

int ptq_same_task(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return strcmp(a->tokens_sha256, b->tokens_sha256) == 0 && ptq_same_model(a, b);
}
