/* The CUDA execution model on the host, as much of it as our kernels use, so that every .cu runs without a device,
 * under AddressSanitizer and UndefinedBehaviorSanitizer. nvidia/model.cuh has the same names over the real thing; a .cu
 * includes "model.cuh" and the build says which.
 *
 * What is modelled: grids of blocks of threads, one block after the other in a shuffled order; a thread is a fiber that
 * runs until it waits (__syncthreads, a warp collective) or ends. Who is next is drawn anew at each step, or, in most
 * blocks, by ranks of threads or warps, which starves the last: so a missing barrier shows as a wrong or changing
 * result. Shared memory is taken anew for each block, as large as was asked for (no larger than every device from sm_80
 * on has it, but for kernels that do what sm_90 alone can), and full of NaN. An asynchronous
 * copy is done when it is waited for, and its target is NaN until then. So are products of a warpgroup (ptq_wgmma):
 * what they read is looked at no sooner than when they are waited for.
 * What is not: time, caches, memory orders between blocks, what a shuffle leaves unordered, more than one stream.
 *
 * What is recorded (device.h) is kept as it was called, arguments by value, and done when it is replayed: a number of
 * the host's that changes between two replays is as stale here as in a graph.
 *
 * A deadlock, a barrier that some threads never reach and a collective with lanes missing end the process with a
 * sentence. */
#ifndef PTQ_MODEL_CUH
#define PTQ_MODEL_CUH

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <vector>

/* Both builds of a .cu may be in one program. */
#define ptq_cuda ptq_cuda_emulated

#define __global__ static
#define __device__
#define __host__
#define PTQ_UNROLL
#define PTQ_NO_UNROLL
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};

namespace emulated
{
/* LEAST_SHARED: bytes that a block may have on every device from sm_80 on (sm_86, sm_89 and sm_120 have no more). */
enum { WARP = 32, SLOT_BYTES = 32, LEAST_SHARED = 99 << 10 };

struct place {
    dim3 thread, block, threads, blocks;
};
extern place here;            /* of the thread that runs */
extern unsigned char *shared; /* of the block that runs */
extern size_t most_shared;    /* bytes of it, LEAST_SHARED unless a test wants less */

/* Does it, or keeps it where something is recorded. */
void later(const std::function<void()> &what);
/* Until the recording ends, later keeps; then what it kept. */
void begin_recording();
std::vector<std::function<void()>> end_recording();
/* Ends the process where something is recorded: `what` cannot be. */
void not_recorded(const char *what);

/* Runs body once for each thread of each block. shared_bytes: of each block. */
void run_grid(const char *name, dim3 blocks, dim3 threads, size_t shared_bytes, const std::function<void()> &body);

template <class Kernel, class Arguments>
void launch(const char *name, dim3 blocks, dim3 threads, size_t shared_bytes, Kernel kernel, const Arguments &arguments)
{
    later([=] { run_grid(name, blocks, threads, shared_bytes, [&] { std::apply(kernel, arguments); }); });
}
/* How threads and blocks are shuffled; the same seed gives the same order. */
void seed(uint64_t value);

/* A thread that was launched early must take its turn. */
void turn_is_due();
void take_turn();
void turn_was_taken();

void barrier();
/* Gives `bytes` of each lane of the warp to all its lanes: [WARP][SLOT_BYTES], valid until this lane's next one. */
const unsigned char *exchange(const void *mine, size_t bytes);
void copy_later(void *to, const void *from, size_t bytes, size_t valid);
void copy_commit();
void copy_wait(int pending);
/* d[64][n] += a[64][16] b[16][n] of a warpgroup; n / 2 of d's values and 4 words of a are this lane's. */
void product_later(float *d, const uint32_t *a, const void *b, int n);
void product_commit();
/* The product, now; b: from the start of shared memory. All lanes of the warp take part. */
void multiply(float *d, const uint32_t *a, size_t b, int n);
void barrier_init(const void *at, int arrivals);
void barrier_arrive(const void *at, size_t bytes);
void barrier_wait(const void *at, unsigned parity);
void copy_bulk(void *to, const void *from, size_t bytes, const void *at);
void product_wait(int pending);

template <class T> T lane_value(T mine, int lane)
{
    static_assert(sizeof(T) <= SLOT_BYTES, "a value of a lane fits into its slot");
    T out;
    memcpy(&out, exchange(&mine, sizeof mine) + lane * SLOT_BYTES, sizeof out);
    return out;
}
inline int lane()
{
    return (int)((here.thread.x + here.threads.x * (here.thread.y + here.threads.y * here.thread.z)) % WARP);
}
} // namespace emulated

