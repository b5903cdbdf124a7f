#include "model.cuh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <sys/mman.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define PTQ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PTQ_ASAN 1
#endif
#endif
#ifndef PTQ_ASAN
#define PTQ_ASAN 0
#endif
#if PTQ_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

/* Stores where this stack stands in *save and goes on at `to`. By hand, because swapcontext asks the kernel for the
 * signal mask each time, which made the tests seven times slower. */
extern "C" void ptq_emulated_switch(void **save, void *to);
#ifndef __x86_64__
#error "the emulated device switches stacks by x86-64 code; add ptq_emulated_switch for this processor"
#endif
asm(R"(
    .text
    .globl ptq_emulated_switch
    .type ptq_emulated_switch, @function
ptq_emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size ptq_emulated_switch, .-ptq_emulated_switch
)");

namespace emulated
{
place here;
unsigned char *shared;
size_t most_shared = LEAST_SHARED;

namespace
{
enum { STACK_BYTES = 256 << 10, MAX_THREADS = 1024 };
enum state { READY, AT_BARRIER, IN_WARP, AT_PHASE, DONE };

/* Who goes first, of a block; half of them rank whole warps. Where each step draws anew, all threads come forward about
 * alike, and what goes wrong only when one of them lags far behind does not go wrong; so there are ranks. */
enum order { FAIR, BY_THREADS, BY_WARPS, BY_WARPS_TOO, N_ORDERS };
enum { OBEYED = 64 /* ranks are, but for one step of so many */ };

struct copy {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes, valid;
    int group; /* committed as the group'th, or -1 */
};

struct mma {
    float *d;
    const uint32_t *a;
    size_t b; /* from the start of shared memory */
    int n, group;
};

struct fiber {
    unsigned char *stack;
    void *top;        /* where it stands while it does not run */
    void *fake_stack; /* AddressSanitizer's */
    state now;
    dim3 index;
    int warp, lane;
    int rank;             /* the least goes first, unless the order is fair */
    const void *awaited;  /* the barrier, while AT_PHASE */
    unsigned collectives; /* how many of its warp it took part in */
    std::vector<copy> copies;
    int groups;
    std::vector<mma> products;
    int product_groups;
    bool turn_due;
};

/* Two sets of slots: a lane that is a collective ahead must not write what another still reads. */
struct warp {
    int size, arrived;
    unsigned char slot[2][WARP][SLOT_BYTES];
};

/* In shared memory; where it is stands for it. */
struct phases {
    int arrivals, missing;
    long bytes; /* announced and not copied; a copy may come before its announcement */
    unsigned parity;
};

struct bulk {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
    const void *at;
};

struct block {
    const char *name;
    const std::function<void()> *body;
    std::vector<warp> warps;
    order who;
    int by_rank[MAX_THREADS];
    uint64_t ready[MAX_THREADS / 64]; /* bits, by rank */
    int threads, alive, waiting, n_ready;
    std::map<const void *, phases> barriers;
    std::vector<bulk> bulks;
    bool is_sm_90; /* it did what no device before can */
};

std::vector<fiber> fibers;
block now;
fiber *self;
void *scheduler; /* its stack, while a fiber runs */
uint64_t random_state = 1;
#if PTQ_ASAN
void *scheduler_fake;
const void *scheduler_bottom;
size_t scheduler_size;
#endif

uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint64_t)((unsigned __int128)random_state * below >> 64);
}

[[noreturn]] void broken(const char *what)
{
    fprintf(stderr, "emulated CUDA: %s, block (%u, %u, %u): %s\n", now.name, here.block.x, here.block.y, here.block.z,
            what);
    abort();
}

/* ---- switching ---- */

void to_scheduler(bool ends)
{
    fiber *mine = self;
#if PTQ_ASAN
    __sanitizer_start_switch_fiber(ends ? nullptr : &mine->fake_stack, scheduler_bottom, scheduler_size);
#else
    (void)ends;
#endif
    ptq_emulated_switch(&mine->top, scheduler);
#if PTQ_ASAN
    __sanitizer_finish_switch_fiber(mine->fake_stack, nullptr, nullptr);
#endif
}

