/* Which input channels of a linear are salient: one choice for the methods that treat a few channels apart. */
#ifndef PTQ_CHANNELS_H
#define PTQ_CHANNELS_H

#include "method.h"

/* The parameter `select`, in the order of its words. */
enum ptq_select { PTQ_SELECT_ACTIVATION, PTQ_SELECT_WEIGHT, PTQ_SELECT_RANDOM };
#define PTQ_SELECT_PARAM                                                                                               \
    .name = "select", .words = "activation|weight|random", .max = 2, .doc = "what tells a channel's importance"

/* PTQ_NEED_* of a spec that has `select`. */
unsigned ptq_channels_need(const struct ptq_spec *spec);

/* The max(1, rint(fraction K)) channels of largest importance by spec's `select` and `fraction`; of equal ones the
 * first. *channel [*n], ascending, in arena. An importance that is not finite is PTQ_ENUMERIC. */
enum ptq_status ptq_channels_choose(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                    int32_t **channel, int64_t *n, struct ptq_error *err);

#endif
