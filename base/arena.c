#include "arena.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Under AddressSanitizer every piece that is handed out has poisoned bytes behind it, and what is not handed out is
 * poisoned, so that a step beyond an array in an arena is as visible as one beyond malloc's. */
#if defined(__SANITIZE_ADDRESS__)
#define PTQ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PTQ_ASAN 1
#endif
#endif
#ifdef PTQ_ASAN
#include <sanitizer/asan_interface.h>
enum { GAP_BYTES = 64 };
#else
enum { GAP_BYTES = 0 };
#define ASAN_POISON_MEMORY_REGION(data, size) ((void)(data), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(data, size) ((void)(data), (void)(size))
#endif

/* Chunks of HUGE_FROM bytes and more come from mmap and ask for huge pages: one page fault gives 2 MiB in place of 4
 * KiB, by the thread that touches them first, and what was never handed out is 0 already. */
enum { ALIGNMENT = 64, CHUNK_BYTES = 1 << 18, HUGE_FROM = 1 << 23 };

struct chunk {
    unsigned char *data;
    size_t size, used;
    size_t dirty; /* bytes from the start that may not be 0 */
    int mapped, shared;
};

/* A call to come, in the arena itself. */
struct deferred {
    struct deferred *before;
    void (*call)(void *context);
    void *context;
};

struct ptq_arena {
    const char *name;
    struct chunk *chunk;
    struct deferred *deferred; /* the last */
    size_t n_chunks, room;
};

static void (*instead)(size_t bytes);

void ptq_on_out_of_memory(void (*call)(size_t bytes))
{
    instead = call;
}

void ptq_out_of_memory(size_t bytes, const char *who, const char *what)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char text[400];
    if (instead) instead(bytes);
    /* Once, and by no way that may want memory itself. What is open stays as it is: nothing has its final name before
     * it is whole, and libraries that are in the middle of something must not be asked to close it. */
    int length =
        snprintf(text, sizeof text,
                 "ptq: out of memory: %s asked for %zu bytes (%.1f MiB) for %s; use fewer windows or a smaller model\n",
                 who, bytes, (double)bytes / 1048576.0, what);
    if (length > (int)sizeof text - 1) length = (int)sizeof text - 1;
    if (!atomic_flag_test_and_set(&said) && write(STDERR_FILENO, text, (size_t)length) < 0) _exit(1);
    _exit(1);
}

void *ptq_realloc(void *old, size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) ptq_out_of_memory(SIZE_MAX, "a growing array", what);
    void *grown = realloc(old, bytes ? bytes : 1);
    if (!grown) ptq_out_of_memory(bytes, "a growing array", what);
    return grown;
}

struct ptq_arena *ptq_arena_make(const char *name)
{
    struct ptq_arena *arena = ptq_realloc(NULL, 1, sizeof *arena, "an arena");
    *arena = (struct ptq_arena){.name = name};
    return arena;
}

void ptq_arena_free(struct ptq_arena *arena)
{
    if (!arena) return;
    ptq_arena_rewind(arena, (struct ptq_mark){0});
    free(arena->chunk);
    free(arena);
}

static void make_room(struct ptq_arena *arena)
{
    if (arena->n_chunks < arena->room) return;
    arena->room = arena->room ? 2 * arena->room : 8;
    arena->chunk = ptq_realloc(arena->chunk, arena->room, sizeof *arena->chunk, "an arena's chunks");
}

static void add_chunk(struct ptq_arena *arena, size_t size, const char *what)
{
    make_room(arena);
    struct chunk chunk = {.size = size, .mapped = size >= HUGE_FROM};
    if (chunk.mapped) {
        void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) ptq_out_of_memory(size, arena->name, what);
        madvise(data, size, MADV_HUGEPAGE); /* a wish */
        chunk.data = data;
    } else {
        chunk.data = aligned_alloc(ALIGNMENT, size);
        if (!chunk.data) ptq_out_of_memory(size, arena->name, what);
        chunk.dirty = size;
    }
    ASAN_POISON_MEMORY_REGION(chunk.data, size);
    arena->chunk[arena->n_chunks++] = chunk;
}

static void drop_chunk(struct chunk *chunk)
{
    ASAN_UNPOISON_MEMORY_REGION(chunk->data, chunk->size);
    if (chunk->mapped)
        munmap(chunk->data, chunk->size);
    else
        free(chunk->data);
}

