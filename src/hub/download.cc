#include "hub/download.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "hub/blob_file.h"
#include "hub/http_get.h"

namespace quire {
namespace {

constexpr size_t kMaxAtOnce = 8;
constexpr int kMaxFileTries = 6;   // in a row, without a byte that came
constexpr int kMaxBadDigests = 2;  // a file whose bytes are others than the hub says
constexpr int64_t kLockPollUs = 100'000;
constexpr int64_t kShowUs = 100'000;
constexpr int kPollMs = 50;

// "bytes 100-199/200": where a part begins; nothing, if it does not say.
std::optional<uint64_t> BeginOf(const std::string& content_range) {
  constexpr std::string_view kUnit = "bytes ";
  if (!content_range.starts_with(kUnit)) return std::nullopt;
  uint64_t begin = 0;
  const char* last = content_range.data() + content_range.size();
  const auto [end, error] = std::from_chars(content_range.data() + kUnit.size(), last, begin);
  return error == std::errc() && end != last && *end == '-' ? std::optional(begin) : std::nullopt;
}

// One file's way into the cache.
class Transfer {
 public:
  Transfer(const RepoFile& file, std::string url) : file_(file), url_(std::move(url)) {}

  const RepoFile& file() const { return file_; }
  bool done() const { return done_; }
  bool running() const { return get_ != nullptr; }
  bool elsewhere() const { return elsewhere_; }
  bool IsDue(TimeUs now) const { return !done_ && !running() && now >= due_; }
  uint64_t num_bytes() const { return done_ ? file_.size : blob_ ? blob_->size() : 0; }
  uint64_t received() const { return received_; }
  CURL* handle() const { return get_->handle(); }

  // Takes the lock and asks for what is missing; or is done, or will be due again.
  Status Begin(const HubEnvironment& environment, const CacheLayout& layout, TimeUs now);
  // REQUIRES: its handle is out of the multi handle again.
  Status End(const HubEnvironment& environment, const RepoRef& ref, CURLcode code, TimeUs now);

 private:
  bool Take(const HttpAnswer& answer, std::string_view bytes);
  Status TakePart(const HttpAnswer& answer, std::string_view bytes);
  Status Finish();
  // Some time later, unless it was too often; `why` is for the log and the error.
  Status TryAgain(const HttpAnswer& answer, const std::string& why, TimeUs now);
  Error Named(Error error) const;