void begin_fiber()
{
#if PTQ_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
    (*now.body)();
    self->now = DONE;
    to_scheduler(true);
}

void run(fiber *f)
{
    self = f;
    here.thread = f->index;
#if PTQ_ASAN
    __sanitizer_start_switch_fiber(&scheduler_fake, f->stack, STACK_BYTES);
#endif
    ptq_emulated_switch(&scheduler, f->top);
#if PTQ_ASAN
    __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#endif
}

void wait_as(state what)
{
    self->now = what;
    to_scheduler(false);
}

void wake(int i)
{
    fiber *f = &fibers[(size_t)i];
    f->now = READY;
    now.ready[f->rank / 64] |= (uint64_t)1 << f->rank % 64;
    now.n_ready++;
}

/* Lets others go first, if they are to. */
void step_aside()
{
    wake((int)(self - fibers.data()));
    to_scheduler(false);
}

/* The first one that is ready from a rank on, and around. */
fiber *take_next()
{
    int from = now.who == FAIR || !draw(OBEYED) ? (int)draw((uint64_t)now.threads) : 0, word = from / 64;
    uint64_t bits = now.ready[word] & ~(uint64_t)0 << from % 64;
    while (!bits) {
        word = word < (now.threads - 1) / 64 ? word + 1 : 0;
        bits = now.ready[word];
    }
    int bit = __builtin_ctzll(bits);
    now.ready[word] ^= (uint64_t)1 << bit;
    now.n_ready--;
    return &fibers[(size_t)now.by_rank[word * 64 + bit]];
}

void shuffle(int *x, int n)
{
    for (int i = n; i > 1; i--) std::swap(x[i - 1], x[draw((uint64_t)i)]);
}

void rank_threads()
{
    int n = now.threads, warps = (n + WARP - 1) / WARP, rank = 0, warp_at[MAX_THREADS / WARP];
    for (int i = 0; i < warps; i++) warp_at[i] = i;
    shuffle(warp_at, warps);
    for (int i = 0; i < warps; i++) {
        int first = (int)draw(WARP);
        for (int lane = 0; lane < WARP; lane++) {
            int thread = warp_at[i] * WARP + (first + lane) % WARP;
            if (thread < n) now.by_rank[rank++] = thread;
        }
    }
    if (now.who < BY_WARPS) shuffle(now.by_rank, n);
    for (int i = 0; i < n; i++) fibers[(size_t)now.by_rank[i]].rank = i;
}

/* ---- a block ---- */

void make_fiber(fiber *f, int i, dim3 threads)
{
    unsigned n = (unsigned)i;
    f->index = dim3(n % threads.x, n / threads.x % threads.y, n / threads.x / threads.y);
    f->now = READY;
    f->warp = i / WARP;
    f->lane = i % WARP;
    f->collectives = 0;
    f->copies.clear();
    f->groups = 0;
    f->products.clear();
    f->product_groups = 0;
    f->turn_due = false;
    f->fake_stack = nullptr;
    /* as if begin_fiber had been called from nowhere: six registers, its address, and no way back */
    void **top = reinterpret_cast<void **>(f->stack + STACK_BYTES) - 8;
    std::fill(top, top + 8, nullptr);
    top[6] = reinterpret_cast<void *>(begin_fiber);
    f->top = top;
}

void take_fibers(size_t n)
{
    while (fibers.size() < n) {
        void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) broken("no memory for a thread's stack");
        fibers.emplace_back();
        fibers.back().stack = static_cast<unsigned char *>(stack);
    }
}

