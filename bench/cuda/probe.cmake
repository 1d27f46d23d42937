# The program for cards, and the test of what ptxas made of its kernels. Included where there is a CUDA compiler.

# The preset ci leaves out 89, whose code is that of 80 scheduled otherwise.
set(QUIRE_CUDA_ARCHITECTURES 80-real 89-real 90a CACHE STRING "The targets of the program for cards")
set(CMAKE_CUDA_ARCHITECTURES ${QUIRE_CUDA_ARCHITECTURES})
if(CCACHE_PROGRAM)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
enable_language(CUDA)
# CMake 3.25 does not know that nvcc speaks C++20.
foreach(kind STANDARD EXTENSION)
  if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
    set(CMAKE_CUDA20_${kind}_COMPILE_OPTION -std=c++20)
  endif()
endforeach()
set(CMAKE_CUDA_STANDARD 20)
find_package(CUDAToolkit REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

# quire_cuda_objects(name SOURCES a.cu): objects, beside each of which lies what ptxas said of it.
set(ptxas_report ${CMAKE_CURRENT_SOURCE_DIR}/ptxas_report.py)
function(quire_cuda_objects name)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_library(${name} OBJECT ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE quire_options)
  target_compile_options(${name} PRIVATE --expt-relaxed-constexpr -Xptxas=-v -Xcompiler=-Wall)
  set_target_properties(${name} PROPERTIES
    RULE_LAUNCH_COMPILE "${Python3_EXECUTABLE} ${ptxas_report} log <OBJECT>.ptxas")
endfunction()

quire_cuda_objects(quire_probe
  SOURCES probe/device.cu probe/ceilings.cu probe/block_transfers.cu probe/launch_costs.cu
          probe/decode.cu probe/decode_launch.cu probe/linear.cu probe/prefill_mma.cu probe/elementwise.cu probe/step.cu)

# Warpgroup instructions exist for this target alone.
quire_cuda_objects(quire_probe_sm90a SOURCES probe/prefill_wgmma.cu probe/linear_launch.cu probe/decode_tma.cu probe/simt_check.cu)
target_compile_definitions(quire_probe_sm90a PRIVATE QUIRE_SIMT_SM90)
set_target_properties(quire_probe_sm90a PROPERTIES CUDA_ARCHITECTURES 90a-real)

add_executable(cuda_probe probe/main.cc probe/cublas_lt.cc)
target_include_directories(cuda_probe PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(cuda_probe PRIVATE
  quire_options quire_probe quire_probe_sm90a quire_attention_testing CUDA::cudart_static)
# Built here, run there: of the machine with the card nothing is asked but the driver and the C library.
target_link_options(cuda_probe PRIVATE -static-libstdc++ -static-libgcc LINKER:--as-needed)

if(QUIRE_BUILD_TESTS)
  # The registers of a thread decide how many stay on a multiprocessor, of whose 65,536 they share: 32 allow 2,048
  # threads, 64 allow 1,024, 128 allow 512, 168 allow 384 and 255, the most there are, 256. "Li3EEEv" is the last argument
  # of a template: 3 blocks of 128 threads.
  add_test(NAME cuda_resources COMMAND ${Python3_EXECUTABLE} ${ptxas_report} check ${CMAKE_CURRENT_BINARY_DIR}
    --registers device=32 launch_costs=32 ceilings=64 block_transfers=64
                decode_launch/MergeKernel=64 decode_launch/Li4EEEv=128 decode_launch/Li3EEEv=168
                decode_launch/Li2EEEv=255 decode_tma/MergeKernel=64 decode_tma/Li2EEEv=200 decode_tma/Li1EEEv=255
                prefill_mma/Li4EEEv=128 prefill_mma/Li3EEEv=168 prefill_mma/Li2EEEv=255
                linear_launch=128
                elementwise=64 step=64 prefill_wgmma=168 simt_check=128)
endif()
