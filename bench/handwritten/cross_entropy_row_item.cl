/* Cross-entropy with integer labels, f32: mean loss and gradient in one pass over DRAM.

   In:  X[M, C] logits, Y[M] labels in [0, C).      -D C      row length, at least 16
   Out: G[M, C] gradient of the mean loss,          -D ROWS   rows per work-item, a multiple of 16 that divides M
        partial[M / ROWS] sums of row losses.       -D GROUP  16 / gcd(C, 16): rows after which a row starts on a
                                                              64-byte boundary again
   X and G start on 64-byte boundaries. One work-item walks ROWS rows; a work-group is whatever the runtime likes.

   Per row:   m = max x      e = exp(x - m)      s = sum e      loss = m + log s - x[y]      g = (e - s [c = y]) scale / s
   One loop does all three stages, each for another row, so that the loads of the maximum, the arithmetic of the exponential
   and the stores of the gradient run at the same time:

       maximum of row k+1   |   exp and sum of row k, e kept in the scratch   |   scale and store the group before

   Beside this, row k+1's successor is prefetched into L2. The exponential is evaluated once an element.

   What the parts are worth, CPU time of one Zen 4 core, each against the row above (8192x1000 | 16384x1024 | 2048x32000):
   three passes, two exponentials, ordinary stores                    3.1 ms | 6.2 ms | 31 ms
   one exponential, scratch, non-temporal stores of whole groups        0.76 |   0.78 |  0.85
   maximum of row k+1 in the loop of row k, prefetch                    0.94 |   0.76 |  0.72
   scaling and storing in that loop too                                 0.99 |   0.87 |  1.01
   together                                                           2.2 ms | 3.2 ms | 20 ms
   a copy with non-temporal stores                                    1.5 ms | 2.9 ms | 12 ms
   What did not pay stands in ../REJECTED.md. */

#define VECTORS (C / 16)
#define RAGGED (C % 16)
#define GROUP_VECTORS (GROUP * C / 16)
#define PREFETCH_AHEAD (C + 4096)  /* floats from the element being exponentiated: 16 KB beyond the reader of row k+1 */
#define LOG2E 1.44269504088896340736f
#define MAX(a, b) ((a) > (b) ? (a) : (b))  /* one vmaxps; fmax() would cost four instructions */

inline float horizontal_max(float16 v) {
  const float8 a = MAX(v.lo, v.hi);
  const float4 b = MAX(a.lo, a.hi);
  const float2 c = MAX(b.lo, b.hi);
  return MAX(c.x, c.y);
}

inline float horizontal_sum(float16 v) {
  const float8 a = v.lo + v.hi;
  const float4 b = a.lo + a.hi;
  const float2 c = b.lo + b.hi;
  return c.x + c.y;
}

/* 2^t for t <= 0, 1.8 ulp, 0 at -inf, NaN stays NaN (the operand order of the clamp).
   t = n + r with r in [-1/2, 1/2]; adding 1.5 2^23 + 127 rounds t to n and leaves the biased exponent n + 127 in the low bits,
   so that a shift makes 2^n of them (n = -127 gives 0.0). The polynomial is minimax in ulps with P(0) = 1. */
inline float16 exp2_nonpositive(float16 t) {
  const float16 shifter = 12583039.0f;
  t = (-127.0f > t) ? (float16)(-127.0f) : t;
  const float16 n = t + shifter;
  const float16 r = t - (n - shifter);
  float16 p = fma(r, (float16)(0.0013225703535150563f), (float16)(0.009671762927499808f));
  p = fma(p, r, (float16)(0.05550891450449668f));
  p = fma(p, r, (float16)(0.2402223703596618f));
  p = fma(p, r, (float16)(0.6931468292421027f));
  p = fma(p, r, (float16)(1.0f));
  return p * as_float16(as_int16(n) << 23);
}

/* exp(x - m) = 2^(x log2(e) - m log2(e)): the rounding of m log2(e) is a factor common to the row and cancels in e / s. */
#define EXPONENTIAL(x) exp2_nonpositive(fma((x), (float16)(LOG2E), (float16)(-shift)))
#define LANE ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define STORE(v, at) __builtin_nontemporal_store((v), (__global float16 *)(at))

inline float row_maximum(__global const float *x) {
  float16 m0 = vload16(0, x), m1 = m0, m2 = m0, m3 = m0;
  int j = 0;
  for (; j + 4 <= VECTORS; j += 4) {
    m0 = MAX(vload16(j, x), m0);
    m1 = MAX(vload16(j + 1, x), m1);
    m2 = MAX(vload16(j + 2, x), m2);
    m3 = MAX(vload16(j + 3, x), m3);
  }
  for (; j < VECTORS; j++) m0 = MAX(vload16(j, x), m0);
#if RAGGED
  m1 = MAX(vload16(0, x + C - 16), m1);
#endif
  return horizontal_max(MAX(MAX(m0, m1), MAX(m2, m3)));
}