void *ptq_alloc(struct ptq_arena *arena, size_t bytes, const char *what)
{
    if (bytes > SIZE_MAX / 2) ptq_out_of_memory(bytes, arena->name, what);
    size_t need = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + GAP_BYTES;
    if (need == 0) need = ALIGNMENT;
    struct chunk *last = arena->n_chunks ? &arena->chunk[arena->n_chunks - 1] : NULL;
    if (!last || last->size - last->used < need) {
        add_chunk(arena, need > CHUNK_BYTES ? need : CHUNK_BYTES, what);
        last = &arena->chunk[arena->n_chunks - 1];
    }
    void *result = last->data + last->used;
    ASAN_UNPOISON_MEMORY_REGION(result, need);
    if (last->dirty > last->used) memset(result, 0, last->dirty - last->used < need ? last->dirty - last->used : need);
    ASAN_POISON_MEMORY_REGION((unsigned char *)result + bytes, need - bytes);
    last->used += need;
    if (last->dirty < last->used) last->dirty = last->used;
    return result;
}

void *ptq_alloc_array(struct ptq_arena *arena, size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) ptq_out_of_memory(SIZE_MAX, arena->name, what);
    return ptq_alloc(arena, bytes, what);
}

char *ptq_strndup(struct ptq_arena *arena, const char *text, size_t length)
{
    char *copy = ptq_alloc(arena, length + 1, "text");
    memcpy(copy, text, length);
    return copy;
}

char *ptq_strdup(struct ptq_arena *arena, const char *text)
{
    return ptq_strndup(arena, text, strlen(text));
}

char *ptq_format(struct ptq_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = ptq_alloc(arena, (size_t)(length < 0 ? 0 : length) + 1, "text");
    if (length > 0) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

struct ptq_mark ptq_arena_mark(const struct ptq_arena *arena)
{
    size_t n = arena->n_chunks;
    return (struct ptq_mark){.chunks = n, .used = n ? arena->chunk[n - 1].used : 0, .deferred = arena->deferred};
}

void ptq_arena_defer(struct ptq_arena *arena, void (*call)(void *context), void *context)
{
    struct deferred *d = ptq_new(arena, struct deferred, 1);
    *d = (struct deferred){.before = arena->deferred, .call = call, .context = context};
    arena->deferred = d;
}

void ptq_arena_rewind(struct ptq_arena *arena, struct ptq_mark mark)
{
    while (arena->deferred != mark.deferred) {
        struct deferred d = *arena->deferred;
        arena->deferred = d.before;
        d.call(d.context);
    }
    while (arena->n_chunks > mark.chunks) drop_chunk(&arena->chunk[--arena->n_chunks]);
    if (!mark.chunks) return;
    struct chunk *last = &arena->chunk[mark.chunks - 1];
    last->used = mark.used;
    ASAN_POISON_MEMORY_REGION(last->data + last->used, last->size - last->used);
}

/* ---- what a child finds out ---- */

int ptq_arena_share(struct ptq_arena *arena, size_t bytes)
{
    make_room(arena);
    /* NORESERVE: bytes is what may be wanted, and next to nothing of it is. */
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return 0;
    ASAN_POISON_MEMORY_REGION(data, bytes);
    arena->chunk[arena->n_chunks++] = (struct chunk){.data = data, .size = bytes, .mapped = 1, .shared = 1};
    return 1;
}

size_t ptq_arena_shared(const struct ptq_arena *arena)
{
    const struct chunk *last = &arena->chunk[arena->n_chunks - 1];
    return last->shared ? last->used : 0;
}

int ptq_arena_keep(struct ptq_arena *arena, size_t used, const void *data, size_t bytes)
{
    struct chunk *last = &arena->chunk[arena->n_chunks - 1];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (used + page - 1) / page * page;
    uintptr_t at = (uintptr_t)data, from = (uintptr_t)last->data;
    if (used > last->size || at < from || at - from > used || bytes > used - (at - from)) return 0;
    if (whole < last->size) munmap(last->data + whole, last->size - whole);
    last->size = last->used = last->dirty = whole < last->size ? whole : last->size;
    ASAN_UNPOISON_MEMORY_REGION(last->data, last->size);
    return 1;
}