#define threadIdx emulated::here.thread
#define blockIdx emulated::here.block
#define blockDim emulated::here.threads
#define gridDim emulated::here.blocks

/* kernel(arguments...) on a grid, with shared_bytes of shared memory a block. */
#define PTQ_LAUNCH(kernel, blocks, threads, shared_bytes, ...)                                                         \
    emulated::launch(                                                                                                  \
        #kernel, blocks, threads, shared_bytes, [](auto... arguments) { kernel(arguments...); },                       \
        std::make_tuple(__VA_ARGS__))

/* The same of a kernel that takes its turn (ptq_turn): its blocks may come while the kernel before still works. */
#define PTQ_LAUNCH_EARLY(kernel, blocks, threads, shared_bytes, ...)                                                   \
    emulated::launch(                                                                                                  \
        #kernel, blocks, threads, shared_bytes,                                                                        \
        [](auto... arguments) {                                                                                        \
            emulated::turn_is_due();                                                                                   \
            kernel(arguments...);                                                                                      \
            emulated::turn_was_taken();                                                                                \
        },                                                                                                             \
        std::make_tuple(__VA_ARGS__))

/* Waits for the kernel before, then lets the blocks of the next one come. Before it a kernel may read what no kernel
 * since the one before the last has written, and write nothing. */
static inline void ptq_turn()
{
    emulated::take_turn();
}

/* The same the other way round, for a small kernel between two products: the next product brings its weights while the
 * one before still ends. The kernel that follows may before its turn read only what none of them ever writes. */
static inline void ptq_turn_aside()
{
    emulated::take_turn();
}

/* The block's shared memory. */
template <class T> T *ptq_shared()
{
    return reinterpret_cast<T *>(emulated::shared);
}

static inline void __syncthreads()
{
    emulated::barrier();
}
static inline void __syncwarp()
{
    char nothing = 0;
    emulated::exchange(&nothing, 1);
}

/* Of all 32 lanes: every kernel of ours keeps its warps whole. */
template <class T> T ptq_shuffle(T value, int lane)
{
    return emulated::lane_value(value, lane & 31);
}
template <class T> T ptq_shuffle_xor(T value, int mask)
{
    return emulated::lane_value(value, emulated::lane() ^ mask);
}

