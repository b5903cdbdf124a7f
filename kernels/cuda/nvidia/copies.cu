/* Copies to the device and back. Long ones go through pinned memory, which all threads fill or empty piece by piece
 * while the device copies the piece before: what CUDA does with memory that is not pinned takes one thread, and that is
 * slower than the bus. */
#include "../memory.cuh"

extern "C" {
#include "pool.h"
}

#include <cstring>

namespace ptq_cuda
{
static const size_t piece_bytes = (size_t)16 << 20, share_bytes = (size_t)1 << 20; /* of a thread at a time */

/* done: the device no longer reads it, or has filled it. */
static struct piece {
    unsigned char *at;
    cudaEvent_t done;
} piece[2];

static bool make_pieces()
{
    for (int i = 0; i < 2; i++) {
        if (piece[i].at) continue;
        void *at = nullptr;
        if (cudaEventCreateWithFlags(&piece[i].done, cudaEventDisableTiming) == cudaSuccess)
            if (cudaHostAlloc(&at, piece_bytes, cudaHostAllocDefault) == cudaSuccess) piece[i].at = (unsigned char *)at;
        if (piece[i].at) continue;
        cudaGetLastError(); /* then without */
        return false;
    }
    return true;
}

/* Short copies are not worth it, and where there is no pinned memory it goes without. */
static bool goes_in_pieces(size_t bytes)
{
    return bytes >= 2 * share_bytes && make_pieces();
}

struct shares {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
};

static void copy_share(void *context, int64_t i, int)
{
    const struct shares *s = static_cast<const struct shares *>(context);
    size_t first = (size_t)i * share_bytes, left = s->bytes - first;
    memcpy(s->to + first, s->from + first, left < share_bytes ? left : share_bytes);
}

static void copy_together(void *to, const void *from, size_t bytes)
{
    struct shares s = {static_cast<unsigned char *>(to), static_cast<const unsigned char *>(from), bytes};
    ptq_parallel_for((int64_t)((bytes + share_bytes - 1) / share_bytes), copy_share, &s);
}

static size_t piece_at(size_t at, size_t bytes)
{
    return bytes - at < piece_bytes ? bytes - at : piece_bytes;
}

void upload(void *device, const void *host, size_t bytes)
{
    if (!goes_in_pieces(bytes)) {
        note(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "upload");
        return;
    }
    unsigned char *to = static_cast<unsigned char *>(device);
    const unsigned char *from = static_cast<const unsigned char *>(host);
    int turn = 0;
    for (size_t at = 0; at < bytes; at += piece_bytes, turn ^= 1) {
        size_t n = piece_at(at, bytes);
        note(cudaEventSynchronize(piece[turn].done), "upload");
        copy_together(piece[turn].at, from + at, n);
        note(cudaMemcpyAsync(to + at, piece[turn].at, n, cudaMemcpyHostToDevice, stream), "upload");
        note(cudaEventRecord(piece[turn].done, stream), "upload");
    }
}

static void bring(const unsigned char *from, size_t at, size_t bytes, int turn)
{
    if (at >= bytes) return;
    note(cudaMemcpyAsync(piece[turn].at, from + at, piece_at(at, bytes), cudaMemcpyDeviceToHost, stream), "download");
    note(cudaEventRecord(piece[turn].done, stream), "download");
}

void download(void *host, const void *device, size_t bytes)
{
    if (!goes_in_pieces(bytes)) {
        note(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), "download");
        note(cudaStreamSynchronize(stream), "download");
        return;
    }
    unsigned char *to = static_cast<unsigned char *>(host);
    const unsigned char *from = static_cast<const unsigned char *>(device);
    int turn = 0;
    bring(from, 0, bytes, turn);
    for (size_t at = 0; at < bytes; at += piece_bytes, turn ^= 1) {
        bring(from, at + piece_bytes, bytes, turn ^ 1);
        note(cudaEventSynchronize(piece[turn].done), "download");
        copy_together(to + at, piece[turn].at, piece_at(at, bytes));
    }
}
} // namespace ptq_cuda
