#include "hub/progress_view.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/log.h"
#include "hub/sizes.h"

namespace quire {
namespace {

constexpr TimeUs kWindowUs = 10'000'000;
constexpr TimeUs kLogUs = 10'000'000;
constexpr size_t kMaxBars = 8;
constexpr size_t kNameColumns = 40;

struct Sum {
  uint64_t size = 0;
  uint64_t done = 0;
  size_t num_done = 0;
};

Sum SumOf(const DownloadProgress& progress) {
  Sum sum;
  for (const FileProgress& file : progress.files) {
    sum.size += file.size;
    sum.done += file.done;
    sum.num_done += file.state == FileProgress::State::kDone ? 1 : 0;
  }
  return sum;
}

int Percent(uint64_t done, uint64_t size) {
  return size == 0 ? 100 : static_cast<int>(static_cast<double>(done) / static_cast<double>(size) * 100);
}

// The end of a name says which shard it is.
std::string Fitted(const std::string& name, size_t columns) {
  if (name.size() <= columns) return name + std::string(columns - name.size(), ' ');
  return "..." + name.substr(name.size() - (columns - 3));
}

std::string Bar(uint64_t done, uint64_t size, size_t columns) {
  const double share = size == 0 ? 1 : static_cast<double>(done) / static_cast<double>(size);
  const auto full = std::min(columns, static_cast<size_t>(share * static_cast<double>(columns)));
  return "[" + std::string(full, '#') + std::string(columns - full, '.') + "]";
}

std::string Line(const std::string& name, uint64_t done, uint64_t size, const std::string& rest, size_t width) {
  const size_t name_columns = std::clamp<size_t>(width / 3, 8, kNameColumns);
  std::string line = fmt::format("{} {:>3}% ", Fitted(name, name_columns), Percent(done, size));
  const std::string numbers = fmt::format(" {}/{}{}", FormatSize(done), FormatSize(size), rest);
  constexpr size_t kMinBar = 8, kMaxBar = 40;
  if (line.size() + numbers.size() + kMinBar + 2 <= width) {
    line += Bar(done, size, std::min(kMaxBar, width - line.size() - numbers.size() - 2));
  }
  line += numbers;
  return line.substr(0, width);
}

std::string TimeLeft(uint64_t left, double bytes_per_second) {
  if (bytes_per_second < 1) return "";
  return fmt::format(", {} left",
                     FormatDuration(static_cast<int64_t>(std::min(static_cast<double>(left) / bytes_per_second, 1e9))));
}

size_t TerminalWidth() {
  constexpr size_t kUsual = 80, kLeast = 20;
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsual;
  return std::max<size_t>(size.ws_col, kLeast) - 1;  // the last column would begin a line
}

bool ShowsBars() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

// What both kinds of view know: when the download began, how fast it is.
class ProgressView {
 public:
  explicit ProgressView(std::string model) : model_(std::move(model)), is_terminal_(ShowsBars()) {}

  void Show(const DownloadProgress& progress) {
    const TimeUs now = Clock::Real().NowUs();
    if (begin_ == 0) begin_ = now;
    rate_.Observe(now, progress.received);
    const bool is_over = SumOf(progress).num_done == progress.files.size();
    if (is_terminal_) Draw(progress, is_over);
    if (is_over ? !is_terminal_ : !is_terminal_ && now - logged_ >= kLogUs) Log(progress, is_over, now);
  }

 private:
  void Draw(const DownloadProgress& progress, bool is_over) {
    std::string text = num_lines_ == 0 ? "" : fmt::format("\x1b[{}F\x1b[J", num_lines_);
    num_lines_ = 0;
    if (is_over) {
      if (progress.received > 0) text += Summary(progress) + "\n";
    } else {
      for (const std::string& line : RenderProgress(progress, rate_.BytesPerSecond(), TerminalWidth())) {
        text += line + "\n";
        ++num_lines_;
      }
    }
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
  }

  std::string Summary(const DownloadProgress& progress) const {
    const double seconds = static_cast<double>(Clock::Real().NowUs() - begin_) * 1e-6;
    return fmt::format(
        "downloaded {}: {} in {}, {}/s", model_, FormatSize(progress.received),
        FormatDuration(static_cast<int64_t>(seconds)),
        FormatSize(static_cast<uint64_t>(static_cast<double>(progress.received) / std::max(seconds, 1e-3))));
  }

  void Log(const DownloadProgress& progress, bool is_over, TimeUs now) {
    const Sum sum = SumOf(progress);
    logged_ = now;
    LogInfo("{} model={} files={}/{} bytes={}/{} percent={} bytes_per_s={:.0f}", is_over ? "downloaded" : "downloading",
            LogValue(model_), sum.num_done, progress.files.size(), sum.done, sum.size, Percent(sum.done, sum.size),
            rate_.BytesPerSecond());
  }

  std::string model_;
  bool is_terminal_;
  RateMeter rate_;
  TimeUs begin_ = 0;
  TimeUs logged_ = 0;
  size_t num_lines_ = 0;
};

}  // namespace

void RateMeter::Observe(TimeUs now, uint64_t total) {
  observed_.emplace_back(now, total);
  while (observed_.size() > 2 && now - observed_.front().first > kWindowUs) observed_.pop_front();
}

double RateMeter::BytesPerSecond() const {
  if (observed_.size() < 2) return 0;
  const auto& [begin, before] = observed_.front();
  const auto& [end, after] = observed_.back();
  if (end <= begin || after < before) return 0;
  return static_cast<double>(after - before) / (static_cast<double>(end - begin) * 1e-6);
}

std::vector<std::string> RenderProgress(const DownloadProgress& progress, double bytes_per_second, size_t width) {
  using State = FileProgress::State;
  std::vector<std::string> lines;
  for (const FileProgress& file : progress.files) {
    if (file.state != State::kRunning && file.state != State::kElsewhere) continue;
    if (lines.size() == kMaxBars) break;
    const char* rest = file.state == State::kElsewhere ? " by another process" : "";
    lines.push_back(Line(file.name, file.done, file.size, rest, width));
  }
  const Sum sum = SumOf(progress);
  const std::string rest = fmt::format(", {}/s{}", FormatSize(static_cast<uint64_t>(bytes_per_second)),
                                       TimeLeft(sum.size - sum.done, bytes_per_second));
  const std::string name = fmt::format("{} of {} files", sum.num_done, progress.files.size());
  lines.push_back(Line(name, sum.done, sum.size, rest, width));
  return lines;
}

ShowProgress MakeProgressView(const std::string& model) {
  const auto view = std::make_shared<ProgressView>(model);
  return [view](const DownloadProgress& progress) { view->Show(progress); };
}

}  // namespace quire
