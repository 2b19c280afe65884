/* Device copies, the yardstick: as many bytes as a loss and its gradient move at least.

   copy_two reads A and writes G (cross-entropy), copy_three reads A and B and writes G (BCE).
   -D VECTORS float16 vectors per work-item, -D NONTEMPORAL 0 or 1. */

#if NONTEMPORAL
#define STORE(v, at) __builtin_nontemporal_store((v), (at))
#else
#define STORE(v, at) *(at) = (v)
#endif

__attribute__((intel_vec_len_hint(1)))
__kernel void copy_two(__global const float16 *restrict A, __global float16 *restrict G) {
  const size_t first = get_global_id(0) * VECTORS;
  for (int j = 0; j < VECTORS; j++) STORE(A[first + j], G + first + j);
}

__attribute__((intel_vec_len_hint(1)))
__kernel void copy_three(__global const float16 *restrict A, __global const float16 *restrict B, __global float16 *restrict G) {
  const size_t first = get_global_id(0) * VECTORS;
  for (int j = 0; j < VECTORS; j++) STORE(A[first + j] + B[first + j], G + first + j);
}
