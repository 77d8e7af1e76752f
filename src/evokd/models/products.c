/* Products of matrices on a CPU's matrix units (Intel AMX), as exact as wanted.

   PARTS: a float is taken for the sum of two or three bfloat16, the nearest one, then the nearest
   to what is left. A product of floats is the sum of products of their parts, largest first; those
   below the last digit that is kept are left out. The units add up in float.

   DIGITS: the entries of a row are taken for 24-bit numbers, of a scale that its greatest entry
   sets, with three digits of 8 bits, -128 to 127. The units multiply digits twice as fast, and add
   up in integers, without error; of the nine products, six are above what is kept. Used of three
   parts where both matrices are floats with the entries of consecutive k side by side.

   products.py compiles this file, and says where it serves; torch multiplies elsewhere. */

#include <stdint.h>

#if defined(__linux__) && defined(__AMX_BF16__) && defined(__AMX_INT8__) && \
    defined(__AVX512BF16__) && defined(__AVX512BW__)

#include <immintrin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A matrix as a product reads it: `rows` of C's side, k summed over. */
typedef struct {
    const void *data;
    int64_t stride; /* from line to line, in entries */
    int32_t half;   /* bfloat16, else float */
    int32_t along;  /* entries of consecutive k stand side by side; else of consecutive rows */
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

enum {
    TILE = 16,              /* lines of a tile, of 64 bytes */
    PANEL = 32,             /* rows that are packed together, two tiles */
    DEEP = 32,              /* k of a tile of bfloat16 */
    TILE_SIZE = TILE * DEEP,
    DEEPER = 64,            /* of a tile of digits */
    DEPTH = 1024,           /* k that are packed at once */
    GROUP = 1 << 19,        /* bytes that are packed at once of what isn't packed whole */
    MOST_SUMS = 1 << 25,    /* bytes of sums that threads have of their own */
    MOST_PARTS = 3,
    DIGITS = 3
};

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

/* `rows` rows from `row` on and k from `k` on, as panels, `size` bytes from each other: for each
   32 k the parts, of each two tiles. Lines of memory are read along. */
static void pack(
    uint8_t *to, int64_t size, operand x, int64_t row, int64_t k, int64_t rows, int64_t ks,
    int parts, int by_row
) {
    int64_t step = parts * 2 * TILE_SIZE;
    int64_t wide = x.along ? PANEL : rows, deep = x.along ? ks : DEEP;
    for (int64_t r0 = 0; r0 < rows; r0 += wide) {
        for (int64_t d0 = 0; d0 < ks; d0 += deep) {
            for (int64_t r = r0; r < r0 + wide && r < rows; r += TILE) {
                uint16_t *line = (uint16_t *)(to + r / PANEL * size) + r % PANEL / TILE * TILE_SIZE;
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
            for (int64_t i = 0; i < m; i++) {
                memcpy(apart + i * PANEL, c + i * stride, n * sizeof *c);
            }
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

/* A row's entries times this are its 24-bit numbers; 0 for a row of zeros, and no number for a row
   with one that is none. */
static float scale_of(const float *row, int64_t ks) {
    __m512 most = _mm512_setzero_ps(), wrong = _mm512_setzero_ps(), zero = _mm512_setzero_ps();
    for (int64_t k = 0; k < ks; k += 16) {
        __mmask16 some = ks - k >= 16 ? 0xffff : (__mmask16)((1u << (ks - k)) - 1);
        __m512 x = _mm512_maskz_loadu_ps(some, row + k);
        most = _mm512_max_ps(most, _mm512_abs_ps(x));
        wrong = _mm512_fmadd_ps(x, zero, wrong);
    }
    float greatest = _mm512_reduce_max_ps(most), no_number = _mm512_reduce_add_ps(wrong);
    if (greatest < 1e-30f) return no_number; /* its numbers would not be floats */
    return 8.3e6f / greatest + no_number;
}

/* The byte `shift` bits up of 64 numbers, in an order of its own; A and B have it both. */
static inline __m512i bytes_of(const __m512i numbers[4], int shift) {
    __m512i mask = _mm512_set1_epi32(0xff), one[4];
    for (int q = 0; q < 4; q++) {
        one[q] = _mm512_and_si512(_mm512_srli_epi32(numbers[q], shift), mask);
    }
    return _mm512_packus_epi16(
        _mm512_packus_epi32(one[0], one[1]), _mm512_packus_epi32(one[2], one[3])
    );
}

/* `rows` rows from `row` on and k from `k` on, as panels, `size` bytes from each other: for each
   64 k the digits, of each two tiles. The scales' inverses follow a panel. */
static void pack_digits(
    uint8_t *to, int64_t size, operand x, int64_t row, int64_t k, int64_t rows, int64_t ks,
    int by_row
) {
    __m512i lines[DIGITS][16];
    __m512i sign = _mm512_set1_epi8((char)0x80), carry = _mm512_set1_epi32(0x8080);
    int64_t stride = x.stride;
    for (int64_t r = 0; r < rows; r += TILE) {
        uint8_t *panel = to + r / PANEL * size;
        float scales[TILE], *inverse = (float *)(panel + size) - PANEL + r % PANEL;
        const float *from = (const float *)x.data + (row + r) * stride + k;
        for (int64_t i = 0; i < TILE; i++) {
            scales[i] = r + i < rows ? scale_of(from + i * stride, ks) : 0;
            inverse[i] = scales[i] == 0 ? 0 : 1 / scales[i];
        }
        for (int64_t d = 0; d < ks; d += DEEPER) {
            uint8_t *tile = panel + d * PANEL * DIGITS + r % PANEL * DEEPER;
            for (int64_t i = 0; i < TILE; i++) {
                __m512i quarters[4];
                for (int64_t q = 0; q < 4; q++) {
                    int64_t left = r + i < rows ? ks - d - 16 * q : 0;
                    __mmask16 mask = left >= 16 ? 0xffff : left > 0 ? (1u << left) - 1 : 0;
                    __m512 x = _mm512_maskz_loadu_ps(mask, from + i * stride + d + 16 * q);
                    x = _mm512_mul_ps(x, _mm512_set1_ps(scales[i]));
                    quarters[q] = _mm512_add_epi32(_mm512_cvtps_epi32(x), carry);
                }
                lines[0][i] = bytes_of(quarters, 16);
                lines[1][i] = _mm512_xor_si512(bytes_of(quarters, 8), sign);
                lines[2][i] = _mm512_xor_si512(bytes_of(quarters, 0), sign);
            }
            for (int p = 0; p < DIGITS; p++) {
                if (!by_row) transpose(lines[p]);
                for (int i = 0; i < TILE; i++) {
                    _mm512_storeu_si512(tile + p * PANEL * DEEPER + i * DEEPER, lines[p][i]);
                }
            }
        }
    }
}

/* All products of digits that together are `order` below the highest, of two packed panels. */
static inline __attribute__((always_inline)) void multiply_order(
    const uint8_t *a, const uint8_t *b, int64_t steps, int order, int tall, int32_t *sums
) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; step++) {
        for (int i = 0; i <= order; i++) {
            const uint8_t *of_a = a + i * PANEL * DEEPER, *of_b = b + (order - i) * PANEL * DEEPER;
            _tile_loadd(4, of_a, DEEPER);
            _tile_loadd(6, of_b, DEEPER);
            _tile_loadd(7, of_b + TILE * DEEPER, DEEPER);
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            if (tall) {
                _tile_loadd(5, of_a + TILE * DEEPER, DEEPER);
                _tile_dpbssd(2, 5, 6);
                _tile_dpbssd(3, 5, 7);
            }
        }
        a += DIGITS * PANEL * DEEPER;
        b += DIGITS * PANEL * DEEPER;
    }
    _tile_stored(0, sums, PANEL * sizeof *sums);
    _tile_stored(1, sums + TILE, PANEL * sizeof *sums);
    if (tall) {
        _tile_stored(2, sums + TILE * PANEL, PANEL * sizeof *sums);
        _tile_stored(3, sums + TILE * PANEL + TILE, PANEL * sizeof *sums);
    }
}

static void multiply_digits(
    const uint8_t *a, const float *per_a, const uint8_t *b, const float *per_b, int64_t steps,
    int64_t m, int64_t n, float *c, int64_t stride, int add
) {
    int32_t sums[DIGITS][PANEL * PANEL];
    if (m > PANEL) m = PANEL;
    if (n > PANEL) n = PANEL;
    if (m > TILE) {
        multiply_order(a, b, steps, 0, 1, sums[0]);
        multiply_order(a, b, steps, 1, 1, sums[1]);
        multiply_order(a, b, steps, 2, 1, sums[2]);
    } else {
        multiply_order(a, b, steps, 0, 0, sums[0]);
        multiply_order(a, b, steps, 1, 0, sums[1]);
        multiply_order(a, b, steps, 2, 0, sums[2]);
    }
    for (int64_t i = 0; i < m; i++) {
        __m512 of_row = _mm512_set1_ps(per_a[i] * 65536.0f);
        for (int64_t j = 0; j < n; j += 16) {
            __mmask16 some = n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1);
            __m512 high = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums[0] + i * PANEL + j));
            __m512 middle = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums[1] + i * PANEL + j));
            __m512 low = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums[2] + i * PANEL + j));
            __m512 sum = _mm512_fmadd_ps(middle, _mm512_set1_ps(256.0f), low);
            sum = _mm512_fmadd_ps(high, _mm512_set1_ps(65536.0f), sum);
            __m512 before =
                add ? _mm512_maskz_loadu_ps(some, c + i * stride + j) : _mm512_setzero_ps();
            sum = _mm512_mul_ps(sum, _mm512_loadu_ps(per_b + j)); /* not both scales at once: */
            sum = _mm512_fmadd_ps(sum, of_row, before);           /* they may be out of range */
            _mm512_mask_storeu_ps(c + i * stride + j, some, sum);
        }
    }
}

