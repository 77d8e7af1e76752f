/* Products of matrices on a CPU's bfloat16 units (Intel AMX), in float32 and as exact.

   A float is the sum of two or three bfloat16, its parts: the nearest one, then the nearest to what
   is left. A product of floats is the sum of products of their parts, largest first; those that are
   left out are below the last digit that is kept. The units add up in float.

   products.py compiles this file, and says where it serves; torch multiplies elsewhere. */

#include <stdint.h>

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__linux__)

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* A matrix as a product reads it: `rows` of C's side, k summed over. */
typedef struct {
    const void *data;
    int64_t stride; /* from line to line, in entries */
    int32_t half;   /* bfloat16, else float */
    int32_t along;  /* entries of consecutive k stand side by side, else those of consecutive rows */
} operand;

typedef struct {
    int64_t m, n, k;
    operand a, b; /* (m, k) and (n, k), however they stand in memory */
    float *c;     /* (m, n) */
    int64_t stride;
    int32_t add; /* to what stands in c */
    int32_t parts;
    int32_t threads;
} task;

enum { TILE = 16, DEEP = 32, PANEL = 32, TILE_SIZE = TILE * DEEP, DEPTH = 1024, MOST_PARTS = 3, GROUP = 1 << 18 };

static inline __attribute__((always_inline)) void transpose(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        __m512i b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    for (int i = 0; i < 16; i++) r[i] = t[i];
}

static inline __m512 widened(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline __m512i paired(__m256i first, __m256i second) {
    __m512i low = _mm512_cvtepu16_epi32(first), high = _mm512_cvtepu16_epi32(second);
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* A tile of 16 rows and 32 k, from (row, k) on, part after part, `apart` entries from each other:
   rows as lines where `by_row`, else pairs of k as lines. What lies outside is 0. */
static inline __attribute__((always_inline)) void pack_tile(
    uint16_t *to, int64_t apart, operand x, int64_t row, int64_t k, int64_t rows, int64_t ks,
    int parts, int by_row
) {
    __m512i lines[MOST_PARTS][16];
    if (rows > TILE) rows = TILE;
    if (ks > DEEP) ks = DEEP;
    if (x.half) parts = 1;
    if (x.along) {
        uint32_t some = ks >= DEEP ? 0xffffffffu : ((1u << ks) - 1);
        for (int r = 0; r < 16; r++) {
            if (r >= rows) {
                for (int p = 0; p < parts; p++) lines[p][r] = _mm512_setzero_si512();
                continue;
            }
            int64_t at = (row + r) * x.stride + k;
            if (x.half) {
                lines[0][r] = _mm512_maskz_loadu_epi16(some, (const uint16_t *)x.data + at);
                continue;
            }
            const float *from = (const float *)x.data + at;
            __m512 low = _mm512_maskz_loadu_ps((__mmask16)some, from);
            __m512 high = _mm512_maskz_loadu_ps((__mmask16)(some >> 16), from + 16);
            for (int p = 0; p < parts; p++) {
                __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
                lines[p][r] = both;
                low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(both)));
                high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64(both, 1)));
            }
        }
    } else {
        __mmask16 some = rows >= TILE ? 0xffff : (__mmask16)((1u << rows) - 1);
        for (int pair = 0; pair < 16; pair++) {
            __mmask16 one = 2 * pair < ks ? some : 0, two = 2 * pair + 1 < ks ? some : 0;
            int64_t at = (k + 2 * pair) * x.stride + row;
            if (x.half) {
                const uint16_t *from = (const uint16_t *)x.data + at;
                lines[0][pair] = paired(
                    _mm256_maskz_loadu_epi16(one, from),
                    _mm256_maskz_loadu_epi16(two, from + x.stride)
                );
                continue;
            }
            const float *from = (const float *)x.data + at;
            __m512 first = _mm512_maskz_loadu_ps(one, from);
            __m512 second = _mm512_maskz_loadu_ps(two, from + x.stride);
            for (int p = 0; p < parts; p++) {
                __m256i a = (__m256i)_mm512_cvtneps_pbh(first);
                __m256i b = (__m256i)_mm512_cvtneps_pbh(second);
                lines[p][pair] = paired(a, b);
                first = _mm512_sub_ps(first, widened(a));
                second = _mm512_sub_ps(second, widened(b));
            }
        }
    }
    for (int p = 0; p < parts; p++) {
        if (x.along != by_row) transpose(lines[p]);
        for (int r = 0; r < 16; r++) {
            _mm512_storeu_si512(to + p * apart + r * DEEP, lines[p][r]);
        }
    }
}

/* `rows` rows from `row` on and k from `k` on, as panels of 32 rows, `size` entries from each other.
   A panel: for each 32 k the parts, of each two tiles. Lines of memory are read along. */
