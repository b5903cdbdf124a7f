/* The names of emulated/model.cuh over CUDA: what our kernels use beyond the language itself. Compiled by nvcc alone,
 * for sm_80 and up. */
#ifndef PTQ_MODEL_CUH
#define PTQ_MODEL_CUH

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define PTQ_UNROLL _Pragma("unroll")
#define PTQ_NO_UNROLL _Pragma("unroll 1")

extern __shared__ __align__(1024) unsigned char ptq_shared_bytes[];

template <class T> __device__ __forceinline__ T *ptq_shared()
{
    return reinterpret_cast<T *>(ptq_shared_bytes);
}

namespace ptq_cuda
{
/* Notes the first failure; ptq_device's error() tells it. */
void note(cudaError_t status, const char *what);

/* All work is queued here, in order. It waits for the legacy stream and is waited for by it, so that libraries which
 * know no other are in order, too; and it can be recorded, which that one cannot. */
extern cudaStream_t stream;

/* A kernel may have 48 KiB of shared memory unless it asks. */
template <class Kernel> void allow_shared(Kernel kernel, size_t bytes)
{
    if (bytes > 48u << 10)
        note(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), "shared memory");
}
} // namespace ptq_cuda

#define PTQ_LAUNCH(kernel, blocks, threads, shared_bytes, ...)                                                         \
    do {                                                                                                               \
        ptq_cuda::allow_shared(kernel, shared_bytes);                                                                  \
        kernel<<<blocks, threads, shared_bytes, ptq_cuda::stream>>>(__VA_ARGS__);                                      \
        ptq_cuda::note(cudaGetLastError(), #kernel);                                                                   \
    } while (0)

namespace ptq_cuda
{
extern bool early; /* a kernel may begin while the one before still works: device and code are sm_90's or later */

template <class... Parameters, class... Arguments>
void launch_early(const char *name, void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared_bytes,
                  Arguments... arguments)
{
    cudaLaunchAttribute attribute = {};
    cudaLaunchConfig_t config = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = early;
    allow_shared(kernel, shared_bytes);
    note(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}
} // namespace ptq_cuda

/* The same of a kernel that takes its turn (ptq_turn): its blocks may come while the kernel before still works. */
#define PTQ_LAUNCH_EARLY(kernel, blocks, threads, shared_bytes, ...)                                                   \
    ptq_cuda::launch_early(#kernel, kernel, blocks, threads, shared_bytes, __VA_ARGS__)

/* Waits for the kernel before, then lets the blocks of the next one come. Before it a kernel may read what no kernel
 * since the one before the last has written, and write nothing. */
__device__ __forceinline__ void ptq_turn()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* The same the other way round, for a small kernel between two products: the next product brings its weights while the
 * one before still ends. The kernel that follows may before its turn read only what none of them ever writes. */
__device__ __forceinline__ void ptq_turn_aside()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <class T> __device__ __forceinline__ T ptq_shuffle(T value, int lane)
{
    return __shfl_sync(0xffffffffu, value, lane);
}
template <class T> __device__ __forceinline__ T ptq_shuffle_xor(T value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T> __device__ __forceinline__ void ptq_atomic_add(T *to, T value)
{
    atomicAdd(to, value);
}
__device__ __forceinline__ void ptq_atomic_max(unsigned *to, unsigned value)
{
    atomicMax(to, value);
}
__device__ __forceinline__ unsigned ptq_float_bits(float value)
{
    return __float_as_uint(value);
}

/* One more; the count before, which becomes 0 again behind `last`. */
__device__ __forceinline__ unsigned ptq_atomic_count(unsigned *counter, unsigned last)
{
    return atomicInc(counter, last);
}
/* A load of what is read once: it is not to push out of the caches what is read again. */
__device__ __forceinline__ uint4 ptq_stream_load(const uint4 *from)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}
/* sum + the two halves of x, signed, times two bytes of codes, unsigned: the lower or the upper ones. */
__device__ __forceinline__ int32_t ptq_dp2a_low(uint32_t x, uint32_t codes, int32_t sum)
{
    asm("dp2a.lo.s32.u32 %0, %1, %2, %0;" : "+r"(sum) : "r"(x), "r"(codes));
    return sum;
}
__device__ __forceinline__ int32_t ptq_dp2a_high(uint32_t x, uint32_t codes, int32_t sum)
{
    asm("dp2a.hi.s32.u32 %0, %1, %2, %0;" : "+r"(sum) : "r"(x), "r"(codes));
    return sum;
}
__device__ __forceinline__ void ptq_fence()
{
    __threadfence();
}

__device__ __forceinline__ void ptq_copy_async16(void *to, const void *from, int valid)
{
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(valid) : "memory");
}
__device__ __forceinline__ void ptq_copy_async16(void *to, const void *from) /* an instruction less */
{
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}
__device__ __forceinline__ void ptq_copy_async4(void *to, const void *from)
{
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address), "l"(from) : "memory");
}
__device__ __forceinline__ void ptq_copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void ptq_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* The compiler takes it for something new, so it does not work it out again where registers are short. Not for pointers
 * to shared memory, which would become pointers to anything. */
template <class T> __device__ __forceinline__ void ptq_keep(T *&value)
{
    asm volatile("" : "+l"(value));
}
__device__ __forceinline__ void ptq_keep(int &value)
{
    asm volatile("" : "+r"(value));
}
__device__ __forceinline__ uint32_t ptq_rotate(uint32_t x, int left) /* by 0 to 31 bits */
{
    return __funnelshift_l(x, x, left);
}

