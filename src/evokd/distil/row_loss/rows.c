/* One pass over a chunk of logits: losses per token, and gradients in place of the logits.

   The formulas are those of closed_forms.py. A row is a token; its sums are taken block by block in
   float and added up in double. rows.py compiles this file where there is a compiler. */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum form { LINEAR, SKEW, REVERSE };
enum takers { EVERY, HARD, EASY, VOUCHED };

typedef struct {
    int32_t form;    /* of the rows that take it; the others are LINEAR */
    int32_t takers;
    int32_t teacher; /* 0: there is none */
    int32_t gradient;
    int32_t loss;    /* how the loss is put together; see `losses` */
    int32_t threads;
    double lam;      /* teacher's share in the target of d */
    double share;    /* teacher's share in the target tau of the LINEAR and SKEW form */
    double beta;
    double gamma;
    double doubt;    /* nats of -ln p(y) above which, and above H(p), the teacher disbelieves a reference */
    double reference; /* c: weight of q - y beside the SKEW or REVERSE form */
    double kl;        /* kappa: weight of that form */
    double scale, cap; /* of the student's head; cap 0: none */
} plan;

enum loss { NLL, DIFFICULTY, FORWARD, MIXED, CROSS };

typedef struct {
    float *restrict loss, *restrict nll, *restrict difficulty, *restrict teacher_nll, *restrict norm;
    uint8_t *restrict hard;
} results;

#define BLOCK 1024

static inline float bits_to_float(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int32_t float_to_bits(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e^x for x <= 88; 0 below the least normal float. Error below 2 ulp. */
static inline float exponential(float x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float bounded = x > -87.0f ? x : -87.0f;
    float n = (bounded * 1.44269504f + round) - round;
    float r = bounded - n * 0.693359375f;
    r += n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    y *= bits_to_float(((int32_t)n + 127) << 23);
    return x > -87.0f ? y : 0.0f;
}

/* ln x for normal x > 0. */
static inline float logarithm(float x) {
    int32_t bits = float_to_bits(x);
    int32_t exponent = ((bits - 0x3f3504f3) >> 23); /* mantissa into [1/sqrt 2, sqrt 2) */
    float m = bits_to_float(bits - exponent * (1 << 23)) - 1.0f;
    float e = (float)exponent;
    float z = m * m;
    float y = 7.0376836292e-2f;
    y = y * m - 1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z + e * -2.12194440e-4f - 0.5f * z;
    return m + y + e * 0.693359375f;
}

static inline float larger(float a, float b) { return a > b ? a : b; }

static float greatest(const float *restrict x, int64_t n) {
    float most = x[0];
#pragma omp simd reduction(max : most)
    for (int64_t v = 0; v < n; v++) most = larger(x[v], most);
    return most;
}

/* Sums over a row, of blocks in float and of all in double. e^s and e^t are relative to the row's
   greatest, so that no exponent is above 0. */
typedef struct {
    double e_s, e_t;
    double t_in_t, s_in_t; /* of e^t t, and of e^t (s - origin) */
    double s_in_s, t_in_s; /* of e^s s, and of e^s t */
} sums;

typedef struct {
    float most_s, most_t;
    float origin; /* any logit of the student's: what is near 0 is summed up best */
} bases;

/* `keep` puts e^s and e^t in place of s and t; `reverse` adds up what the REVERSE form needs. */
static inline __attribute__((always_inline)) void add_both(
    sums *all, float *restrict s, float *restrict t, bases base, int64_t n, int keep, int reverse
) {
    float sum_s = 0, sum_t = 0, t_in_t = 0, s_in_t = 0, s_in_s = 0, t_in_s = 0;
#pragma omp simd reduction(+ : sum_s, sum_t, t_in_t, s_in_t, s_in_s, t_in_s)
    for (int64_t v = 0; v < n; v++) {
        float of_s = s[v] - base.most_s, of_t = t[v] - base.most_t;
        float e_s = exponential(of_s), e_t = exponential(of_t);
        sum_s += e_s;
        sum_t += e_t;
        t_in_t += e_t * larger(of_t, -104.0f); /* 0 ln 0 = 0 */
        s_in_t += e_t * (s[v] - base.origin);
        if (reverse) {
            s_in_s += e_s * larger(of_s, -104.0f);
            t_in_s += e_s > 0 ? e_s * of_t : 0;
        }
        if (keep) {
            s[v] = e_s;
            t[v] = e_t;
        }
    }
    all->e_s += sum_s;
    all->e_t += sum_t;
    all->t_in_t += t_in_t;
    all->s_in_t += s_in_t;
    all->s_in_s += s_in_s;
    all->t_in_s += t_in_s;
}

static void add_student(sums *all, float *restrict s, bases base, int64_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t v = 0; v < n; v++) {
        float e = exponential(s[v] - base.most_s);
        sum += e;
        s[v] = e;
    }
    all->e_s += sum;
}

/* What turns the kept e^s and e^t into q and tau, and a gradient into one before the soft cap. */
typedef struct {
    float per_s; /* q = per_s e^s */
    float per_t; /* tau off the label = per_t e^t */
    float beta;
    float factor;         /* weight of the token times the head's scale */
    float of_cap, most_s; /* 1 / cap, or 0 */
} row;

/* d capped / d raw, up to the scale: 1 - (z / cap)^2, with z taken back from e^(z - most). */
static inline float slope(row w, float e) {
    float bent = (logarithm(larger(e, 1.2e-38f)) + w.most_s) * w.of_cap;
    return 1 - bent * bent;
}

/* Sum of q r and of tau ln r, off the label; r takes the place of e^t. */
static void add_skew(
    double *qr, double *loss, const float *restrict s, float *restrict t, row w, int64_t n
) {
    float product = 0, divergence = 0;
#pragma omp simd reduction(+ : product, divergence)
    for (int64_t v = 0; v < n; v++) {
        float q = w.per_s * s[v], tau = w.per_t * t[v];
        float proxy = w.beta * q + (1 - w.beta) * tau;
        float r = proxy > 0 ? tau / proxy : 0;
        t[v] = r;
        product += q * r;
        divergence += tau * logarithm(larger(r, 1.2e-38f));
    }
    *qr += product;
    *loss += divergence;
}

/* The gradients, off the label, in place of e^s; they return the sum of their squares. */
static inline __attribute__((always_inline)) float put_linear(
    float *restrict s, const float *restrict t, row w, int64_t n, int teacher, int capped
) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t v = 0; v < n; v++) {
        float g = w.per_s * s[v];
        if (teacher) g -= w.per_t * t[v];
        g *= capped ? w.factor * slope(w, s[v]) : w.factor;
        s[v] = g;
        squares += g * g;
    }
    return squares;
}