static void pack(
    uint16_t *to, int64_t size, operand x, int64_t row, int64_t k, int64_t rows, int64_t ks,
    int parts, int by_row
) {
    int64_t step = parts * 2 * TILE_SIZE;
    int64_t wide = x.along ? PANEL : rows, deep = x.along ? ks : DEEP;
    for (int64_t r0 = 0; r0 < rows; r0 += wide) {
        for (int64_t d0 = 0; d0 < ks; d0 += deep) {
            for (int64_t r = r0; r < r0 + wide && r < rows; r += TILE) {
                uint16_t *line = to + r / PANEL * size + r % PANEL / TILE * TILE_SIZE;
                for (int64_t d = d0; d < d0 + deep && d < ks; d += DEEP) {
                    pack_tile(
                        line + d / DEEP * step, 2 * TILE_SIZE, x, row + r, k + d, rows - r, ks - d,
                        parts, by_row
                    );
                }
            }
        }
    }
}

/* 32 x 32 of C, from packed panels; of A's 32 rows only 16 where not `tall`. */
static inline __attribute__((always_inline)) void multiply_panels(
    const uint16_t *a, const uint16_t *b, int64_t steps, int a_parts, int b_parts, int tall,
    float *c, int64_t stride, int add
) {
    int most = a_parts > b_parts ? a_parts : b_parts;
    stride *= sizeof(float);
    if (add) {
        _tile_loadd(0, c, stride);
        _tile_loadd(1, c + TILE, stride);
        if (tall) {
            _tile_loadd(2, (char *)c + TILE * stride, stride);
            _tile_loadd(3, (char *)(c + TILE) + TILE * stride, stride);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t step = 0; step < steps; step++) {
        for (int i = 0; i < a_parts; i++) {
            _tile_loadd(4, a + 2 * i * TILE_SIZE, 2 * DEEP);
            if (tall) _tile_loadd(5, a + (2 * i + 1) * TILE_SIZE, 2 * DEEP);
            for (int j = 0; j < b_parts && i + j < most; j++) {
                _tile_loadd(6, b + 2 * j * TILE_SIZE, 2 * DEEP);
                _tile_loadd(7, b + (2 * j + 1) * TILE_SIZE, 2 * DEEP);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                if (tall) {
                    _tile_dpbf16ps(2, 5, 6);
                    _tile_dpbf16ps(3, 5, 7);
                }
            }
        }
        a += a_parts * 2 * TILE_SIZE;
        b += b_parts * 2 * TILE_SIZE;
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + TILE, stride);
    if (tall) {
        _tile_stored(2, (char *)c + TILE * stride, stride);
        _tile_stored(3, (char *)(c + TILE) + TILE * stride, stride);
    }
}

static void multiply(
    const uint16_t *a, const uint16_t *b, int64_t steps, int a_parts, int b_parts, int64_t m,
    int64_t n, float *c, int64_t stride, int add
) {
    float apart[PANEL * PANEL], *to = c;
    int64_t apart_stride = stride;
    int whole = m >= PANEL && n >= PANEL, tall = m > TILE;
    if (m > PANEL) m = PANEL;
    if (n > PANEL) n = PANEL;
    if (!whole) {
        to = apart;
        apart_stride = PANEL;
        if (add) {
            for (int64_t i = 0; i < m; i++) memcpy(apart + i * PANEL, c + i * stride, n * sizeof *c);
        }
    }
#define CASE(A, B)                                                                       \
    if (a_parts == A && b_parts == B) {                                                  \
        if (tall) multiply_panels(a, b, steps, A, B, 1, to, apart_stride, add);          \
        else multiply_panels(a, b, steps, A, B, 0, to, apart_stride, add);               \
    }
    CASE(1, 1)
    CASE(1, 2)
    CASE(2, 1)
    CASE(2, 2)
    CASE(1, 3)
    CASE(3, 1)
    CASE(3, 3)
#undef CASE
    if (!whole) {
        for (int64_t i = 0; i < m; i++) memcpy(c + i * stride, apart + i * PANEL, n * sizeof *c);
    }
}

/* Memory of a thread, kept from call to call. */
static uint16_t *memory_of(int64_t size) {
    static _Thread_local uint16_t *kept;
    static _Thread_local int64_t kept_size;
    if (kept_size < size) {
        free(kept);
        kept = aligned_alloc(64, (size * sizeof *kept + 63) / 64 * 64);
        kept_size = kept ? size : 0;
    }
    return kept;
}

static int64_t panels(int64_t rows) { return (rows + PANEL - 1) / PANEL; }

/* By one thread: the smaller operand is packed whole, of the other a panel at a time. */
static int multiply_alone(task t) {
    int parts[2] = {t.a.half ? 1 : t.parts, t.b.half ? 1 : t.parts};
    int64_t deepest = t.k < DEPTH ? (t.k + DEEP - 1) / DEEP * DEEP : DEPTH;
    int stream_b = t.n >= t.m;
    operand kept = stream_b ? t.a : t.b, streamed = stream_b ? t.b : t.a;
    int kept_parts = parts[!stream_b], streamed_parts = parts[stream_b];
    int64_t kept_rows = stream_b ? t.m : t.n, streamed_rows = stream_b ? t.n : t.m;
    int64_t kept_size = PANEL * deepest * kept_parts;
    int64_t streamed_size = PANEL * deepest * streamed_parts;
    int64_t group = GROUP / streamed_size > 1 ? GROUP / streamed_size : 1; /* of panels */
    uint16_t *memory = memory_of(panels(kept_rows) * kept_size + group * streamed_size);
    if (!memory) return 1;
    uint16_t *some = memory + panels(kept_rows) * kept_size;
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.bytes[i] = 64;
        shape.rows[i] = TILE;
    }
    _tile_loadconfig(&shape);
    for (int64_t k = 0; k < t.k; k += DEPTH) {
        int64_t ks = t.k - k < DEPTH ? t.k - k : DEPTH, steps = (ks + DEEP - 1) / DEEP;
        pack(memory, kept_size, kept, 0, k, kept_rows, ks, kept_parts, stream_b);
        for (int64_t g = 0; g < streamed_rows; g += group * PANEL) {
            int64_t rows = streamed_rows - g < group * PANEL ? streamed_rows - g : group * PANEL;
            pack(some, streamed_size, streamed, g, k, rows, ks, streamed_parts, !stream_b);
            int64_t kept_panels = panels(kept_rows), some_panels = panels(rows);
            int64_t down = stream_b ? kept_panels : some_panels;
            int64_t across = stream_b ? some_panels : kept_panels;
            for (int64_t i = 0; i < down; i++) { /* C line by line: its pages are many */
                for (int64_t j = 0; j < across; j++) {
                    const uint16_t *of_kept = memory + (stream_b ? i : j) * kept_size;
                    const uint16_t *of_some = some + (stream_b ? j : i) * streamed_size;
                    int64_t row = i * PANEL + (stream_b ? 0 : g), column = j * PANEL + (stream_b ? g : 0);
                    multiply(
                        stream_b ? of_kept : of_some, stream_b ? of_some : of_kept, steps, parts[0],
                        parts[1], t.m - row, t.n - column, t.c + row * t.stride + column, t.stride,
                        t.add || k
                    );
                }
            }
        }
    }
    _tile_release();
    return 0;
}