struct ptq_half2 {
    uint32_t bits;
};
__device__ __forceinline__ float ptq_half_to_float(uint16_t half)
{
    return __half2float(__ushort_as_half(half));
}
__device__ __forceinline__ uint16_t ptq_float_to_half(float value)
{
    return __half_as_ushort(__float2half_rn(value));
}
__device__ __forceinline__ ptq_half2 ptq_half2_fma(ptq_half2 a, ptq_half2 b, ptq_half2 c)
{
    ptq_half2 d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d.bits) : "r"(a.bits), "r"(b.bits), "r"(c.bits));
    return d;
}
__device__ __forceinline__ ptq_half2 ptq_half2_sub(ptq_half2 a, ptq_half2 b)
{
    ptq_half2 d;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d.bits) : "r"(a.bits), "r"(b.bits));
    return d;
}

/* In one instruction, which takes one constant alone: the compiler makes two of it. */
__device__ __forceinline__ uint32_t ptq_and_or(uint32_t a, uint32_t mask, uint32_t bits)
{
    uint32_t out;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(out) : "r"(a), "r"(mask), "r"(bits));
    return out;
}

__device__ __forceinline__ void ptq_mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* ---- products of a warpgroup, on sm_90a alone ---- */

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define PTQ_D8(i)                                                                                                      \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),        \
        "+f"(d[i + 7])
#define PTQ_D16(i) PTQ_D8(i), PTQ_D8(i + 8)
#define PTQ_D32(i) PTQ_D16(i), PTQ_D16(i + 16)
#define PTQ_D64(i) PTQ_D32(i), PTQ_D32(i + 32)
#define PTQ_S16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define PTQ_S32 PTQ_S16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PTQ_S64                                                                                                        \
    PTQ_S32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "   \
            "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
/* The operands behind d are numbered on: a, and the descriptor of b. */
#define PTQ_WGMMA(N, DS, DV, a0, a1, a2, a3, of_b)                                                                     \
    asm volatile("{\n.reg .pred p;\n.reg .b64 b;\nsetp.eq.u32 p, 0, 0;\nmov.b64 b, {" of_b ", 1073741888};\n"          \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.f16.f16 {" DS "}, {" a0 ", " a1 ", " a2 ", " a3       \
                 "}, b, p, 1, 1, 0;\n}\n"                                                                              \
                 : DV                                                                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low + (uint32_t)(offset / 16)))

#endif

/* Its descriptor: K-major, pieces swizzled over 128 bytes, 1024 bytes from eight rows to the next eight. The high word
 * is the same for all. */
struct ptq_operand {
    uint32_t low;
};
__device__ __forceinline__ struct ptq_operand ptq_operand_at(const void *shared)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    return ptq_operand{1u << 16 | (address & 0x3ffff) >> 4};
}

template <int N>
__device__ __forceinline__ void ptq_wgmma(float (&d)[N / 2], const uint32_t (&a)[4], struct ptq_operand b, int offset)
{
    static_assert(N == 32 || N == 64 || N == 128, "the widths that are used");
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    if constexpr (N == 32)
        PTQ_WGMMA(32, PTQ_S16, PTQ_D16(0), "%16", "%17", "%18", "%19", "%20");
    else if constexpr (N == 64)
        PTQ_WGMMA(64, PTQ_S32, PTQ_D32(0), "%32", "%33", "%34", "%35", "%36");
    else
        PTQ_WGMMA(128, PTQ_S64, PTQ_D64(0), "%64", "%65", "%66", "%67", "%68");
#else
    (void)d, (void)a, (void)b, (void)offset;
    __trap(); /* chosen by the device's version, which the host knows */
#endif
}
__device__ __forceinline__ void ptq_wgmma_fence()
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void ptq_wgmma_commit()
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
template <int PENDING> __device__ __forceinline__ void ptq_wgmma_wait()
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#endif
}
template <int SIZE> __device__ __forceinline__ void ptq_wgmma_finish(float (&d)[SIZE])
{
    ptq_wgmma_wait<0>();
    PTQ_UNROLL
    for (int i = 0; i < SIZE; i++) asm volatile("" : "+f"(d[i])::"memory"); /* no use of d moves up */
}
/* ---- barriers in shared memory and the copies that they count, on sm_90 ---- */

__device__ __forceinline__ unsigned ptq_shared_address(const void *shared)
{
    return (unsigned)__cvta_generic_to_shared(shared);
}
__device__ __forceinline__ void ptq_barrier_init(uint64_t *barrier, int arrivals)
{
#if __CUDA_ARCH__ >= 900
    unsigned at = ptq_shared_address(barrier);
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
#endif
}
__device__ __forceinline__ void ptq_barriers_ready()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
__device__ __forceinline__ void ptq_barrier_expect(uint64_t *barrier, uint32_t bytes)
{
#if __CUDA_ARCH__ >= 900
    unsigned at = ptq_shared_address(barrier);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
#endif
}
__device__ __forceinline__ void ptq_barrier_arrive(uint64_t *barrier)
{
#if __CUDA_ARCH__ >= 900
    unsigned at = ptq_shared_address(barrier);
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
#endif
}
__device__ __forceinline__ void ptq_barrier_wait(uint64_t *barrier, uint32_t parity)
{
#if __CUDA_ARCH__ >= 900
    unsigned at = ptq_shared_address(barrier);
    asm volatile(
        "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra again;\n}\n" ::"r"(
            at),
        "r"(parity)
        : "memory");
#endif
}
__device__ __forceinline__ void ptq_copy_bulk(void *to, const void *from, uint32_t bytes, uint64_t *barrier)
{
#if __CUDA_ARCH__ >= 900
    unsigned at = ptq_shared_address(barrier), address = ptq_shared_address(to);
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(address),
        "l"(from), "r"(bytes), "r"(at)
        : "memory");
#endif
}
__device__ __forceinline__ float ptq_reciprocal(float x)
{
    float out;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

#endif
