/* C[M, N] = A B in f32, one kernel, no scratch in global memory.

   -D K, N            inner size and columns, known when building; M is an argument
   -D TRANSPOSED_A 0  A is [M, K]      1  A is [K, M] (the weight gradient dY^T X); needs M >= TILE_ROWS
   -D TRANSPOSED_B 0  B is [K, N]      1  B is [N, K] (weights stored [out, in])
   -D TILE_ROWS       12, or 8 where it divides M and 12 does not
   -D TILE_VECTORS    2, or 1 for N <= 16: a tile is TILE_ROWS x 16 TILE_VECTORS accumulators in registers
   -D PANELS          panels of 16 TILE_VECTORS columns that one work-item keeps packed (4; 1 or 2 for few columns)
   -D BLOCK           rows of B packed at once (min(K, 1024))
   -D STAGE_A 1       copy the TILE_ROWS rows of A to a scratch with another pitch first: for K a multiple of 512, where the rows of a
                      tile fall into the same cache sets

   Global size (ceil(N / (16 TILE_VECTORS PANELS)), ceil(M / rows_per_item)), rows_per_item a multiple of TILE_ROWS.
   One work-item packs its columns of B once per BLOCK into private memory, [panel][k][16 TILE_VECTORS], padded with zeros, then walks
   its rows tile by tile. Inner loop, 12 x 32: two loads of B, twelve broadcasts of A, 24 multiply-adds. */

#define TILE_COLUMNS (16 * TILE_VECTORS)
#define STAGE_PITCH (BLOCK + 16)
#define UNROLL _Pragma("unroll")
#define SHUFFLE __builtin_shufflevector

/* The last N % 16 columns of a row. */
inline void store_ragged(float16 v, __global float *c) {
  int o = 0;
  if (N & 8) {
    vstore8(v.lo, 0, c);
    v.lo = v.hi;
    o = 8;
  }
  if (N & 4) {
    vstore4(v.s0123, 0, c + o);
    v.s0123 = v.s4567;
    o += 4;
  }
  if (N & 2) {
    vstore2(v.s01, 0, c + o);
    v.s01 = v.s23;
    o += 2;
  }
  if (N & 1) c[o] = v.s0;
}

inline float16 load_ragged(__global const float *c) {
  float lanes[16];
  for (int i = 0; i < 16; i++) lanes[i] = i < N % 16 ? c[i] : 0.0f;
  return vload16(0, lanes);
}