template <class T> void ptq_atomic_add(T *to, T value)
{
    *to += value;
}
static inline void ptq_atomic_max(unsigned *to, unsigned value)
{
    if (value > *to) *to = value;
}
static inline unsigned ptq_float_bits(float value)
{
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
/* One more; the count before, which becomes 0 again behind `last`. */
static inline unsigned ptq_atomic_count(unsigned *counter, unsigned last)
{
    unsigned before = *counter;
    *counter = before >= last ? 0 : before + 1;
    return before;
}
/* A load of what is read once: it is not to push out of the caches what is read again. */
static inline uint4 ptq_stream_load(const uint4 *from)
{
    return *from;
}
/* sum + the two halves of x, signed, times two bytes of codes, unsigned: the lower or the upper ones. */
static inline int32_t ptq_dp2a_low(uint32_t x, uint32_t codes, int32_t sum)
{
    return sum + (int16_t)x * (int32_t)(codes & 255) + (int16_t)(x >> 16) * (int32_t)(codes >> 8 & 255);
}
static inline int32_t ptq_dp2a_high(uint32_t x, uint32_t codes, int32_t sum)
{
    return ptq_dp2a_low(x, codes >> 16, sum);
}
/* What this thread wrote before is seen by whoever sees what it writes behind. */
static inline void ptq_fence()
{
}

/* 16 bytes to shared memory on their way; the bytes from `valid` on become 0. */
static inline void ptq_copy_async16(void *to, const void *from, int valid)
{
    emulated::copy_later(to, from, 16, (size_t)valid);
}
static inline void ptq_copy_async16(void *to, const void *from)
{
    ptq_copy_async16(to, from, 16);
}
static inline void ptq_copy_async4(void *to, const void *from)
{
    emulated::copy_later(to, from, 4, 4);
}
static inline void ptq_copy_commit()
{
    emulated::copy_commit();
}
/* Until at most PENDING of this thread's committed copies are under way. */
template <int PENDING> void ptq_copy_wait()
{
    emulated::copy_wait(PENDING);
}

template <class T> void ptq_keep(T &)
{
}
static inline uint32_t ptq_rotate(uint32_t x, int left) /* by 0 to 31 bits */
{
    return left ? x << left | x >> (32 - left) : x;
}

/* Two FP16 values side by side, the first in the low half; arithmetic rounds each result once. */
struct ptq_half2 {
    uint32_t bits;
};
float ptq_half_to_float(uint16_t half);
uint16_t ptq_float_to_half(float value);

static inline ptq_half2 ptq_half2_fma(ptq_half2 a, ptq_half2 b, ptq_half2 c)
{
    uint32_t out = 0;
    for (int i = 0; i < 32; i += 16) {
        float x = ptq_half_to_float((uint16_t)(a.bits >> i)), y = ptq_half_to_float((uint16_t)(b.bits >> i));
        float z = ptq_half_to_float((uint16_t)(c.bits >> i));
        out |= (uint32_t)ptq_float_to_half(x * y + z) << i; /* x y has 22 bits: exact in float32 */
    }
    return ptq_half2{out};
}
static inline ptq_half2 ptq_half2_sub(ptq_half2 a, ptq_half2 b)
{
    uint32_t out = 0;
    for (int i = 0; i < 32; i += 16)
        out |= (uint32_t)ptq_float_to_half(ptq_half_to_float((uint16_t)(a.bits >> i)) -
                                           ptq_half_to_float((uint16_t)(b.bits >> i)))
               << i;
    return ptq_half2{out};
}

/* (a & mask) | bits */
static inline uint32_t ptq_and_or(uint32_t a, uint32_t mask, uint32_t bits)
{
    return (a & mask) | bits;
}

/* d[16][8] += a[16][16] b[16][8] of a warp: FP16 products, float32 sums (mma.m16n8k16). Lane l = 4 r + c holds
 *   a: rows r and r + 8, columns 2c, 2c + 1 and 2c + 8, 2c + 9 (a[0] r 2c, a[1] r+8 2c, a[2] r 2c+8, a[3] r+8 2c+8)
 *   b: rows 2c, 2c + 1 (b[0]) and 2c + 8, 2c + 9 (b[1]) of column r
 *   d: d[0], d[1] row r, columns 2c, 2c + 1; d[2], d[3] row r + 8 */
void ptq_mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

/* Of a warpgroup, four warps that begin at a multiple of four: d[64][N] += a[64][16] b[16][N], under way until it is
 * waited for. Warp w has rows 16 w .. 16 w + 15 of a and d: a as above, d[4 j + i] as d[i] above of columns 8 j .. 8 j
 * +
 * 7. b: N rows of 128 bytes, 64 FP16 values, from a multiple of 1024 bytes of shared memory on, where the 16-byte
 * piece p of row n stands at p ^ n % 8; of each row (a column of b) the 32 bytes from `offset` on. */
struct ptq_operand {
    const unsigned char *at;
};
static inline struct ptq_operand ptq_operand_at(const void *shared)
{
    return ptq_operand{static_cast<const unsigned char *>(shared)};
}
template <int N> void ptq_wgmma(float (&d)[N / 2], const uint32_t (&a)[4], struct ptq_operand b, int offset)
{
    emulated::product_later(d, a, b.at + offset, N);
}
/* Before the first one, and wherever a or d were written since. */
static inline void ptq_wgmma_fence()
{
}
static inline void ptq_wgmma_commit()
{
    emulated::product_commit();
}
/* Until at most PENDING of this thread's committed products are under way. */
template <int PENDING> void ptq_wgmma_wait()
{
    emulated::product_wait(PENDING);
}
/* Until all of those into d are done: before d is read or written. */
template <int SIZE> void ptq_wgmma_finish(float (&d)[SIZE])
{
    (void)d;
    emulated::product_wait(0);
}
/* A barrier in shared memory: a phase ends when `arrivals` threads have arrived and the bytes that they announced have
 * been copied. The phases have parities 0, 1, 0 and so on. */
static inline void ptq_barrier_init(uint64_t *barrier, int arrivals)
{
    emulated::barrier_init(barrier, arrivals);
}
/* Of the thread that made them, before __syncthreads(). */
static inline void ptq_barriers_ready()
{
}
/* Arrives, and announces bytes. */
static inline void ptq_barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    emulated::barrier_arrive(barrier, bytes);
}
static inline void ptq_barrier_arrive(uint64_t *barrier)
{
    emulated::barrier_arrive(barrier, 0);
}
/* Until the phase of that parity is over. */
static inline void ptq_barrier_wait(uint64_t *barrier, uint32_t parity)
{
    emulated::barrier_wait(barrier, parity);
}
/* bytes (a multiple of 16, as is where they are) to shared memory on their way, which the barrier counts. */
static inline void ptq_copy_bulk(void *to, const void *from, uint32_t bytes, uint64_t *barrier)
{
    emulated::copy_bulk(to, from, bytes, barrier);
}
/* 1 / x to 2^-23, of a normal number up to 2^126. */
static inline float ptq_reciprocal(float x)
{
    return 1 / x;
}

#endif