void run_block(dim3 threads)
{
    int n = now.threads;
    now.alive = n;
    now.waiting = 0;
    now.barriers.clear();
    now.bulks.clear();
    now.who = (order)draw(N_ORDERS);
    rank_threads();
    now.warps.assign((size_t)((n + WARP - 1) / WARP), warp());
    for (int i = 0; i < n; i++) {
        make_fiber(&fibers[(size_t)i], i, threads);
        now.warps[(size_t)(i / WARP)].size++;
        wake(i);
    }
    while (now.n_ready) {
        fiber *f = take_next();
        run(f);
        if (f->now != DONE) continue;
        now.alive--;
        if (!f->copies.empty()) broken("a thread ends with asynchronous copies under way");
        if (!f->products.empty()) broken("a thread ends with products under way");
        if (now.waiting) broken("a thread ended while others wait at __syncthreads");
    }
    if (!now.bulks.empty()) broken("a block ends with copies under way");
    if (now.alive) broken("threads wait for lanes of their warp, or for a barrier, that never come");
}
} // namespace

void seed(uint64_t value)
{
    random_state = value * 0x9e3779b97f4a7c15u | 1;
}

void run_grid(const char *name, dim3 blocks, dim3 threads, size_t shared_bytes, const std::function<void()> &body)
{
    size_t n = (size_t)threads.x * threads.y * threads.z, count = (size_t)blocks.x * blocks.y * blocks.z;
    now.name = name;
    now.body = &body;
    now.threads = (int)n;
    here = place{dim3(), dim3(), threads, blocks};
    if (!n || n > MAX_THREADS) broken("1 to 1024 threads make a block");
    if (!count || blocks.y > 65535 || blocks.z > 65535) broken("a grid of no blocks, or of too many");
    if (shared_bytes > 227u << 10) broken("more shared memory than a block can have");
    now.is_sm_90 = false;
    take_fibers(n);
    std::vector<size_t> order(count);
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t i = count; i > 1; i--) std::swap(order[i - 1], order[draw(i)]);
    for (size_t b : order) {
        /* of the very size, so that AddressSanitizer sees who writes past it */
        std::unique_ptr<unsigned char[]> bytes(new unsigned char[shared_bytes]);
        memset(bytes.get(), 0xff, shared_bytes);
        shared = bytes.get();
        here.block =
            dim3((unsigned)(b % blocks.x), (unsigned)(b / blocks.x % blocks.y), (unsigned)(b / blocks.x / blocks.y));
        run_block(threads);
    }
    if (shared_bytes > most_shared && !now.is_sm_90) broken("more shared memory than every device gives a block");
    shared = nullptr;
}

void turn_is_due()
{
    self->turn_due = true;
}

void take_turn()
{
    self->turn_due = false;
}

void turn_was_taken()
{
    if (self->turn_due) broken("launched early, and a thread ends without its turn");
}

void barrier()
{
    if (++now.waiting < now.alive) {
        wait_as(AT_BARRIER);
        return;
    }
    now.waiting = 0;
    for (int i = 0; i < now.threads; i++)
        if (fibers[(size_t)i].now == AT_BARRIER) wake(i);
    step_aside(); /* whoever comes last has no right to go first */
}

const unsigned char *exchange(const void *mine, size_t bytes)
{
    warp *w = &now.warps[(size_t)self->warp];
    unsigned char(*slot)[SLOT_BYTES] = w->slot[self->collectives++ & 1];
    memcpy(slot[self->lane], mine, bytes);
    if (++w->arrived < w->size) {
        wait_as(IN_WARP);
    } else {
        w->arrived = 0;
        for (int i = self->warp * WARP; i < self->warp * WARP + w->size; i++)
            if (fibers[(size_t)i].now == IN_WARP) wake(i);
        step_aside();
    }
    return slot[0];
}

namespace
{
phases *barrier_at(const void *at)
{
    auto found = now.barriers.find(at);
    if (found == now.barriers.end()) broken("a barrier was not made");
    return &found->second;
}

void wake_waiting(const void *at)
{
    for (int i = 0; i < now.threads; i++)
        if (fibers[(size_t)i].now == AT_PHASE && fibers[(size_t)i].awaited == at) wake(i);
}

void moved(const void *at, phases *p)
{
    if (p->missing < 0) broken("more threads arrive at a barrier than it is for");
    if (p->missing || p->bytes) return;
    p->missing = p->arrivals;
    p->parity ^= 1;
    wake_waiting(at);
}

/* One of the copies that the barrier counts, any; false: there is none. */
bool complete_one(const void *at)
{
    std::vector<size_t> of_it;
    for (size_t i = 0; i < now.bulks.size(); i++)
        if (now.bulks[i].at == at) of_it.push_back(i);
    if (of_it.empty()) return false;
    size_t pick = of_it[(size_t)draw(of_it.size())];
    bulk b = now.bulks[pick];
    now.bulks.erase(now.bulks.begin() + (long)pick);
    memcpy(b.to, b.from, b.bytes);
    phases *p = barrier_at(at);
    p->bytes -= (long)b.bytes;
    moved(at, p);
    return true;
}
} // namespace

