// Products with bf16 weights on the tile unit. One instruction multiplies 16 rows by 32 values of K with 32 values of K
// by 16 columns, and sums each output as ref::DotBf16Tiles says. Packed activations are tiles of [rows][32], one after
// the other over K; 32 values of K of a panel, a step, are four tiles of weights side by side. Uses linear.inl.

constexpr int64_t kStepDepth = 32;
constexpr int64_t kAmxRows = 16;
constexpr int64_t kTileRowBytes = 64;          // of any tile
constexpr int64_t kPairRowBytes = kPanel * 4;  // a pair of K of a panel
constexpr int64_t kPanelStepBytes = kStepDepth / 2 * kPairRowBytes;
constexpr int64_t kTileSums = kAmxRows * kPanel;
// Steps over K between two spills of sums where several tiles of rows pass over the weights: these, the sums of two
// tiles and the activations that stream by share the first cache; fewer steps would spill more, more steps would not
// fit.
constexpr int64_t kReusedSteps = 6;
// How far ahead a single tile of rows asks for the weights that it streams.
constexpr int64_t kStepsAhead = 2;

struct TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// Tiles 0 to 3 hold sums and 4 activations, of `rows` rows; 6 and 7 hold weights.
inline void ConfigureTiles(int64_t rows) {
  TileConfig config = {.palette = 1, .start_row = 0, .reserved = {}, .row_bytes = {}, .rows = {}};
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kTileRowBytes;
    config.rows[i] = static_cast<uint8_t>(i < 5 ? rows : kStepDepth / 2);
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}

// The compiler takes a tile load for something that reads no memory, and may move stores past it.
inline void FinishStores() { asm volatile("" ::: "memory"); }

enum class Cache { kFirst, kSecond };

// Lines that are needed later, some of them asked for in every step.
struct Ahead {
  const void* next;
  int64_t lines;  // each step

  template <Cache kInto>
  void Ask() {
    const char* line = static_cast<const char*>(next);
    for (int64_t i = 0; i < lines; ++i, line += kLine) {
      _mm_prefetch(line, kInto == Cache::kFirst ? _MM_HINT_T0 : _MM_HINT_T1);
    }
    next = line;
  }
};

struct TileTask {
  const char* x;  // steps x_step apart
  int64_t x_step;
  const char* w;
  int64_t steps;
  bool first;   // start from zero
  float* sums;  // [rows][kPanel]
  Ahead weights, activations, next_sums;
};

// Sums of one tile of rows by a panel's 64 columns. Weights are asked for into the first cache if nothing else is kept
// there.
template <Cache kWeightsInto>
inline void MultiplyTile(TileTask task) {
  constexpr int64_t kSumsStride = kPanel * sizeof(float);
  if (task.first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, task.sums, kSumsStride);
    _tile_loadd(1, task.sums + 16, kSumsStride);
    _tile_loadd(2, task.sums + 32, kSumsStride);
    _tile_loadd(3, task.sums + 48, kSumsStride);
  }
  for (int64_t step = 0; step < task.steps; ++step) {
    _tile_loadd(4, task.x, kTileRowBytes);
    _tile_loadd(6, task.w, kPairRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, task.w + 64, kPairRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    task.weights.Ask<kWeightsInto>();
    task.activations.Ask<Cache::kSecond>();
    task.next_sums.Ask<Cache::kFirst>();
    _tile_loadd(6, task.w + 128, kPairRowBytes);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, task.w + 192, kPairRowBytes);
    _tile_dpbf16ps(3, 4, 7);
    task.x += task.x_step;
    task.w += kPanelStepBytes;
  }
  _tile_stored(0, task.sums, kSumsStride);
  _tile_stored(1, task.sums + 16, kSumsStride);
  _tile_stored(2, task.sums + 32, kSumsStride);
  _tile_stored(3, task.sums + 48, kSumsStride);
}

inline constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A linear task, cut over K into steps and parts of some steps. What is left of K beyond whole steps is a part of its
// own, whose weights are padded by zeros.
class AmxTask {
 public:
  explicit AmxTask(const LinearTask& task)
      : task_(task),
        rows_(task.num_tiles == 1 ? task.first_row[1] : kAmxRows),
        pairs_((task.k + 1) / 2),
        whole_steps_(pairs_ / (kStepDepth / 2)),
        tile_bytes_(DivideUp(task.k, kStepDepth) * rows_ * kTileRowBytes) {}

  void Run() const {
    FinishStores();
    ConfigureTiles(rows_);
    if (task_.num_tiles == 1) {
      StreamPanel();
    } else {
      ReusePanels();
    }
    if (pairs_ > whole_steps_ * (kStepDepth / 2)) RunRest();
    _tile_release();
  }

 private:
  bool Last(int64_t end) const { return end * (kStepDepth / 2) >= pairs_; }
  const char* weights(int64_t panel, int64_t step) const {
    return task_.panel + panel * task_.panel_bytes + step * kPanelStepBytes;
  }
  const char* activations(int64_t tile, int64_t step) const {
    return task_.x + tile * tile_bytes_ + step * rows_ * kTileRowBytes;
  }
  float* sums(int64_t panel, int64_t tile) const {
    return task_.scratch + (panel * task_.num_tiles + tile) * kTileSums;
  }