  const RepoFile file_;
  const std::string url_;
  std::optional<BlobFile> blob_;
  std::unique_ptr<HttpGet> get_;
  Status failure_;          // of a part that could not be taken
  std::string if_range_;    // the ETag of who sent the bytes that are there
  bool first_part_ = true;  // of this request
  bool done_ = false;
  bool elsewhere_ = false;  // another process downloads it
  int num_tries_ = 0;
  int num_bad_digests_ = 0;
  uint64_t received_ = 0;
  uint64_t size_at_begin_ = 0;
  TimeUs due_ = 0;
};

Error Transfer::Named(Error error) const {
  error.message = fmt::format("{}: {}", file_.path, error.message);
  return error;
}

Status Transfer::Begin(const HubEnvironment& environment, const CacheLayout& layout, TimeUs now) {
  if (!blob_) {
    Result<std::optional<BlobFile>> opened = BlobFile::Open(layout, file_);
    if (!opened.ok()) return Named(opened.error());
    if (!opened->has_value()) {
      if (!elsewhere_) LogInfo("hub_waits file={} reason=\"another process downloads it\"", LogValue(file_.path));
      elsewhere_ = true;
      due_ = now + kLockPollUs;
      return {};
    }
    blob_.emplace(**std::move(opened));
    elsewhere_ = false;
  }
  if (blob_->is_there() || blob_->size() == blob_->full_size()) {
    const Status finished = Finish();
    return finished.ok() ? finished : TryAgain({}, finished.error().message, now);
  }
  get_ = std::make_unique<HttpGet>(
      environment, url_, [this](const HttpAnswer& answer, std::string_view bytes) { return Take(answer, bytes); });
  failure_ = Status();
  first_part_ = true;
  size_at_begin_ = blob_->size();
  if (blob_->size() > 0) get_->SetRange(blob_->size(), if_range_);
  return {};
}

Status Transfer::TakePart(const HttpAnswer& answer, std::string_view bytes) {
  if (std::exchange(first_part_, false)) {
    const std::string linked = NormalEtag(answer.linked_etag);
    if (!linked.empty() && linked != file_.etag()) {
      return DataLoss("the hub has another file now than the one it listed");
    }
    const bool goes_on = answer.status == 206 && BeginOf(answer.content_range) == blob_->size();
    if (blob_->size() > 0 && !goes_on) QUIRE_RETURN_IF_ERROR(blob_->StartOver());
    if (answer.status == 206 && !goes_on) return DataLoss("another part came than the one that was asked for");
    if_range_ = answer.etag.starts_with("W/") ? "" : answer.etag;
  }
  received_ += bytes.size();
  return blob_->Append(bytes);
}

bool Transfer::Take(const HttpAnswer& answer, std::string_view bytes) {
  failure_ = TakePart(answer, bytes);
  return failure_.ok();
}

Status Transfer::Finish() {
  if (!blob_->is_there()) {
    const Status finished = blob_->Finish();
    if (!finished.ok()) {
      ++num_bad_digests_;
      if_range_.clear();
      return finished;
    }
  }
  done_ = true;
  blob_.reset();
  return {};
}

Status Transfer::TryAgain(const HttpAnswer& answer, const std::string& why, TimeUs now) {
  if (++num_tries_ >= kMaxFileTries || num_bad_digests_ >= kMaxBadDigests) {
    return Named(num_bad_digests_ > 0 ? DataLoss("{}", why)
                                      : Unavailable("{}; it was tried {} times", why, num_tries_));
  }
  const int64_t wait_ms = BackoffMs(num_tries_, answer);
  LogInfo("hub_tries_again file={} bytes={} wait_s={:.1f} reason={}", LogValue(file_.path), num_bytes(),
          static_cast<double>(wait_ms) / 1000, LogValue(why));
  due_ = now + wait_ms * 1000;
  return {};
}

Status Transfer::End(const HubEnvironment& environment, const RepoRef& ref, CURLcode code, TimeUs now) {
  const std::unique_ptr<HttpGet> get = std::exchange(get_, nullptr);
  const HttpAnswer& answer = get->answer();
  if (blob_->size() > size_at_begin_) num_tries_ = 0;
  if (!failure_.ok()) {
    const bool may_pass = failure_.error().code == ErrorCode::kDataLoss;
    if (!may_pass) return Named(failure_.error());
    ++num_bad_digests_;
    QUIRE_RETURN_IF_ERROR(blob_->StartOver());
    return TryAgain(answer, failure_.error().message, now);
  }
  if (code != CURLE_OK) {
    if (IsTransient(code)) return TryAgain(answer, get->Reason(code), now);
    return Named(Unavailable("{}", get->Reason(code)));
  }
  if (answer.status == 200 || answer.status == 206) {
    if (blob_->size() < blob_->full_size()) {
      return TryAgain(answer, fmt::format("{} of {} bytes came", blob_->size(), blob_->full_size()), now);
    }
    const Status finished = Finish();
    if (finished.ok() || finished.error().code != ErrorCode::kDataLoss) return finished;
    return TryAgain(answer, finished.error().message, now);
  }
  if (answer.status == 416) {
    QUIRE_RETURN_IF_ERROR(blob_->StartOver());
    return TryAgain(answer, "it has no such part", now);
  }
  // A link to another host that was good for a while only: the hub gives a new one.
  const bool is_expired = answer.redirected_away && answer.error_code.empty() && answer.status < 500;
  if (IsTransientStatus(answer.status) || is_expired) {
    return TryAgain(answer, fmt::format("the answer was {}", answer.status), now);
  }
  return ExplainRefusal(environment, ref, fmt::format("the file {}", file_.path), answer);
}

struct DeleteMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};

class Downloader {
 public:
  Downloader(const HubEnvironment& environment, const CacheLayout& layout, const DownloadJob& job,
             const ShowProgress& show);
  ~Downloader();
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  Status Run();

