/* What the device's arithmetic does at best: operations over numbers that stay in the first-level cache.

   Every work-item has VECTORS float16 vectors of its own and replaces each by a function of itself, ROUNDS times. The
   functions have fixed points that they run into, so the numbers stay ordinary ones.
   -D VECTORS a multiple of 4, -D ROUNDS. */

#define LOG2E 1.44269504088896340736f
#define LOCKSTEP 4
#define EACH _Pragma("unroll") for (int w = 0; w < LOCKSTEP; w++)
#define CONSTANT(c) ((float16)(c))
#define OVER_ALL(name, body)                                                     \
  __attribute__((intel_vec_len_hint(1))) __kernel void name(__global float *X) { \
    __global float16 *own = (__global float16 *)X + get_global_id(0) * VECTORS;  \
    for (int round = 0; round < ROUNDS; round++)                                 \
      for (int j = 0; j < VECTORS; j += LOCKSTEP) {                              \
        float16 x[LOCKSTEP], n[LOCKSTEP], r[LOCKSTEP], p[LOCKSTEP];              \
        EACH x[w] = own[j + w];                                                  \
        body EACH own[j + w] = x[w];                                             \
      }                                                                          \
  }

/* exp(-x), 1.8 ulp: 2^(n + r) with r in [-1/2, 1/2], not below 2^-126. */
OVER_ALL(exp_rate, {
  EACH x[w] = x[w] * -LOG2E;
  EACH x[w] = (-126.0f > x[w]) ? CONSTANT(-126.0f) : x[w];
  EACH n[w] = x[w] + 12582912.0f;
  EACH r[w] = n[w] - 12582912.0f;
  EACH r[w] = x[w] - r[w];
  EACH p[w] = fma(r[w], CONSTANT(0.0013225703535150563f), CONSTANT(0.009671762927499808f));
  EACH p[w] = fma(p[w], r[w], CONSTANT(0.05550891450449668f));
  EACH p[w] = fma(p[w], r[w], CONSTANT(0.2402223703596618f));
  EACH p[w] = fma(p[w], r[w], CONSTANT(0.6931468292421027f));
  EACH p[w] = fma(p[w], r[w], CONSTANT(1.0f));
  EACH x[w] = as_float16(as_int16(p[w]) + (as_int16(n[w]) << 23));
})

/* log1p(x) = x P(x) on [0, 1], 2.3 ulp; from 1 - log1p(x) back into that range. */
OVER_ALL(log1p_rate, {
  EACH p[w] = fma(x[w], CONSTANT(0.005522452204099239f), CONSTANT(-0.030698692290260628f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(0.08023449155610109f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(-0.13840808651387232f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(0.19194188805477147f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(-0.24867332392204988f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(0.33322547636644745f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(-0.49999699970114053f));
  EACH p[w] = fma(p[w], x[w], CONSTANT(1.0f));
  EACH x[w] = fma(p[w], -x[w], CONSTANT(1.0f));
})

/* The driver's logarithm of any number: our own takes longer. */
OVER_ALL(log_rate, { EACH x[w] = log(x[w] + 2.0f); })

/* Twelve chains of multiply-adds. */
__attribute__((intel_vec_len_hint(1))) __kernel void fma_rate(__global float *X) {
  __global float16 *own = (__global float16 *)X + get_global_id(0) * VECTORS;
  float16 x[12];
  _Pragma("unroll") for (int w = 0; w < 12; w++) x[w] = own[w];
  for (int round = 0; round < ROUNDS * VECTORS; round++)
    _Pragma("unroll") for (int w = 0; w < 12; w++) x[w] = fma(x[w], CONSTANT(0.5f), CONSTANT(0.25f));
  _Pragma("unroll") for (int w = 0; w < 12; w++) own[w] = x[w];
}