  // One tile of rows: the weights stream from memory once.
  void StreamPanel() const {
    if (whole_steps_ == 0) return;
    MultiplyTile<Cache::kFirst>({.x = activations(0, 0),
                                 .x_step = rows_ * kTileRowBytes,
                                 .w = weights(0, 0),
                                 .steps = whole_steps_,
                                 .first = true,
                                 .sums = sums(0, 0),
                                 .weights = {weights(0, kStepsAhead), kPanelStepBytes / kLine},
                                 .activations = {nullptr, 0},
                                 .next_sums = {nullptr, 0}});
    if (Last(whole_steps_)) FinishRows(task_, 0, 0, rows_, sums(0, 0));
  }

  // Several: a part of a panel stays in the first cache while the tiles of rows pass, and they share the asking for the
  // next part. The part of activations that all panels meet next is asked for by one after the other.
  void ReusePanels() const {
    for (int64_t from = 0; from < whole_steps_; from += kReusedSteps) {
      const int64_t to = whole_steps_ - from < kReusedSteps ? whole_steps_ : from + kReusedSteps;
      for (int64_t panel = 0; panel < task_.num_panels; ++panel) RunPart(from, to, panel);
    }
  }
  void RunPart(int64_t from, int64_t to, int64_t panel) const {
    const int64_t steps = to - from;
    const int64_t lines = DivideUp(kPanelStepBytes / kLine, task_.num_tiles);
    const int64_t x_lines = DivideUp(kAmxRows, task_.num_panels);
    const char* ahead = NextPart(task_, panel, from * kStepDepth, to * kStepDepth, kPanel * 2);
    for (int64_t t = 0; t < task_.num_tiles; ++t, ahead += lines * steps * kLine) {
      MultiplyTile<Cache::kSecond>({.x = activations(t, from),
                                    .x_step = kAmxRows * kTileRowBytes,
                                    .w = weights(panel, from),
                                    .steps = steps,
                                    .first = from == 0,
                                    .sums = sums(panel, t),
                                    .weights = {ahead, lines},
                                    .activations = {activations(t, to) + panel * x_lines * steps * kLine, x_lines},
                                    .next_sums = {sums(panel, t + 1), DivideUp(kTileSums / 16, steps)}});
      if (Last(to)) FinishTile(panel, t);
    }
  }

  void RunRest() const {
    float* padded = task_.scratch + task_.num_panels * task_.num_tiles * kTileSums;
    const int64_t num_left = (pairs_ - whole_steps_ * (kStepDepth / 2)) * kPanel;
    for (int64_t panel = 0; panel < task_.num_panels; ++panel) {
      const float* left = reinterpret_cast<const float*>(weights(panel, whole_steps_));
      for (int64_t i = 0; i < kStepDepth / 2 * kPanel; i += 16)
        Store(padded + i, i < num_left ? Load(left + i) : Zero());
      FinishStores();
      for (int64_t t = 0; t < task_.num_tiles; ++t) {
        MultiplyTile<Cache::kSecond>({.x = activations(t, whole_steps_),
                                      .x_step = 0,
                                      .w = reinterpret_cast<const char*>(padded),
                                      .steps = 1,
                                      .first = whole_steps_ == 0,
                                      .sums = sums(panel, t),
                                      .weights = {nullptr, 0},
                                      .activations = {nullptr, 0},
                                      .next_sums = {nullptr, 0}});
        FinishTile(panel, t);
      }
    }
  }

  void FinishTile(int64_t panel, int64_t tile) const {
    FinishRows(task_, panel, task_.first_row[tile], task_.first_row[tile + 1], sums(panel, tile));
  }

  const LinearTask& task_;
  const int64_t rows_;         // of a packed tile
  const int64_t pairs_;        // of K
  const int64_t whole_steps_;  // over K
  const int64_t tile_bytes_;   // of a packed tile
};

void LinearBf16(const LinearTask& task) { AmxTask(task).Run(); }

// Rounded to tiles of [tile_rows][32]; what does not exist is zero.
void PackRowsBf16(const PackRowsTask& task) {
  for (int64_t k = task.begin; k < task.end; k += kStepDepth) {
    char* out = task.tile + k * task.tile_rows * 2;
    const int64_t n = task.end - k;
    for (int64_t r = 0; r < task.rows; ++r, out += kTileRowBytes) {
      const float* x = task.x + r * task.x_stride + k;
      const V low = LoadFirst(x, n), high = n > 16 ? LoadFirst(x + 16, n - 16) : Zero();
      _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    for (int64_t r = task.rows; r < task.tile_rows; ++r, out += kTileRowBytes) {
      _mm512_storeu_si512(out, _mm512_setzero_si512());
    }
  }
}

constexpr LinearKernels kLinearBf16 = {.tile_rows = kAmxRows,
                                       .whole_tiles = true,
                                       .panels_per_task = 8,
                                       .depth_multiple = kStepDepth,
                                       .bytes_per_value = 2,
                                       .pack_rows = PackRowsBf16,
                                       .multiply = LinearBf16};