 private:
  Status BeginWhatIsDue();
  Status EndWhatIsOver();
  void Show(bool at_once);

  const HubEnvironment& environment_;
  const CacheLayout& layout_;
  const DownloadJob& job_;
  const ShowProgress& show_;
  std::unique_ptr<CURLM, DeleteMulti> multi_{curl_multi_init()};
  std::vector<std::unique_ptr<Transfer>> transfers_;
  TimeUs shown_ = 0;
};

Downloader::Downloader(const HubEnvironment& environment, const CacheLayout& layout, const DownloadJob& job,
                       const ShowProgress& show)
    : environment_(environment), layout_(layout), job_(job), show_(show) {
  QUIRE_CHECK(multi_ != nullptr);
  const HubApi api(environment);
  std::set<std::string> etags;  // of two files with the same bytes one is enough
  for (const RepoFile& file : job.files) {
    if (!etags.insert(file.etag()).second) continue;
    transfers_.push_back(std::make_unique<Transfer>(file, api.FileUrl(job.ref, job.commit, file.path)));
  }
}

Downloader::~Downloader() {
  for (const auto& transfer : transfers_) {
    if (transfer->running()) curl_multi_remove_handle(multi_.get(), transfer->handle());
  }
}

Status Downloader::BeginWhatIsDue() {
  const TimeUs now = Clock::Real().NowUs();
  auto num_running = static_cast<size_t>(std::ranges::count_if(transfers_, &Transfer::running));
  for (const auto& transfer : transfers_) {
    if (num_running >= kMaxAtOnce) break;
    if (!transfer->IsDue(now)) continue;
    QUIRE_RETURN_IF_ERROR(transfer->Begin(environment_, layout_, now));
    if (!transfer->running()) continue;
    ++num_running;
    QUIRE_CHECK(curl_multi_add_handle(multi_.get(), transfer->handle()) == CURLM_OK);
  }
  return {};
}

Status Downloader::EndWhatIsOver() {
  int num_left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &num_left)) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL* handle = message->easy_handle;
    const CURLcode code = message->data.result;
    const auto found = std::ranges::find_if(
        transfers_, [&](const auto& transfer) { return transfer->running() && transfer->handle() == handle; });
    QUIRE_CHECK(found != transfers_.end());
    curl_multi_remove_handle(multi_.get(), handle);
    QUIRE_RETURN_IF_ERROR((*found)->End(environment_, job_.ref, code, Clock::Real().NowUs()));
  }
  return {};
}

void Downloader::Show(bool at_once) {
  const TimeUs now = Clock::Real().NowUs();
  if (!show_ || (!at_once && now - shown_ < kShowUs)) return;
  shown_ = now;
  DownloadProgress progress;
  for (const auto& transfer : transfers_) {
    using State = FileProgress::State;
    const State state = transfer->done()        ? State::kDone
                        : transfer->running()   ? State::kRunning
                        : transfer->elsewhere() ? State::kElsewhere
                                                : State::kWaiting;
    const RepoFile& file = transfer->file();
    progress.files.push_back(
        {.name = file.path, .etag = file.etag(), .size = file.size, .done = transfer->num_bytes(), .state = state});
    progress.received += transfer->received();
  }
  show_(progress);
}

Status Downloader::Run() {
  while (!std::ranges::all_of(transfers_, &Transfer::done)) {
    QUIRE_RETURN_IF_ERROR(BeginWhatIsDue());
    int num_running = 0;
    if (curl_multi_perform(multi_.get(), &num_running) != CURLM_OK) return Internal("the transfers cannot go on");
    QUIRE_RETURN_IF_ERROR(EndWhatIsOver());
    Show(false);
    if (!std::ranges::all_of(transfers_, &Transfer::done)) curl_multi_poll(multi_.get(), nullptr, 0, kPollMs, nullptr);
  }
  Show(true);
  return {};
}

}  // namespace

Status DownloadBlobs(const HubEnvironment& environment, const CacheLayout& layout, const DownloadJob& job,
                     const ShowProgress& show) {
  return Downloader(environment, layout, job, show).Run();
}

}  // namespace quire
