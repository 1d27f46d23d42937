// The instructions of simt.h as PTX. Contracts stand in emulator.h, which does in C++ what these do in silicon.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "simt/types.h"

namespace quire::simt {

using TensorMap = CUtensorMap;

QUIRE_DEVICE int ThreadId() { return static_cast<int>(threadIdx.x); }
QUIRE_DEVICE int BlockX() { return static_cast<int>(blockIdx.x); }
QUIRE_DEVICE int BlockY() { return static_cast<int>(blockIdx.y); }
QUIRE_DEVICE int BlockZ() { return static_cast<int>(blockIdx.z); }
QUIRE_DEVICE int GridX() { return static_cast<int>(gridDim.x); }

QUIRE_DEVICE char* SharedMemory() {
  extern __shared__ __align__(1024) char quire_shared_memory[];
  return quire_shared_memory;
}
QUIRE_DEVICE SharedAddress AddressOf(const void* shared) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(shared));
}

QUIRE_DEVICE void SyncThreads() { __syncthreads(); }
QUIRE_DEVICE void SyncWarp() { __syncwarp(); }
QUIRE_DEVICE void SyncSome(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
QUIRE_DEVICE void ArriveSome(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

QUIRE_DEVICE uint32_t Shuffle(uint32_t value, int lane) { return __shfl_sync(0xFFFFFFFFU, value, lane); }
QUIRE_DEVICE float ShuffleXor(float value, int mask) { return __shfl_xor_sync(0xFFFFFFFFU, value, mask); }

QUIRE_DEVICE int AtomicAdd(int* address, int value) { return atomicAdd(address, value); }
QUIRE_DEVICE void MemoryFence() { __threadfence(); }

// A point that no instruction which `value` depends on is moved below. REQUIRES: value >= 0.
QUIRE_DEVICE void ComputeBefore(float value) {
  asm volatile("{ .reg .pred never; setp.lt.f32 never, %0, 0f00000000; @never nanosleep.u32 0; }" ::"f"(value)
               : "memory");
}

QUIRE_DEVICE float AsFloat(uint32_t bits) { return __uint_as_float(bits); }
QUIRE_DEVICE uint32_t AsBits(float value) { return __float_as_uint(value); }
QUIRE_DEVICE float FusedMultiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
QUIRE_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
QUIRE_DEVICE float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
QUIRE_DEVICE float Rsqrt(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Two floats to bf16, nearest even: `low` in the lower half.
QUIRE_DEVICE uint32_t PackBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
QUIRE_DEVICE uint32_t PermuteBytes(uint32_t a, uint32_t b, uint32_t selector) { return __byte_perm(a, b, selector); }
// (a & mask) | base, one instruction.
QUIRE_DEVICE uint32_t MaskOr(uint32_t a, uint32_t mask, uint32_t base) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(result) : "r"(a), "r"(mask), "r"(base));
  return result;
}
// a - b on two bf16 each.
QUIRE_DEVICE uint32_t SubtractBf16x2(uint32_t a, uint32_t b) {
  uint32_t result;
  // sub.bf16x2 needs sm_90; the fused form a * 1 - b is the same value and exists from sm_80 on.
  asm("{ .reg .b32 one, negated; mov.b32 one, 0x3F803F80; xor.b32 negated, %2, 0x80008000;\n"
      "  fma.rn.bf16x2 %0, %1, one, negated; }"
      : "=r"(result)
      : "r"(a), "r"(b));
  return result;
}

QUIRE_DEVICE Vec4 LoadStreaming(const void* global) {
  Vec4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(global));
  return v;
}
// Past the caches of this multiprocessor: what another one stored before a MemoryFence.
QUIRE_DEVICE Vec4 LoadCoherent16(const void* global) {
  Vec4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(global));
  return v;
}
QUIRE_DEVICE Float2 LoadCoherent8(const float* global) {
  Float2 v;
  asm volatile("ld.global.cg.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(global));
  return v;
}
QUIRE_DEVICE Vec4 Load16(const void* pointer) { return *static_cast<const Vec4*>(pointer); }
QUIRE_DEVICE void Store16(void* pointer, const Vec4& v) { *static_cast<Vec4*>(pointer) = v; }

QUIRE_DEVICE void Mma16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
QUIRE_DEVICE uint32_t TransposeMatrix(uint32_t fragment) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(fragment));
  return result;
}
QUIRE_DEVICE void LoadMatrices(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
QUIRE_DEVICE void LoadMatricesTransposed(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

QUIRE_DEVICE void CopyAsync(SharedAddress to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
QUIRE_DEVICE void CopyAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
QUIRE_DEVICE void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

QUIRE_DEVICE void DependencyWait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
QUIRE_DEVICE void DependencyLaunch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

QUIRE_DEVICE void BarrierInit(SharedAddress barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
QUIRE_DEVICE void BarrierArrive(SharedAddress barrier) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(barrier) : "memory");
}
QUIRE_DEVICE void BarrierWait(SharedAddress barrier, uint32_t parity) {
  // try_wait, which sleeps meanwhile, came with sm_90.
#if __CUDA_ARCH__ >= 900
#define QUIRE_BARRIER_TEST "mbarrier.try_wait.parity.shared::cta.b64"
#else
#define QUIRE_BARRIER_TEST "mbarrier.test_wait.parity.shared.b64"
#endif
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n" QUIRE_BARRIER_TEST
      " done, [%0], %1;\n"
      "@done bra ended;\n"
      "bra again;\n"
      "ended:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
#undef QUIRE_BARRIER_TEST
}

// What follows needs sm_90 (a). Kernels that use it are compiled for that target alone.
#if defined(QUIRE_SIMT_SM90)

QUIRE_DEVICE void BarrierInitFence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
QUIRE_DEVICE void BarrierExpect(SharedAddress barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// What this thread stored to shared memory is seen by copies and products that begin after the next barrier.
QUIRE_DEVICE void SharedWriteFence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

QUIRE_DEVICE void LoadTile(SharedAddress to, const TensorMap* map, SharedAddress barrier, int c0, int c1, int c2,
                           int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
QUIRE_DEVICE void LoadTile(SharedAddress to, const TensorMap* map, SharedAddress barrier, int c0, int c1, int c2,
                           int c3, int c4) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, "
      "%7}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
}
QUIRE_DEVICE void PrefetchTensorMap(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

QUIRE_DEVICE void ProductFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
QUIRE_DEVICE void ProductCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
QUIRE_DEVICE void ProductWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
template <int kRegisters>
QUIRE_DEVICE void GrowRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
QUIRE_DEVICE void ShrinkRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
// Accumulators belong to products under way: the compiler must neither move nor copy them meanwhile.
template <int kCount>
QUIRE_DEVICE void PinRegisters(float (&registers)[kCount]) {
  QUIRE_UNROLL
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

#define QUIRE_ACC8(d, i)                                                                                  \
  "+f"(d[(i)]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3]), "+f"(d[(i) + 4]), "+f"(d[(i) + 5]), \
      "+f"(d[(i) + 6]), "+f"(d[(i) + 7])
#define QUIRE_ACC64(d)                                                                                            \
  QUIRE_ACC8(d, 0), QUIRE_ACC8(d, 8), QUIRE_ACC8(d, 16), QUIRE_ACC8(d, 24), QUIRE_ACC8(d, 32), QUIRE_ACC8(d, 40), \
      QUIRE_ACC8(d, 48), QUIRE_ACC8(d, 56)
#define QUIRE_ACC64_LIST                                                                                       \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, " \
  "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "  \
  "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"

QUIRE_DEVICE void ProductShared(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " QUIRE_ACC64_LIST ", %64, %65, p, 1, 1, 0, 0;\n}\n"
      : QUIRE_ACC64(d)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}
QUIRE_DEVICE void ProductRegisters(float (&d)[64], const uint32_t (&a)[4], uint64_t b_transposed) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " QUIRE_ACC64_LIST
               ", {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
               : QUIRE_ACC64(d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_transposed));
}
#undef QUIRE_ACC8
#undef QUIRE_ACC64
#undef QUIRE_ACC64_LIST

#endif  // QUIRE_SIMT_SM90

}  // namespace quire::simt