static operand shifted(operand x, int64_t rows, int64_t k) {
    int64_t by = x.along ? rows * x.stride + k : k * x.stride + rows;
    x.data = (const char *)x.data + by * (x.half ? 2 : 4);
    return x;
}

/* 0: done; else there is no memory. */
int evokd_product(const task *what) {
    task t = *what;
    int threads = t.threads, failed = 0;
    int64_t longest = t.m > t.n ? t.m : t.n;
    int by_k = t.k > longest, by_n = !by_k && t.n >= t.m;
    int64_t length = by_k ? t.k : longest;
    if (threads > panels(length)) threads = (int)panels(length);
    float *sums = 0;
    if (by_k && threads > 1) {
        sums = malloc((threads - 1) * t.m * t.n * sizeof *sums);
        if (!sums) return 1;
    }
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
#ifdef _OPENMP
        int one = omp_get_thread_num(), all = omp_get_num_threads();
#else
        int one = 0, all = 1;
#endif
        int64_t from = panels(length) * one / all * PANEL, to = panels(length) * (one + 1) / all * PANEL;
        if (to > length) to = length;
        task own = t;
        if (by_k) {
            own.a = shifted(t.a, 0, from);
            own.b = shifted(t.b, 0, from);
            own.k = to - from;
            if (one) {
                own.c = sums + (one - 1) * t.m * t.n;
                own.stride = t.n;
                own.add = 0;
            }
        } else if (by_n) {
            own.b = shifted(t.b, from, 0);
            own.n = to - from;
            own.c += from;
        } else {
            own.a = shifted(t.a, from, 0);
            own.m = to - from;
            own.c += from * t.stride;
        }
        failed |= multiply_alone(own);
#pragma omp barrier
        if (by_k) {
#pragma omp for
            for (int64_t i = 0; i < t.m; i++) {
                for (int other = 1; other < all; other++) {
                    const float *more = sums + ((other - 1) * t.m + i) * t.n;
                    float *line = t.c + i * t.stride;
                    for (int64_t j = 0; j < t.n; j++) line[j] += more[j];
                }
            }
        }
    }
    free(sums);
    return failed;
}

/* Whether the system lends the units to this process. */
int evokd_products_ready(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

#else

int evokd_product(const void *what) {
    (void)what;
    return 1;
}

int evokd_products_ready(void) { return 0; }

#endif