static int64_t panels(int64_t rows) { return (rows + PANEL - 1) / PANEL; }

static void shape_tiles(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.bytes[i] = 64;
        shape.rows[i] = TILE;
    }
    __asm__ volatile("" ::: "memory"); /* all of it is there: compilers know of 8 bytes */
    _tile_loadconfig(&shape);
}

/* How a product is done by one thread: the smaller operand is packed whole, of the other some
   panels at a time. */
typedef struct {
    int digits, stream_b, a_parts, b_parts;
    int64_t step, line;               /* k of a tile; entries of a panel */
    int64_t kept_size, streamed_size; /* bytes of a panel */
    int64_t group;                    /* panels packed at a time */
    int64_t size;                     /* bytes of memory */
} plan;

static plan plan_of(task t) {
    plan p = {.digits = t.parts == DIGITS && t.a.along && t.b.along && !t.a.half && !t.b.half};
    p.stream_b = t.n >= t.m;
    p.a_parts = t.a.half ? 1 : t.parts;
    p.b_parts = t.b.half ? 1 : t.parts;
    p.step = p.digits ? DEEPER : DEEP;
    int64_t depth = t.k < DEPTH ? t.k : DEPTH;
    p.line = (depth + p.step - 1) / p.step * p.step * PANEL;
    int64_t a_size = p.line * p.a_parts * 2, b_size = p.line * p.b_parts * 2;
    if (p.digits) a_size = b_size = p.line * DIGITS + PANEL * sizeof(float);
    p.kept_size = p.stream_b ? a_size : b_size;
    p.streamed_size = p.stream_b ? b_size : a_size;
    p.group = GROUP / p.streamed_size > 1 ? GROUP / p.streamed_size : 1;
    int64_t kept = panels(p.stream_b ? t.m : t.n);
    p.size = (kept * p.kept_size + p.group * p.streamed_size + 63) / 64 * 64;
    return p;
}

