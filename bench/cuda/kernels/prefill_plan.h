// What a prefill attention launch works on, and how its work is cut into tiles: one tile is one block of threads.
//
// A step holds spans: runs of query rows that stand at consecutive positions of one sequence, whose keys and values
// (its own included) are already in the paged cache. A tile is `tile_rows` query rows that share one KV head. Where a
// group of query heads divides a tile, the rows of a tile are (token, head of the group) pairs, token-major, so that a
// KV head is read once for its whole group: `pack` heads per token. Else every head has tiles of its own: pack = 1.
//
// The structs are index arithmetic for host and device; the planning is the host's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/paged_kv.h"
#include "simt/simt.h"

namespace quire::cuda {

// Rows [first_row, first_row + num_rows) of the queries stand at positions first_position and on. Position p of the
// sequence lies in block tables[table_begin + p / block_size].
struct PrefillSpan {
  int32_t first_row = 0;
  int32_t num_rows = 0;
  int32_t first_position = 0;
  int32_t table_begin = 0;
};

// Tokens first_token and on of a span (counted within the span), heads [first_head, first_head + pack) of one KV head.
struct PrefillTile {
  int32_t span = 0;
  int32_t first_token = 0;
  int32_t first_head = 0;
  int32_t kv_head = 0;
};

// REQUIRES: scale > 0; pack = PackFor(...), a power of two; q_row_stride a multiple of 8; pointers aligned to 16 bytes.
struct PrefillArgs {
  const uint16_t* q = nullptr;  // bf16 [rows, num_heads, head_dim], rows q_row_stride elements apart
  int64_t q_row_stride = 0;
  PagedKv kv;
  const uint32_t* tables = nullptr;
  const PrefillSpan* spans = nullptr;
  const PrefillTile* tiles = nullptr;  // [num_tiles]
  int32_t num_tiles = 0;
  int32_t num_heads = 0;
  int32_t pack = 1;
  float scale = 1;                // of q k
  int32_t window = 0;             // a row sees its last `window` positions, itself included; 0: all
  float soft_cap = 0;             // logits become soft_cap tanh(logit / soft_cap); 0: none
  const float* slopes = nullptr;  // [num_heads]: slope (p - row's position) is added to logits (ALiBi); null: none
  const float* sinks = nullptr;   // [num_heads]: one more logit in each denominator; null: none
  uint16_t* out = nullptr;        // bf16 [rows, num_heads, head_dim]
};

// log2 of a power of two.
QUIRE_HOST_DEVICE int Log2(int power_of_two) {
  int log = 0;
  while ((power_of_two >> log) > 1) ++log;
  return log;
}

// The query rows r = 0 .. tile_rows - 1 of a tile.
struct QueryTile {
  PrefillSpan span;
  PrefillTile tile;
  int pack_log2 = 0;

  QUIRE_HOST_DEVICE int Token(int r) const { return tile.first_token + (r >> pack_log2); }
  QUIRE_HOST_DEVICE int Head(int r) const { return tile.first_head + (r & ((1 << pack_log2) - 1)); }
  QUIRE_HOST_DEVICE int Row(int r) const { return span.first_row + Token(r); }
  QUIRE_HOST_DEVICE int Position(int r) const { return span.first_position + Token(r); }
  QUIRE_HOST_DEVICE bool Valid(int r) const { return Token(r) < span.num_rows; }

  // The positions that some row of the tile sees: [KvBegin, KvEnd), the beginning rounded down to a tile of keys.
  QUIRE_HOST_DEVICE int KvBegin(int window, int kv_tile) const {
    const int first_seen = window > 0 ? simt::Max(0, Position(0) - window + 1) : 0;
    return first_seen / kv_tile * kv_tile;
  }
  QUIRE_HOST_DEVICE int KvEnd(int tile_rows) const {
    return span.first_position + simt::Min(Token(tile_rows - 1) + 1, span.num_rows);
  }
};

QUIRE_HOST_DEVICE QueryTile TileAt(const PrefillArgs& args, int index) {
  const PrefillTile tile = args.tiles[index];
  return {args.spans[tile.span], tile, Log2(args.pack)};
}

// The query heads of a KV head that one tile holds: the whole group if it divides the tile, else 1.
// REQUIRES: tile_rows is a power of two.
int PackFor(int num_heads, int kv_heads, int tile_rows);

// Every (row, head) of the spans in exactly one tile. Tiles with most positions to read come first, so that the last
// ones to run are short; among equals those of one span and then one token stand together.
std::vector<PrefillTile> PlanPrefill(std::span<const PrefillSpan> spans, int num_heads, int kv_heads, int tile_rows);

}  // namespace quire::cuda
