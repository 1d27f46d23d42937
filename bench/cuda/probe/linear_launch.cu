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
  static __device__ __forceinline__ void PrefetchToL2(const void* global, int bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
  }
};

// A column of the grid as a cluster, whose blocks read each other's shared memory.
struct CardCluster : CardGrid {
  static constexpr bool kIsCluster = true;
  static __device__ __forceinline__ void Sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
  static __device__ __forceinline__ void Leave() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
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
};

template <WeightFormat kFormat, int kTokenTiles, typename Team>
__global__ void __launch_bounds__(cuda::kLinearThreads,
                                  (cuda::LinearBlock<kFormat, kTokenTiles, Team>::kBlocksPerMultiprocessor))
    ProductKernel(const __grid_constant__ LinearArgs args) {
  cuda::LinearBlock<kFormat, kTokenTiles, Team>(args).Run();
}

template <WeightFormat kFormat, int kTokenTiles, typename Team>
LinearKernel PrepareBlock() {
  const LinearKernel kernel = {.function = &ProductKernel<kFormat, kTokenTiles, Team>,
                               .shared_bytes = cuda::LinearBlock<kFormat, kTokenTiles, Team>::kSharedBytes,
                               .is_cluster = Team::kIsCluster};
  Check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes),
        "shared memory of a product");
  Check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "carveout of a product");
  return kernel;
}

template <WeightFormat kFormat, int kTokenTiles>
LinearKernel PrepareTeam(bool cluster) {
  return cluster ? PrepareBlock<kFormat, kTokenTiles, CardCluster>() : PrepareBlock<kFormat, kTokenTiles, CardGrid>();
}

template <WeightFormat kFormat>
LinearKernel PrepareTiles(int tiles, bool cluster) {
  switch (tiles) {
    case 1:
      return PrepareTeam<kFormat, 1>(cluster);
    case 2:
      return PrepareTeam<kFormat, 2>(cluster);
    default:
      return PrepareTeam<kFormat, 4>(cluster);
  }
}

LinearKernel PrepareTiles(WeightFormat format, int tiles, bool cluster) {
  switch (format) {
    case WeightFormat::kBf16:
      return PrepareTiles<WeightFormat::kBf16>(tiles, cluster);
    case WeightFormat::kInt8:
      return PrepareTiles<WeightFormat::kInt8>(tiles, cluster);
    case WeightFormat::kInt4Group128:
      return PrepareTiles<WeightFormat::kInt4Group128>(tiles, cluster);
    default:
      return PrepareTiles<WeightFormat::kInt4Group32>(tiles, cluster);
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

LinearKernel PrepareLinear(WeightFormat format, int m, int splits, bool cluster) {
  return PrepareTiles(format, cuda::TokenTiles(m), cluster && splits <= cuda::kMaxTeam && ClustersAreTaken());
}

void LaunchLinear(const LinearKernel& kernel, LinearArgs args, bool programmatic, cudaStream_t stream) {
  args.token_blocks_log2 = cuda::TokenBlocksLog2(args.m);
  const auto splits = static_cast<unsigned>(args.splits);
  std::array<cudaLaunchAttribute, 2> attributes = {};
  unsigned count = 0;
  if (programmatic) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (kernel.is_cluster && splits > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = 1;
    attributes[count].val.clusterDim.y = splits;
    attributes[count++].val.clusterDim.z = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(args.n / cuda::kBlockRows << args.token_blocks_log2), splits);
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