static void multiply_alone(task t, uint8_t *memory) {
    plan p = plan_of(t);
    int stream_b = p.stream_b, digits = p.digits;
    operand kept = stream_b ? t.a : t.b, streamed = stream_b ? t.b : t.a;
    int kept_parts = stream_b ? p.a_parts : p.b_parts;
    int streamed_parts = stream_b ? p.b_parts : p.a_parts;
    int64_t kept_rows = stream_b ? t.m : t.n, streamed_rows = stream_b ? t.n : t.m;
    int64_t kept_size = p.kept_size, streamed_size = p.streamed_size, group = p.group;
    uint8_t *some = memory + panels(kept_rows) * kept_size;
    shape_tiles();
    for (int64_t k = 0; k < t.k; k += DEPTH) {
        int64_t ks = t.k - k < DEPTH ? t.k - k : DEPTH, steps = (ks + p.step - 1) / p.step;
        if (digits) pack_digits(memory, kept_size, kept, 0, k, kept_rows, ks, stream_b);
        else pack(memory, kept_size, kept, 0, k, kept_rows, ks, kept_parts, stream_b);
        for (int64_t g = 0; g < streamed_rows; g += group * PANEL) {
            int64_t rows = streamed_rows - g < group * PANEL ? streamed_rows - g : group * PANEL;
            if (digits) pack_digits(some, streamed_size, streamed, g, k, rows, ks, !stream_b);
            else pack(some, streamed_size, streamed, g, k, rows, ks, streamed_parts, !stream_b);
            int64_t down = panels(stream_b ? kept_rows : rows);
            int64_t across = panels(stream_b ? rows : kept_rows);
            for (int64_t i = 0; i < down; i++) { /* C line by line: its pages are many */
                for (int64_t j = 0; j < across; j++) {
                    const uint8_t *a = stream_b ? memory + i * kept_size : some + i * streamed_size;
                    const uint8_t *b = stream_b ? some + j * streamed_size : memory + j * kept_size;
                    int64_t row = i * PANEL + (stream_b ? 0 : g);
                    int64_t column = j * PANEL + (stream_b ? g : 0);
                    float *c = t.c + row * t.stride + column;
                    if (digits) {
                        const float *per_a = (const float *)(a + p.line * DIGITS);
                        const float *per_b = (const float *)(b + p.line * DIGITS);
                        multiply_digits(
                            a, per_a, b, per_b, steps, t.m - row, t.n - column, c, t.stride,
                            t.add || k
                        );
                    } else {
                        multiply(
                            (const uint16_t *)a, (const uint16_t *)b, steps, p.a_parts, p.b_parts,
                            t.m - row, t.n - column, c, t.stride, t.add || k
                        );
                    }
                }
            }
        }
    }
    _tile_release();
}

