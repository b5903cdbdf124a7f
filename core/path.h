/* How the linears of a quantised model are computed: --path, a sweep's key path, a cell's field path. One line a path:
 * its name everywhere; bits of the integers that activations become, 0 where codes are dequantised; whether a device
 * has it; what it is. */
#ifndef PTQ_PATH_H
#define PTQ_PATH_H

#define PTQ_PATHS(X)                                                                                                   \
    X(PTQ_PATH_FP32, "fp32", 0, 1, "codes dequantised, computed in float32")                                           \
    X(PTQ_PATH_PACKED, "packed", 16, 1, "codes as they are packed, activations of 16 bits")                            \
    X(PTQ_PATH_PACKED_INT8, "packed-int8", 8, 0, "the same with activations of 8 bits: fast, not for published numbers")

#define PTQ_PATH_ID(id, name, act_bits, device, doc) id,
enum ptq_path { PTQ_PATHS(PTQ_PATH_ID) PTQ_N_PATHS };

struct ptq_path_kind {
    const char *name;
    int act_bits, on_device;
    const char *doc;
};
extern const struct ptq_path_kind ptq_paths[PTQ_N_PATHS];

/* The names, for tables of constants: {"fp32", "packed", ..}; "one of fp32 packed .."; "fp32|packed|..". */
#define PTQ_PATH_NAME(id, name, act_bits, device, doc) name,
#define PTQ_PATH_WORD(id, name, act_bits, device, doc) " " name
#define PTQ_PATH_WORDS "one of" PTQ_PATHS(PTQ_PATH_WORD)
#define PTQ_PATH_CHOICE(id, name, act_bits, device, doc) "|" name
#define PTQ_PATH_CHOICES &(PTQ_PATHS(PTQ_PATH_CHOICE))[1]
/* "fp32: codes dequantised ..; packed: .. [fallback]", for help. */
#define PTQ_PATH_LINE(id, name, act_bits, device, doc) "; " name ": " doc
#define PTQ_PATH_HELP(fallback) &(PTQ_PATHS(PTQ_PATH_LINE) " [" fallback "]")[2]

/* An enum ptq_path by its name; -1 where this build knows no such path, or name is NULL. */
int ptq_path_find(const char *name);
/* Of a cell's: act_bits, 0 where this build does not know the path. */
int ptq_path_act_bits(const char *name);
/* 1 where activations lose more than in FP16: what is measured by such a path is not of the quantised weights alone. */
int ptq_path_is_coarse(const char *name);

#endif
