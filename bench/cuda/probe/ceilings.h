// The sections of the part `ceilings`: what the card itself can do, as every other part's share is taken of it.
#pragma once

#include "probe/device.h"

namespace quire::probe {

// One line of a table, written at once: what was measured is kept when what follows hangs.
[[gnu::format(printf, 1, 2)]] void PrintLine(const char* format, ...);

// Empty and small kernels in a graph, with and without programmatic dependent launch; launches of graphs.
void MeasureLaunchCosts(const Card& card);

// Pinned host memory to and from the device, whole and in blocks.
void MeasureHostTransfers(const Options& options);
// The batched block copy within a pool against a copy on the host.
bool CheckBlockCopy(const Options& options);
// Its share of the copy bandwidth.
void MeasureBlockCopy(double copy_bandwidth);

}  // namespace quire::probe
