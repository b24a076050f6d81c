// The published product with signed cuts: one cut after the other, signs as mask registers, y loaded and stored for each.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

// Rows of m / 8 and n / 8 bytes of signs; m and n are multiples of 64.
void published_cuts(const float *c, const uint8_t *left, const uint8_t *right, size_t width, size_t m, size_t n,
                    const float *x, float *y) {
    __m512 all[4];
    for (int k = 0; k < 4; ++k) all[k] = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 64)
        for (int k = 0; k < 4; ++k) all[k] = _mm512_add_ps(all[k], _mm512_loadu_ps(x + i + 16 * k));
    const float sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(all[0], all[1]), _mm512_add_ps(all[2], all[3])));
    for (size_t i = 0; i < m; i += 16) _mm512_storeu_ps(y + i, _mm512_setzero_ps());
    for (size_t j = 0; j < width; ++j) {
        const __mmask16 *t = (const __mmask16 *)(right + j * (n / 8)), *s = (const __mmask16 *)(left + j * (m / 8));
        __m512 negative[4];
        for (int k = 0; k < 4; ++k) negative[k] = _mm512_setzero_ps();
        for (size_t i = 0; i < n; i += 64, t += 4)
            for (int k = 0; k < 4; ++k)
                negative[k] = _mm512_mask_add_ps(negative[k], t[k], negative[k], _mm512_loadu_ps(x + i + 16 * k));
        const float minus = _mm512_reduce_add_ps(
            _mm512_add_ps(_mm512_add_ps(negative[0], negative[1]), _mm512_add_ps(negative[2], negative[3])));
        const __m512 v = _mm512_set1_ps(c[j] * (sum - 2 * minus)), twice = _mm512_add_ps(v, v);
        for (size_t i = 0; i < m; i += 16, ++s) {
            const __m512 both = _mm512_add_ps(_mm512_loadu_ps(y + i), v);
            _mm512_storeu_ps(y + i, _mm512_mask_sub_ps(both, *s, both, twice));
        }
    }
}
