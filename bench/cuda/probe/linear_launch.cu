#include <array>

#include "kernels/dequant_linear.h"
#include "probe/ceilings.h"
#include "probe/linear_launch.h"
#include "probe/stream.h"

namespace quire::probe {
namespace {

// Blocks of a column of the grid that meet in global memory.
struct CardGrid {
  static constexpr bool kIsCluster = false;
#if __CUDA_ARCH__ >= 900
  static __device__ __forceinline__ void PrefetchToL2(const void* global, int bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
  }
#endif
};

// A column of the grid as a cluster, whose blocks read each other's shared memory.
struct CardCluster : CardGrid {
  static constexpr bool kIsCluster = true;
#if __CUDA_ARCH__ >= 900
  static __device__ __forceinline__ void Sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
  static __device__ __forceinline__ simt::Vec4 Load16(const void* shared, int rank) {
    simt::SharedAddress address;
    simt::Vec4 v;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(simt::AddressOf(shared)), "r"(rank));
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address)
                 : "memory");
    return v;
  }
#endif
};

template <WeightFormat kFormat, int kTokenTiles, typename Team, int kBlockTiles>
__global__ void __launch_bounds__(
    cuda::kLinearThreads, (cuda::LinearBlock<kFormat, kTokenTiles, Team, kBlockTiles>::kBlocksPerMultiprocessor))
    ProductKernel(const __grid_constant__ LinearArgs args) {
#if __CUDA_ARCH__ >= 900  // older cards lack the shared memory that the ring is made for
  cuda::LinearBlock<kFormat, kTokenTiles, Team, kBlockTiles>(args).Run();
#endif
}

template <WeightFormat kFormat, int kTokenTiles, typename Team, int kBlockTiles>
LinearKernel PrepareBlock() {
  using Block = cuda::LinearBlock<kFormat, kTokenTiles, Team, kBlockTiles>;
  const LinearKernel kernel = {&ProductKernel<kFormat, kTokenTiles, Team, kBlockTiles>, Block::kSharedBytes,
                               Block::kBlockRows, Block::kBlocksOfSplit, Team::kIsCluster};
  Check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes),
        "shared memory of a product");
  Check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "carveout of a product");
  return kernel;
}

template <WeightFormat kFormat, int kTokenTiles>
LinearKernel PrepareCut(const Cut& cut) {
  if constexpr (kTokenTiles > 1) {
    if (cut.wide && cut.cluster) return PrepareBlock<kFormat, kTokenTiles, CardCluster, 8>();
    if (cut.wide) return PrepareBlock<kFormat, kTokenTiles, CardGrid, 8>();
  }
  if constexpr (kTokenTiles < 8) {
    return cut.cluster ? PrepareBlock<kFormat, kTokenTiles, CardCluster, 4>()
                       : PrepareBlock<kFormat, kTokenTiles, CardGrid, 4>();
  }
  throw DeviceError("no such cut");
}

template <WeightFormat kFormat>
LinearKernel PrepareTiles(int tiles, const Cut& cut) {
  switch (tiles) {
    case 1:
      return PrepareCut<kFormat, 1>(cut);
    case 2:
      return PrepareCut<kFormat, 2>(cut);
    case 4:
      return PrepareCut<kFormat, 4>(cut);
    default:
      return PrepareCut<kFormat, 8>(cut);
  }
}

LinearKernel PrepareTiles(WeightFormat format, int tiles, const Cut& cut) {
  switch (format) {
    case WeightFormat::kBf16:
      return PrepareTiles<WeightFormat::kBf16>(tiles, cut);
    case WeightFormat::kInt8:
      return PrepareTiles<WeightFormat::kInt8>(tiles, cut);
    case WeightFormat::kInt4Group128:
      return PrepareTiles<WeightFormat::kInt4Group128>(tiles, cut);
    default:
      return PrepareTiles<WeightFormat::kInt4Group32>(tiles, cut);
  }
}

__global__ void EmptyClusterKernel() { simt::DependencyWait(); }

// Whether the driver takes a cluster that may start early into a graph. Said once if it does not.
bool ClustersAreTaken() {
  static const bool taken = [] {
    std::array<cudaLaunchAttribute, 2> attributes = {};
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = 1;
    attributes[1].val.clusterDim.y = 2;
    attributes[1].val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1, 2);
    config.blockDim = dim3(32);
    config.attrs = attributes.data();
    config.numAttrs = 2;
    try {
      const Stream stream;
      const auto launch = [&](cudaStream_t on) {
        config.stream = on;
        Check(cudaLaunchKernelEx(&config, EmptyClusterKernel), "a cluster");
      };
      launch(stream.get());
      stream.Wait();
      const Graph graph(stream, launch, 2);
      graph.Launch(stream);
      stream.Wait();
      return true;
    } catch (const DeviceError& error) {
      PrintLine("products: no clusters, blocks meet in global memory: %s", error.what());
      return false;
    }
  }();
  return taken;
}

}  // namespace

const char* NameOf(const Cut& cut) {
  if (cut.halves) return "wide cluster, halves";
  if (cut.wide) return cut.cluster ? "wide cluster" : "wide grid";
  return cut.cluster ? "cluster" : "grid";
}

LinearKernel PrepareLinear(WeightFormat format, int m, int n, int splits, Cut cut) {
  const bool cluster_if_wide = splits * cuda::kSplitSlices <= cuda::kMaxTeam;
  cut.wide = cut.wide && n % 256 == 0 && m > 8 && (m > 16 || !cut.cluster || cluster_if_wide);
  cut.cluster = cut.cluster && ClustersAreTaken() && (cut.wide ? cluster_if_wide : splits <= cuda::kMaxTeam);
  const bool halves = m > 32 && (cut.halves || !cut.wide);
  LinearKernel kernel = PrepareTiles(format, cuda::TokenTiles(halves ? 32 : m), cut);
  kernel.token_blocks_log2 = halves ? 1 : 0;
  return kernel;
}

void LaunchLinear(const LinearKernel& kernel, LinearArgs args, bool programmatic, cudaStream_t stream) {
  args.token_blocks_log2 = kernel.token_blocks_log2;
  const auto blocks_of_column = static_cast<unsigned>(args.splits * kernel.blocks_of_split);
  std::array<cudaLaunchAttribute, 2> attributes = {};
  unsigned count = 0;
  if (programmatic) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (kernel.is_cluster && blocks_of_column > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = 1;
    attributes[count].val.clusterDim.y = blocks_of_column;
    attributes[count++].val.clusterDim.z = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(args.n / kernel.block_rows << args.token_blocks_log2), blocks_of_column);
  config.blockDim = dim3(cuda::kLinearThreads);
  config.dynamicSmemBytes = static_cast<size_t>(kernel.shared_bytes);
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = count;
  Check(cudaLaunchKernelEx(&config, kernel.function, args), "a product");
}

int MostClusters(const LinearKernel& kernel, int blocks) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = 1;
  attribute.val.clusterDim.y = static_cast<unsigned>(blocks);
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(64, static_cast<unsigned>(blocks));
  config.blockDim = dim3(cuda::kLinearThreads);
  config.dynamicSmemBytes = static_cast<size_t>(kernel.shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  Check(cudaOccupancyMaxActiveClusters(&clusters, kernel.function, &config), "cudaOccupancyMaxActiveClusters");
  return clusters;
}

}  // namespace quire::probe
