#include "runner/swap_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <vector>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

// The file grows by so much at a time: rarely, and in large extents.
constexpr size_t kChunkBytes = size_t{64} << 20;
constexpr size_t kPageBytes = 4096;  // of the smallest pages

// So that whoever writes there next meets no page fault.
void TouchPages(std::byte* memory, size_t bytes) {
  volatile std::byte* const touched = memory;
  for (size_t i = 0; i < bytes; i += kPageBytes) touched[i] = std::byte{0};
  touched[bytes - 1] = std::byte{0};
}

std::string DirectoryOf(const SwapFileOptions& options) {
  if (!options.directory.empty()) return options.directory;
  const char* temporary = std::getenv("TMPDIR");
  return temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
}

class MappedSwapFile final : public SwapFile {
 public:
  MappedSwapFile(const SwapFileOptions& options, int file, std::byte* memory, size_t capacity)
      : num_places_(options.num_places),
        place_bytes_(options.place_bytes),
        env_(*options.env),
        file_(file),
        memory_(memory),
        capacity_(capacity),
        has_pages_(options.num_places) {}
  ~MappedSwapFile() override {
    munmap(memory_, capacity_);
    close(file_);
  }

  uint32_t num_places() const override { return num_places_; }
  size_t place_bytes() const override { return place_bytes_; }
  size_t file_bytes() const override { return file_bytes_; }

  Result<std::byte*> PlaceForWrite(uint32_t place) override {
    QUIRE_CHECK_LT(place, num_places_);
    QUIRE_RETURN_IF_ERROR(GrowTo(EndOf(place)));
    std::byte* const memory = memory_ + EndOf(place) - place_bytes_;
    if (!has_pages_[place]) TouchPages(memory, place_bytes_);
    has_pages_[place] = true;
    return memory;
  }

  Result<const std::byte*> PlaceForRead(uint32_t place) override {
    QUIRE_CHECK_LT(place, num_places_);
    if (EndOf(place) > file_bytes_) return DataLoss("place {} of the swap file has never been written", place);
    return memory_ + EndOf(place) - place_bytes_;
  }

 private:
  size_t EndOf(uint32_t place) const { return (size_t{place} + 1) * place_bytes_; }

  // A chunk at a time, or what is missing where the disk has no room for a chunk.
  Status GrowTo(size_t bytes) {
    if (bytes <= file_bytes_) return {};
    const size_t target = std::min(capacity_, (bytes + kChunkBytes - 1) / kChunkBytes * kChunkBytes);
    for (const size_t size : {target, bytes}) {
      const Status allocated = env_.Allocate(file_, file_bytes_, size - file_bytes_);
      if (!allocated.ok() && size == bytes) return allocated.error();
      if (!allocated.ok()) continue;
      file_bytes_ = size;
      break;
    }
    return {};
  }

  const uint32_t num_places_;
  const size_t place_bytes_;
  const Env& env_;
  const int file_;
  std::byte* const memory_;  // of the whole capacity: addresses, beyond file_bytes_ without anything behind them
  const size_t capacity_;
  size_t file_bytes_ = 0;
  std::vector<bool> has_pages_;  // by place
};

}  // namespace

Result<std::unique_ptr<SwapFile>> SwapFile::Create(const SwapFileOptions& options) {
  if (options.num_places == 0 || options.place_bytes == 0 ||
      options.place_bytes > std::numeric_limits<size_t>::max() / 2 / options.num_places) {
    return InvalidArgument("swap space of {} places of {} bytes cannot be made", options.num_places,
                           options.place_bytes);
  }
  const size_t capacity = options.num_places * options.place_bytes;
  std::string name = JoinPath(DirectoryOf(options), "quire-swap-XXXXXX");
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) {
    return Io("cannot create a swap file in {}: {}; name another directory", DirectoryOf(options),
              std::strerror(errno));
  }
  unlink(name.c_str());
  void* memory = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (memory == MAP_FAILED) {
    const int reason = errno;
    close(file);
    return Io("cannot map {} bytes of swap space: {}", capacity, std::strerror(reason));
  }
  return std::unique_ptr<SwapFile>(
      std::make_unique<MappedSwapFile>(options, file, static_cast<std::byte*>(memory), capacity));
}

}  // namespace quire
