// Maps for the tensor copy engine: bf16, boxes of 64 columns under the 128-byte swizzle, zeros outside.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "probe/device.h"

namespace quire::probe {

// dims and box with the contiguous dimension first; strides in elements, strides[0] is 1.
template <int kRank>
struct TensorShape {
  int64_t dims[kRank];
  int64_t strides[kRank];
  int32_t box[kRank];
};

template <int kRank>
CUtensorMap MapTensor(const uint16_t* data, const TensorShape<kRank>& shape) {
  void* symbol = nullptr;
  cudaDriverEntryPointQueryResult found = {};
  Check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found),
        "cuTensorMapEncodeTiled");
  if (symbol == nullptr || found != cudaDriverEntryPointSuccess)
    throw DeviceError("the driver has no cuTensorMapEncodeTiled: a driver for CUDA 12 or later is needed");
  cuuint64_t dims[kRank], strides[kRank - 1];
  cuuint32_t box[kRank], steps[kRank];
  for (int i = 0; i < kRank; ++i) {
    steps[i] = 1;
    dims[i] = static_cast<cuuint64_t>(shape.dims[i]);
    box[i] = static_cast<cuuint32_t>(shape.box[i]);
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(shape.strides[i]) * sizeof(uint16_t);
  }
  CUtensorMap map;
  const CUresult status = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(symbol)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kRank, const_cast<uint16_t*>(data), dims, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw DeviceError("cuTensorMapEncodeTiled refused the map: error " + std::to_string(static_cast<int>(status)));
  return map;
}

}  // namespace quire::probe