/* q (constant - times r), with r in place of e^t */
static inline __attribute__((always_inline)) float put_skew(
    float *restrict s, const float *restrict r, row w, float constant, float times, int64_t n,
    int capped
) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t v = 0; v < n; v++) {
        float g = w.per_s * s[v] * (constant - times * r[v]);
        g *= capped ? w.factor * slope(w, s[v]) : w.factor;
        s[v] = g;
        squares += g * g;
    }
    return squares;
}

/* q (constant + times (ln q - ln p)), with logits still in place */
static float put_reverse(
    float *restrict s, const float *restrict t, row w, float lse_s, float lse_t, float constant,
    float times, int64_t n
) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t v = 0; v < n; v++) {
        float bent = s[v] * w.of_cap, of_s = s[v] - lse_s, q = exponential(of_s);
        float apart = q > 0 ? of_s - (t[v] - lse_t) : 0;
        float g = w.factor * (1 - bent * bent) * q * (constant + times * apart);
        s[v] = g;
        squares += g * g;
    }
    return squares;
}

static double times_log(double a) { return a > 0 ? a * log(a) : 0; }

#define EACH_BLOCK(from, to) \
    for (int64_t a = (from), n; a < (to) && ((n = (to) - a < BLOCK ? (to) - a : BLOCK), 1); a += n)
#define EACH_BLOCK_OFF_LABEL \
    for (int side = 0; side < 2; side++) EACH_BLOCK(side ? y + 1 : 0, side ? size : y)

