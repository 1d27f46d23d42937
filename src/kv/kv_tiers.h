// KvTiers: where keys and values are kept: blocks in memory, and prefixes on disk behind them.
#pragma once

#include <memory>
#include <span>

#include "kv/disk_tier.h"
#include "kv/kv_space.h"

namespace quire {

struct KvTiers {
  // `on_disk`: what is there already, the least recently used first. No disk where no prefixes are kept.
  KvTiers(const KvConfig& config, const DiskTierOptions& disk_options, std::span<const PrefixDigest> on_disk)
      : space(KvSpace::Make(config)),
        disk(space->cache(), space->keeps_prefixes() ? disk_options : DiskTierOptions{.max_blocks = 0}, on_disk) {}

  const std::unique_ptr<KvSpace> space;
  DiskTier disk;
};

}  // namespace quire