/* 16 x 16 in registers: pairs, then blocks of 2, 4 and 8 lanes change places; 64 shuffles. */
inline void transpose(float16 *r) {
  float16 t[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = SHUFFLE(r[i], r[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    t[i + 1] = SHUFFLE(r[i], r[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
  UNROLL for (int i = 0; i < 16; i += 4) UNROLL for (int j = i; j < i + 2; j++) {
    r[j] = SHUFFLE(t[j], t[j + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    r[j + 2] = SHUFFLE(t[j], t[j + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  UNROLL for (int i = 0; i < 16; i += 8) UNROLL for (int j = i; j < i + 4; j++) {
    t[j] = SHUFFLE(r[j], r[j + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    t[j + 4] = SHUFFLE(r[j], r[j + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  }
  UNROLL for (int j = 0; j < 8; j++) {
    r[j] = SHUFFLE(t[j], t[j + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    r[j + 8] = SHUFFLE(t[j], t[j + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
}

/* Columns n .. n+15 of B, rows k0 .. k0+depth, to every TILE_VECTORS-th vector of `packed`. */
inline void pack_columns(__global const float *restrict B, float16 *packed, int n, int k0, int depth) {
  const int width = min(N - n, 16);
  int k = 0;
  if (width <= 0) {
    for (; k < depth; k++) packed[k * TILE_VECTORS] = 0.0f;
    return;
  }
#if TRANSPOSED_B
  for (; k + 16 <= depth; k += 16) {
    float16 r[16];  /* lanes beyond the width repeat the last column and are never stored */
    UNROLL for (int i = 0; i < 16; i++) r[i] = vload16(0, B + (size_t)(n + min(i, width - 1)) * K + k0 + k);
    transpose(r);
    UNROLL for (int i = 0; i < 16; i++) packed[(k + i) * TILE_VECTORS] = r[i];
  }
  for (; k < depth; k++) {
    float lanes[16];
    for (int i = 0; i < 16; i++) lanes[i] = i < width ? B[(size_t)(n + i) * K + k0 + k] : 0.0f;
    packed[k * TILE_VECTORS] = vload16(0, lanes);
  }
#else
  if (width == 16)
    for (; k < depth; k++) packed[k * TILE_VECTORS] = vload16(0, B + (size_t)(k0 + k) * N + n);
  else
    for (; k < depth; k++) packed[k * TILE_VECTORS] = load_ragged(B + (size_t)(k0 + k) * N + n);
#endif
}

__attribute__((intel_vec_len_hint(1)))
__kernel void gemm(__global const float *restrict A, __global const float *restrict B, __global float *restrict C, const int M,
                   const int rows_per_item) {
  const int first_column = get_global_id(0) * PANELS * TILE_COLUMNS;
  const int row_from = get_global_id(1) * rows_per_item;
  const int row_to = min(M, row_from + rows_per_item);
  __private float16 packed[PANELS * BLOCK * TILE_VECTORS];
#if STAGE_A
  __private float16 staged[TILE_ROWS * STAGE_PITCH / 16 + 1];
#endif

  for (int k0 = 0; k0 < K; k0 += BLOCK) {
    const int depth = min(BLOCK, K - k0);
    for (int panel = 0; panel < PANELS; panel++)
      for (int v = 0; v < TILE_VECTORS; v++)
        pack_columns(B, packed + panel * BLOCK * TILE_VECTORS + v, first_column + panel * TILE_COLUMNS + 16 * v, k0, depth);

    for (int m = row_from; m < row_to; m += TILE_ROWS) {
#if TRANSPOSED_A
      /* a ragged last tile moves up; its rows below `own_from` belong to the tile before and are not stored */
      const int top = min(m, M - TILE_ROWS);
      __global const float *a = A + (size_t)k0 * M + top;
#define A_ELEMENT(i) a[(size_t)k * M + (i)]
#elif STAGE_A
      const int top = m;
      float *a = (float *)staged;
      for (int i = 0; i < TILE_ROWS; i++) {
        __global const float *row = A + (size_t)min(m + i, M - 1) * K + k0;
        int k = 0;
        for (; k + 16 <= depth; k += 16) vstore16(vload16(0, row + k), 0, a + i * STAGE_PITCH + k);
        for (; k < depth; k++) a[i * STAGE_PITCH + k] = row[k];
      }
#define A_ELEMENT(i) a[(i) * STAGE_PITCH + k]
#else
      /* a ragged last tile repeats row M - 1 and does not store the repetitions */
      const int top = m;
      __global const float *a[TILE_ROWS];
      UNROLL for (int i = 0; i < TILE_ROWS; i++) a[i] = A + (size_t)min(m + i, M - 1) * K + k0;
#define A_ELEMENT(i) a[i][k]
#endif
      const int own_from = m - top;
      const int own_to = min(row_to - top, TILE_ROWS);
      for (int panel = 0; panel < PANELS; panel++) {
        const int n = first_column + panel * TILE_COLUMNS;
        if (n >= N) break;
        const float16 *b = packed + panel * BLOCK * TILE_VECTORS;
        float16 c[TILE_ROWS][TILE_VECTORS];
        UNROLL for (int i = 0; i < TILE_ROWS; i++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) c[i][v] = 0.0f;
        for (int k = 0; k < depth; k++) {
          float16 row[TILE_VECTORS];
          UNROLL for (int v = 0; v < TILE_VECTORS; v++) row[v] = b[k * TILE_VECTORS + v];
          UNROLL for (int i = 0; i < TILE_ROWS; i++) {
            const float16 scalar = (float16)(A_ELEMENT(i));
            UNROLL for (int v = 0; v < TILE_VECTORS; v++) c[i][v] = fma(scalar, row[v], c[i][v]);
          }
        }
        UNROLL for (int i = 0; i < TILE_ROWS; i++) {
          if (i < own_from || i >= own_to) continue;
          UNROLL for (int v = 0; v < TILE_VECTORS; v++) {
            __global float *at = C + (size_t)(top + i) * N + n + 16 * v;
            if (n + 16 * v + 16 <= N)
              vstore16(k0 ? c[i][v] + vload16(0, at) : c[i][v], 0, at);
            else if (n + 16 * v < N)
              store_ragged(k0 ? c[i][v] + load_ragged(at) : c[i][v], at);
          }
        }
      }
    }
  }
}