/* Stages "exp and sum of row k" and "maximum of row k+1" for 16 columns from o. */
#define EXP_AND_NEXT_MAX(sum, maximum, o)                                \
  {                                                                      \
    const float16 e = EXPONENTIAL(vload16(0, x + (o)));                  \
    vstore16(e, 0, scratch + (o));                                       \
    sum += e;                                                            \
    maximum = MAX(vload16(0, next + (o)), maximum);                      \
    __builtin_prefetch(x + PREFETCH_AHEAD + (o), 0, 2);                  \
  }
/* Stage "scale and store" for vector v of the group before. */
#define SCALE_AND_STORE(v, factor) STORE(before[v] * (factor), g + 16 * (v))

__attribute__((intel_vec_len_hint(1)))
__kernel void cross_entropy(__global const float *restrict X, __global const int *restrict Y,
                            __global float *restrict partial, __global float *restrict G, const float scale) {
  const size_t item = get_global_id(0);
  const size_t first_row = item * ROWS;
  __private float16 scratches[2][GROUP_VECTORS];
  float factors[2][GROUP];
  float offsets[ROWS], sums[ROWS];
  __global const float *x = X + first_row * C;
  __global float *g = G + first_row * C;
  float m = row_maximum(x);

  for (int k = 0; k < ROWS; k += GROUP) {
    const int here = k / GROUP % 2;
    const float16 *before = scratches[1 - here];
    const float *factor_before = factors[1 - here];
#if GROUP <= 4  /* unrolling the 16 rows of an odd C takes the driver a second and gains nothing */
#pragma unroll
#endif
    for (int p = 0; p < GROUP; p++) {
      const int whole_from = (p * C + 15) / 16;  /* row p of a group owns the vectors whole_from .. whole_to entirely */
      const int whole_to = (p + 1) * C / 16;
      float *scratch = (float *)scratches[here] + p * C;
      __global const float *next = k + p + 1 < ROWS ? x + C : x;
      const float shift = m * LOG2E;
      float16 s0 = 0, s1 = 0;
      float16 m0 = vload16(0, next), m1 = m0;
      int j = 0, v = whole_from;
      if (k) {
        const float f = factor_before[p];
        for (; v < whole_to; j++, v++) {
          EXP_AND_NEXT_MAX(s0, m0, j * 16)
          SCALE_AND_STORE(v, f);
        }
        if (p + 1 < GROUP)  /* the vector that rows p and p + 1 share */
          SCALE_AND_STORE(v, (LANE < (p + 1) * C - 16 * v) ? (float16)(f) : (float16)(factor_before[p + 1]));
      }
      for (; j < VECTORS; j++) EXP_AND_NEXT_MAX(s0, m0, j * 16)
#if RAGGED  /* the last 16 columns again; only those not yet summed count */
      {
        const float16 e = EXPONENTIAL(vload16(0, x + C - 16));
        s1 += (LANE >= 16 - RAGGED) ? e : (float16)(0.0f);
        vstore16(e, 0, scratch + C - 16);
        m1 = MAX(vload16(0, next + C - 16), m1);
      }
#endif
      const float s = horizontal_sum(s0 + s1);
      const int y = Y[first_row + k + p];
      offsets[k + p] = m - x[y];
      sums[k + p] = s;
      scratch[y] -= s;  /* here, not in G: reading back a line after its non-temporal store costs a trip to DRAM */
      factors[here][p] = scale / s;
      m = horizontal_max(MAX(m0, m1));
      x += C;
    }
    if (k) g += GROUP * C;
  }

  {  /* the last group has nobody behind it */
    const int here = (ROWS / GROUP - 1) % 2;
    const float16 *before = scratches[here];
    for (int p = 0, v = 0; p < GROUP; p++) {
      const float f = factors[here][p];
      for (; 16 * v + 16 <= (p + 1) * C; v++) SCALE_AND_STORE(v, f);
      if (p + 1 < GROUP) {
        SCALE_AND_STORE(v, (LANE < (p + 1) * C - 16 * v) ? (float16)(f) : (float16)(factors[here][p + 1]));
        v++;
      }
    }
  }

  float16 loss = 0;  /* 16 logarithms at a time: one a row would cost 3 % */
  for (int k = 0; k < ROWS; k += 16) loss += vload16(0, offsets + k) + log(vload16(0, sums + k));
  partial[item] = horizontal_sum(loss);
}

/* One work-item: the partial sums in a fixed order. */
__kernel void finish(__global const float *restrict partial, __global float *restrict loss, const int count, const float scale) {
  float16 s = 0;
  int i = 0;
  for (; i + 16 <= count; i += 16) s += vload16(0, partial + i);
  float total = horizontal_sum(s);
  for (; i < count; i++) total += partial[i];
  loss[0] = total * scale;
}