static void one_row(
    const plan *what, float *restrict s, float *restrict t, int64_t size, int64_t y, float weight,
    int preselected, int hard, results out, int64_t i
) {
    double s_y = s[y], t_y = t ? t[y] : 0;
    bases base = {greatest(s, size), t ? greatest(t, size) : 0, s[y]};
    sums all = {0, 0, 0, 0, 0, 0};
    EACH_BLOCK(0, size) {
        if (!t) add_student(&all, s + a, base, n);
        else if (what->form == REVERSE) add_both(&all, s + a, t + a, base, n, 0, 1);
        else add_both(&all, s + a, t + a, base, n, 1, 0);
    }
    double lse_s = base.most_s + log(all.e_s), nll = lse_s - s_y;
    double lse_t = 0, log_p_y = 0, p_y = 0, forward = 0, cross = 0, d = nll;
    int doubted = 0;
    out.nll[i] = (float)nll;
    if (t) {
        lse_t = base.most_t + log(all.e_t);
        log_p_y = t_y - lse_t;
        p_y = exp(log_p_y);
        double p_log_p = all.t_in_t / all.e_t - log(all.e_t); /* sum of p ln p */
        double p_log_q = all.s_in_t / all.e_t + base.origin - lse_s;
        forward = p_log_p - p_log_q;
        cross = -p_log_q;
        double lam = what->lam, on_label = lam * p_y + 1 - lam;
        double entropy = lam > 0 ? lam * (p_log_p - times_log(p_y)) + times_log(lam) * (1 - p_y) : 0;
        d = entropy + times_log(on_label) - (lam > 0 ? lam * p_log_q : 0) + (1 - lam) * nll;
        doubted = (float)-log_p_y > larger((float)what->doubt, (float)-p_log_p);
        out.teacher_nll[i] = (float)-log_p_y;
        out.difficulty[i] = (float)d;
        if (!preselected) hard = (float)d > (float)what->gamma;
        out.hard[i] = (uint8_t)hard;
    }

    int taken = what->takers == HARD ? hard
              : what->takers == EASY ? !hard
              : what->takers == VOUCHED ? hard && doubted : 1;
    int form = taken ? what->form : LINEAR;
    double share = what->share, beta = what->beta, cap = what->cap, divergence = 0, qr = 0;
    double q_y = exp(-nll), tau_y = share * p_y + 1 - share, r_y = 0;
    row w = {
        (float)(1 / all.e_s), t ? (float)(share / all.e_t) : 0, (float)beta,
        (float)(weight * what->scale), cap > 0 ? (float)(1 / cap) : 0, base.most_s,
    };
    if (form == SKEW) {
        EACH_BLOCK_OFF_LABEL add_skew(&qr, &divergence, s + a, t + a, w, n);
        double proxy = beta * q_y + (1 - beta) * tau_y;
        r_y = proxy > 0 ? tau_y / proxy : 0;
        qr += q_y * r_y;
        if (tau_y > 0) divergence += tau_y * log(r_y);
    } else if (form == REVERSE) {
        divergence = (all.s_in_s - all.t_in_s) / all.e_s - log(all.e_s) + log(all.e_t);
    }

    double loss = nll, kl = what->kl, reference = what->reference;
    if (what->loss == DIFFICULTY) loss = form == LINEAR ? d : divergence;
    else if (what->loss == FORWARD) loss = (1 - share) * nll + (share > 0 ? share * forward : 0);
    else if (what->loss == CROSS) loss = (1 - share) * nll + (share > 0 ? share * cross : 0);
    else if (what->loss == MIXED) loss = reference * nll + (kl > 0 ? kl * divergence : 0);
    out.loss[i] = (float)loss;
    if (!what->gradient) return;

    double norm = 0, g_y;
    int capped = cap > 0;
    if (form == LINEAR) {
        int teacher = t && share > 0;
        g_y = q_y - share * p_y - (1 - share);
        EACH_BLOCK_OFF_LABEL {
            float *x = s + a, *z = teacher ? t + a : 0;
            if (capped) norm += put_linear(x, z, w, n, teacher, 1);
            else if (teacher) norm += put_linear(x, z, w, n, 1, 0);
            else norm += put_linear(x, z, w, n, 0, 0);
        }
    } else if (form == SKEW) {
        float times = (float)(kl * beta), constant = (float)(reference + kl * beta * qr);
        g_y = reference * (q_y - 1) - kl * beta * q_y * (r_y - qr);
        EACH_BLOCK_OFF_LABEL {
            if (capped) norm += put_skew(s + a, t + a, w, constant, times, n, 1);
            else norm += put_skew(s + a, t + a, w, constant, times, n, 0);
        }
    } else {
        float constant = (float)(reference - kl * divergence);
        g_y = reference * (q_y - 1) + kl * q_y * (-nll - log_p_y - divergence);
        EACH_BLOCK_OFF_LABEL norm += put_reverse(
            s + a, t + a, w, (float)lse_s, (float)lse_t, constant, (float)kl, n);
    }
    double bent = capped ? s_y / cap : 0;
    g_y *= weight * what->scale * (1 - bent * bent);
    s[y] = (float)g_y;
    out.norm[i] = (float)sqrt(norm + g_y * g_y);
}

/* rows tokens; student and teacher have `size` finished logits a row, at their strides. `weights`
   and `hard` may be null. The student's rows become gradients if the plan asks for them; the
   teacher's are used up. */
void evokd_row_pass(
    const plan *what, int64_t rows, int64_t size, float *student, int64_t student_stride,
    float *teacher, int64_t teacher_stride, const int64_t *labels, const float *weights,
    const uint8_t *hard, float *loss, float *nll, float *difficulty, float *teacher_nll,
    uint8_t *is_hard, float *norm
) {
    results out = {loss, nll, difficulty, teacher_nll, norm, is_hard};
#pragma omp parallel for schedule(static) num_threads(what->threads)
    for (int64_t i = 0; i < rows; i++)
        one_row(what, student + i * student_stride, teacher ? teacher + i * teacher_stride : 0,
                size, labels[i], weights ? weights[i] : 1.0f, hard != 0, hard ? hard[i] : 0, out, i);
}
