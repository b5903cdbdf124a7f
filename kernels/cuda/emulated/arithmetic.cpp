/* FP16, and products of a warp and of a warpgroup. */
#include "model.cuh"

extern "C" {
#include "dtype.h"
}

/* Looked up: tests spend most of their time on it. */
float ptq_half_to_float(uint16_t half)
{
    static const std::vector<float> all = [] {
        std::vector<float> values(1 << 16);
        for (uint32_t i = 0; i < values.size(); i++) values[i] = ptq_f16_decode((uint16_t)i);
        return values;
    }();
    return all[half];
}

uint16_t ptq_float_to_half(float value)
{
    return ptq_f16_encode(value);
}

namespace emulated
{
namespace
{
/* Row n, 16 columns of the shared operand, its pieces found by what the address says as the device does. */
void shared_row(float *to, size_t at, int n)
{
    for (int k = 0; k < 16; k++) {
        size_t address = at + (size_t)n * 128 + (size_t)k * 2;
        uint16_t half;
        memcpy(&half, shared + (address ^ (address >> 7 & 7) << 4), sizeof half);
        to[k] = ptq_half_to_float(half);
    }
}
} // namespace

void multiply(float *d, const uint32_t *a, size_t b, int n)
{
    int r = lane() / 4, c = lane() % 4;
    const unsigned char *all = exchange(a, 4 * sizeof *a);
    float row[2][16], column[16];
    for (int i = 0; i < 32; i++) {
        uint32_t word;
        memcpy(&word, all + (r * 4 + i / 4 % 4) * SLOT_BYTES + i / 16 * 8 + i / 2 % 2 * 4, sizeof word);
        row[i / 2 % 2][i / 16 * 8 + i / 4 % 4 * 2 + i % 2] = ptq_half_to_float((uint16_t)(word >> i % 2 * 16));
    }
    for (int j = 0; j < n; j++) {
        if (j % 8 / 2 != c) continue;
        shared_row(column, b, j);
        for (int high = 0; high < 2; high++)
            for (int k = 0; k < 16; k++) d[j / 8 * 4 + high * 2 + j % 2] += row[high][k] * column[k];
    }
}
} // namespace emulated

void ptq_mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    static_assert(sizeof mine <= emulated::SLOT_BYTES, "a lane's fragments fit into its slot");
    const unsigned char *all = emulated::exchange(mine, sizeof mine);
    auto word = [&](int lane, int i) {
        uint32_t out;
        memcpy(&out, all + lane * emulated::SLOT_BYTES + i * 4, sizeof out);
        return out;
    };
    int r = emulated::lane() / 4, c = emulated::lane() % 4;
    for (int i = 0; i < 4; i++) {
        int high = i / 2, column = 2 * c + i % 2;
        float sum = d[i];
        for (int k = 0; k < 16; k++) {
            uint32_t x = word(r * 4 + k % 8 / 2, high + k / 8 * 2), y = word(column * 4 + k % 8 / 2, 4 + k / 8);
            sum += ptq_half_to_float((uint16_t)(x >> k % 2 * 16)) * ptq_half_to_float((uint16_t)(y >> k % 2 * 16));
        }
        d[i] = sum;
    }
}
