// simt: the few instructions of a GPU that the kernels use, under one name each, in two implementations.
//
// Under nvcc (ptx.h) each is one PTX instruction. Under a host compiler (emulator.h) the threads of a grid are fibres,
// and each instruction does what the PTX manual says of it: fragment layouts, matrix descriptors, swizzles, barriers.
// A kernel is one template, compiled twice: what runs on a card is what the host's tests run, so that everything but
// the hardware's own timing is proved without a card.
//
// Shared memory is addressed by SharedAddress: a byte offset in the block's window, as the instructions want it.
#pragma once

#if defined(__CUDACC__)
#include "simt/ptx.h"
#else
#include "simt/emulator.h"
#endif
