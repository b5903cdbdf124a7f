/* Arenas: memory that is given back all at once. Three lifetimes exist: run, block (rewound per decoder block) and
 * scratch (mark and rewind inside a function). Who makes an arena frees it; who is handed one only takes from it.
 *
 * Memory that cannot be had ends the process with one sentence that says who asked for how much: a run is one process,
 * and finished cells are on disk already. */
#ifndef PTQ_ARENA_H
#define PTQ_ARENA_H

#include <stddef.h>

struct ptq_arena;

/* Where an arena stood; see ptq_arena_mark. */
struct ptq_mark {
    size_t chunks, used;
    void *deferred;
};

/* name is static storage, used in the out-of-memory sentence. */
struct ptq_arena *ptq_arena_make(const char *name);
void ptq_arena_free(struct ptq_arena *arena); /* NULL is fine */

/* bytes of zeroed memory, aligned to 64; what says what for (static storage). Never NULL. */
void *ptq_alloc(struct ptq_arena *arena, size_t bytes, const char *what);
/* count * size, checked. */
void *ptq_alloc_array(struct ptq_arena *arena, size_t count, size_t size, const char *what);
#define ptq_new(arena, type, count) ((type *)ptq_alloc_array((arena), (size_t)(count), sizeof(type), #type))

char *ptq_strdup(struct ptq_arena *arena, const char *text);
char *ptq_strndup(struct ptq_arena *arena, const char *text, size_t length);
char *ptq_format(struct ptq_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Everything taken after the mark is given back by the rewind. */
struct ptq_mark ptq_arena_mark(const struct ptq_arena *arena);
void ptq_arena_rewind(struct ptq_arena *arena, struct ptq_mark mark);
/* call(context) when what the arena holds now is given back, before the memory is; the last first. For what an arena
 * cannot hold itself: memory of a device. */
void ptq_arena_defer(struct ptq_arena *arena, void (*call)(void *context), void *context);

/* What a child finds out for its parent. The parent's ptq_arena_share puts `bytes` in the arena that it and children
 * forked from then on have in common, at one address: 0 where the system has none. What the child takes from the arena
 * comes from there, and ptq_arena_shared says how much that was, 0 where it wanted more than is there. With
 * ptq_arena_keep the parent takes that much over and gives the rest back; 1 where it holds *data. Otherwise a rewind
 * gives back all. */
int ptq_arena_share(struct ptq_arena *arena, size_t bytes);
size_t ptq_arena_shared(const struct ptq_arena *arena);
int ptq_arena_keep(struct ptq_arena *arena, size_t used, const void *data, size_t bytes);

/* For growing arrays outside arenas; ends the process like ptq_alloc. */
void *ptq_realloc(void *old, size_t count, size_t size, const char *what);
/* For who has told, or tells otherwise: call(bytes) in place of the sentence; it does not return. */
void ptq_on_out_of_memory(void (*call)(size_t bytes));
void ptq_out_of_memory(size_t bytes, const char *who, const char *what) __attribute__((noreturn));

#endif
