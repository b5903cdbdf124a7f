/* Presets: published settings of a method under one name, as the SPEC key preset=NAME. */
#ifndef PTQ_PRESET_H
#define PTQ_PRESET_H

#include "status.h"
#include "tokens.h"

struct ptq_preset {
    const char *name, *method;
    const char *items;      /* what it sets, as SPEC text after the colon; keys that the SPEC gives itself win */
    enum ptq_sample sample; /* what calib.sample=auto then is */
    const char *doc;        /* whose setting it is */
};

/* All of them, ended by a NULL name. */
extern const struct ptq_preset ptq_presets[];

/* The preset called name. Fails with PTQ_EUSAGE where there is none (with the nearest), or it is of another method. */
enum ptq_status ptq_preset_find(const char *name, const char *method, const struct ptq_preset **out,
                                struct ptq_error *err);
/* 1 where a method has presets. */
int ptq_preset_any(const char *method);

#endif