void barrier_init(const void *at, int arrivals)
{
    now.is_sm_90 = true;
    now.barriers[at] = phases{arrivals, arrivals, 0, 0};
}

void barrier_arrive(const void *at, size_t bytes)
{
    phases *p = barrier_at(at);
    p->bytes += (long)bytes;
    p->missing--;
    moved(at, p);
}

void barrier_wait(const void *at, unsigned parity)
{
    phases *p = barrier_at(at);
    while (p->parity == parity) {
        if (complete_one(at)) continue;
        self->awaited = at;
        wait_as(AT_PHASE);
    }
}

void copy_bulk(void *to, const void *from, size_t bytes, const void *at)
{
    if (((uintptr_t)to | (uintptr_t)from | bytes) % 16) broken("a copy is not aligned");
    memset(to, 0xff, bytes);
    now.bulks.push_back(bulk{static_cast<unsigned char *>(to), static_cast<const unsigned char *>(from), bytes, at});
    wake_waiting(at); /* who waits brings it */
}

void copy_later(void *to, const void *from, size_t bytes, size_t valid)
{
    if ((uintptr_t)to % bytes || (valid && (uintptr_t)from % bytes)) broken("an asynchronous copy is not aligned");
    memset(to, 0xff, bytes);
    self->copies.push_back(
        copy{static_cast<unsigned char *>(to), static_cast<const unsigned char *>(from), bytes, valid, -1});
}

void copy_commit()
{
    for (copy &c : self->copies)
        if (c.group < 0) c.group = self->groups;
    self->groups++;
}

void copy_wait(int pending)
{
    std::vector<copy> left;
    for (const copy &c : self->copies) {
        if (c.group < 0 || c.group >= self->groups - pending) {
            left.push_back(c);
            continue;
        }
        memcpy(c.to, c.from, c.valid);
        memset(c.to + c.valid, 0, c.bytes - c.valid);
    }
    self->copies.swap(left);
}

void product_later(float *d, const uint32_t *a, const void *b, int n)
{
    size_t at = (size_t)(static_cast<const unsigned char *>(b) - shared);
    if (now.threads % 128) broken("a product wants whole warpgroups");
    if (at % 1024 % 32 || at % 1024 >= 128) broken("the shared operand of a product is not aligned");
    self->products.push_back(mma{d, a, at, n, -1});
}

void product_commit()
{
    for (mma &p : self->products)
        if (p.group < 0) p.group = self->product_groups;
    self->product_groups++;
}

void product_wait(int pending)
{
    std::vector<mma> left;
    for (const mma &p : self->products) {
        if (p.group < 0 || p.group >= self->product_groups - pending)
            left.push_back(p);
        else
            multiply(p.d, p.a, p.b, p.n);
    }
    self->products.swap(left);
    /* PTX of wgmma.wait_group, the .sync that it must have: the thread goes on when all threads of the warp have come
     * to the same instruction. So what one lane does behind it (an arrival for its warp) is behind all its lanes'
     * products. wgmma's other instructions are .sync, too; no kernel of ours relies on it, and here their lanes go on
     * by themselves. mbarrier.arrive, try_wait and cp.async.bulk have no .sync: each is one thread's, here as there. */
    exchange("", 1);
}
} // namespace emulated

extern "C" void ptq_cuda_emulated_seed(uint64_t seed)
{
    emulated::seed(seed);
}

extern "C" void ptq_cuda_emulated_shared(size_t bytes)
{
    emulated::most_shared = bytes ? bytes : (size_t)emulated::LEAST_SHARED;
}
