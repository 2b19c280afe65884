/* Binary cross-entropy with logits, f32 targets: mean loss and gradient in one pass.

   In:  X[N] logits, T[N] targets.             -D VECTORS  float16 vectors per work-item, a multiple of 4
   Out: G[N] gradient of the mean loss,        N is a multiple of 16 VECTORS; X, T, G start on 64-byte boundaries.
        partial[N / (16 VECTORS)] loss sums.

   With e = exp(-|x|):   loss = max(x, 0) - x t + log1p(e)      g = ((x >= 0 ? 1 : e) / (1 + e) - t) scale
   Bound by the multiply-add pipe (18 operations and one division a vector), so: the exponent is added as an integer, the division has
   its numerator chosen beforehand, and four vectors advance in lockstep because the scheduler does not see far enough ahead. */

#define LOG2E 1.44269504088896340736f
#define LOCKSTEP 4
#define EACH _Pragma("unroll") for (int w = 0; w < LOCKSTEP; w++)
#define CONSTANT(c) ((float16)(c))

inline float horizontal_sum(float16 v) {
  const float8 a = v.lo + v.hi;
  const float4 b = a.lo + a.hi;
  const float2 c = b.lo + b.hi;
  return c.x + c.y;
}

__attribute__((intel_vec_len_hint(1)))
__kernel void bce_with_logits(__global const float *restrict X, __global const float *restrict T,
                              __global float *restrict partial, __global float *restrict G, const float scale) {
  const size_t item = get_global_id(0);
  __global const float16 *x = (__global const float16 *)X + item * VECTORS;
  __global const float16 *t = (__global const float16 *)T + item * VECTORS;
  __global float16 *g = (__global float16 *)G + item * VECTORS;
  float16 sum[LOCKSTEP];
  EACH sum[w] = 0.0f;

  for (int j = 0; j < VECTORS; j += LOCKSTEP) {
    float16 logit[LOCKSTEP], target[LOCKSTEP], power[LOCKSTEP], n[LOCKSTEP], r[LOCKSTEP], p[LOCKSTEP], e[LOCKSTEP],
        sigmoid[LOCKSTEP];
    EACH logit[w] = x[j + w];

    /* e = exp(-|x|), 1.8 ulp: 2^(n + r), r in [-1/2, 1/2]. Not below 2^-126; NaN stays NaN (the operand order of the clamp). */
    EACH power[w] = fabs(logit[w]) * -LOG2E;
    EACH power[w] = (-126.0f > power[w]) ? CONSTANT(-126.0f) : power[w];
    EACH n[w] = power[w] + 12582912.0f;
    EACH r[w] = n[w] - 12582912.0f;
    EACH r[w] = power[w] - r[w];
    EACH p[w] = fma(r[w], CONSTANT(0.0013225703535150563f), CONSTANT(0.009671762927499808f));
    EACH p[w] = fma(p[w], r[w], CONSTANT(0.05550891450449668f));
    EACH p[w] = fma(p[w], r[w], CONSTANT(0.2402223703596618f));
    EACH p[w] = fma(p[w], r[w], CONSTANT(0.6931468292421027f));
    EACH p[w] = fma(p[w], r[w], CONSTANT(1.0f));
    EACH e[w] = as_float16(as_int16(p[w]) + (as_int16(n[w]) << 23));

    EACH target[w] = t[j + w];
    EACH sigmoid[w] = select(CONSTANT(1.0f), e[w], as_int16(logit[w])) / (1.0f + e[w]); /* the sign bit selects e */

    /* log1p(e) = e P(e) on [0, 1], 2.3 ulp */
    EACH p[w] = fma(e[w], CONSTANT(0.005522452204099239f), CONSTANT(-0.030698692290260628f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(0.08023449155610109f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(-0.13840808651387232f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(0.19194188805477147f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(-0.24867332392204988f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(0.33322547636644745f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(-0.49999699970114053f));
    EACH p[w] = fma(p[w], e[w], CONSTANT(1.0f));
    EACH sum[w] += fma(p[w], e[w], fma(-logit[w], target[w], (logit[w] > 0.0f) ? logit[w] : CONSTANT(0.0f)));

    EACH __builtin_nontemporal_store((sigmoid[w] - target[w]) * scale, g + j + w);
  }
  partial[item] = horizontal_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
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