static operand shifted(operand x, int64_t rows, int64_t k) {
    int64_t by = x.along ? rows * x.stride + k : k * x.stride + rows;
    x.data = (const char *)x.data + by * (x.half ? 2 : 4);
    return x;
}

/* What the given one of all does of it: a part of the vocabulary, which is the longest side. */
static task share_of(task t, int one, int all, int64_t length) {
    int64_t from = panels(length) * one / all * PANEL;
    int64_t to = panels(length) * (one + 1) / all * PANEL;
    if (to > length) to = length;
    if (length == t.k) {
        t.a = shifted(t.a, 0, from);
        t.b = shifted(t.b, 0, from);
        t.k = to - from;
    } else if (length == t.n) {
        t.b = shifted(t.b, from, 0);
        t.n = to - from;
        t.c += from;
    } else {
        t.a = shifted(t.a, from, 0);
        t.m = to - from;
        t.c += from * t.stride;
    }
    return t;
}

/* Memory of the calling thread, kept from call to call until it ends. */
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int no_key;

static void make_key(void) { no_key = pthread_key_create(&key, free); }

typedef struct {
    int64_t size;
    uint8_t padding[56];
    uint8_t bytes[];
} block;

static uint8_t *memory_of(int64_t size) {
    pthread_once(&once, make_key);
    if (no_key) return 0;
    block *kept = pthread_getspecific(key);
    if (!kept || kept->size < size) {
        free(kept);
        kept = aligned_alloc(64, sizeof *kept + (size + 63) / 64 * 64);
        if (kept) kept->size = size;
        if (pthread_setspecific(key, kept)) {
            free(kept);
            return 0;
        }
    }
    return kept ? kept->bytes : 0;
}

/* 0: done; else there is no memory, and nothing is done. */
int evokd_product(const task *what) {
    task t = *what;
    int64_t length = t.m > t.n ? t.m : t.n, sums = t.m * t.n * (int64_t)sizeof(float);
    if (t.k > length) length = t.k;
    int by_k = length == t.k, all = t.threads;
    if (all > panels(length)) all = (int)panels(length);
    if (by_k && all > 1 + MOST_SUMS / sums) all = (int)(1 + MOST_SUMS / sums);
    sums = (sums + 63) / 64 * 64;
    int64_t size = 0;
    for (int one = 0; one < all; one++) {
        int64_t own = plan_of(share_of(t, one, all, length)).size;
        if (own > size) size = own;
    }
    uint8_t *memory = memory_of(all * size + (by_k ? (all - 1) * sums : 0));
    if (!memory) return 1;
    uint8_t *more = memory + all * size - sums; /* of all but the first */
#pragma omp parallel for num_threads(all) schedule(static, 1)
    for (int one = 0; one < all; one++) {
        task own = share_of(t, one, all, length);
        if (by_k && one) {
            own.c = (float *)(more + one * sums);
            own.stride = t.n;
            own.add = 0;
        }
        multiply_alone(own, memory + one * size);
    }
    if (by_k && all > 1) {
#pragma omp parallel for num_threads(all)
        for (int64_t i = 0; i < t.m; i++) {
            float *line = t.c + i * t.stride;
            for (int one = 1; one < all; one++) {
                const float *other = (const float *)(more + one * sums) + i * t.n;
                for (int64_t j = 0; j < t.n; j++) line[j] += other[j];
            }
        }
    }
    return 0;
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
