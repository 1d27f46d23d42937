#include "hub/http_get.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "quire/version.h"

namespace quire {
namespace {

constexpr long kMaxRedirects = 10;
constexpr long kBufferBytes = 256 << 10;

void InitCurlOnce() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  QUIRE_CHECK(code == CURLE_OK);
}

// A number at the front of the text; -1: there is none.
int64_t LeadingNumber(std::string_view text) {
  int64_t number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && number >= 0 ? number : -1;
}

// Whether the line is that header; if so, `value` gets what it says.
bool ReadHeader(std::string_view line, std::string_view name, std::string& value) {
  if (line.size() <= name.size() || line[name.size()] != ':') return false;
  if (strncasecmp(line.data(), name.data(), name.size()) != 0) return false;
  std::string_view rest = line.substr(name.size() + 1);
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  while (!rest.empty() && is_space(rest.back())) rest.remove_suffix(1);
  value = rest;
  return true;
}

}  // namespace

std::string HttpAnswer::NextPage() const {
  for (size_t begin = link.find('<'); begin != std::string::npos; begin = link.find('<', begin + 1)) {
    const size_t end = link.find('>', begin);
    if (end == std::string::npos) return "";
    const std::string parameters = link.substr(end, std::min(link.find('<', end), link.size()) - end);
    if (parameters.find("rel=\"next\"") != std::string::npos || parameters.find("rel=next") != std::string::npos) {
      return link.substr(begin + 1, end - begin - 1);
    }
  }
  return "";
}

int64_t HttpAnswer::WaitSeconds() const {
  if (const int64_t seconds = LeadingNumber(retry_after); seconds >= 0) return seconds;
  if (const time_t date = curl_getdate(retry_after.c_str(), nullptr); !retry_after.empty() && date >= 0) {
    return std::max<int64_t>(0, date - std::time(nullptr));
  }
  // RateLimit: "api";r=0;t=55
  const size_t reset = rate_limit.find(";t=");
  return status == 429 && reset != std::string::npos ? LeadingNumber(std::string_view(rate_limit).substr(reset + 3))
                                                     : -1;
}

HttpGet::HttpGet(const HubEnvironment& environment, const std::string& url, TakeBody take_body)
    : take_body_(std::move(take_body)), host_(OriginOf(url)) {
  InitCurlOnce();
  handle_.reset(curl_easy_init());
  QUIRE_CHECK(handle_ != nullptr);
  SetUp(environment, url);
}

HttpGet::~HttpGet() = default;

void HttpGet::SetUp(const HubEnvironment& environment, const std::string& url) {
  CURL* curl = handle_.get();
  const char* schemes = url.starts_with("https:") ? "https" : "http,https";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, schemes);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, schemes);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kMaxRedirects);
  // Several files come over several connections: one for all would be as fast as one.
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, fmt::format("quire/{}", kVersion).c_str());
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(environment.timeout_s));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
                   static_cast<long>(take_body_ ? environment.stall_s : environment.timeout_s));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason_);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &HttpGet::OnHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &HttpGet::OnBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  if (!environment.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, environment.ca_file.c_str());
  // To the hub only; libcurl drops the header where a redirect leads to another host.
  if (!environment.token.empty() && host_ == OriginOf(environment.endpoint)) {
    AddHeader("Authorization: Bearer " + environment.token);
  }
}

void HttpGet::AddHeader(const std::string& line) {
  curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
  QUIRE_CHECK(longer != nullptr);
  static_cast<void>(headers_.release());
  headers_.reset(longer);
  curl_easy_setopt(handle_.get(), CURLOPT_HTTPHEADER, longer);
}

void HttpGet::SetRange(uint64_t offset, const std::string& if_range) {
  curl_easy_setopt(handle_.get(), CURLOPT_RANGE, fmt::format("{}-", offset).c_str());
  if (!if_range.empty()) AddHeader("If-Range: " + if_range);
}

std::string HttpGet::Reason(CURLcode code) const { return reason_[0] != '\0' ? reason_ : curl_easy_strerror(code); }

void HttpGet::TakeHeader(std::string_view line) {
  if (line.starts_with("HTTP/")) {  // of the next answer
    const size_t space = line.find(' ');
    answer_.status =
        space == line.npos ? 0 : static_cast<long>(std::max<int64_t>(0, LeadingNumber(line.substr(space + 1))));
    for (std::string* own :
         {&answer_.etag, &answer_.content_range, &answer_.link, &answer_.retry_after, &answer_.rate_limit}) {
      own->clear();
    }
    const char* url = nullptr;
    curl_easy_getinfo(handle_.get(), CURLINFO_EFFECTIVE_URL, &url);
    answer_.redirected_away = url != nullptr && OriginOf(url) != host_;
    return;
  }
  const std::pair<std::string_view, std::string*> known[] = {
      {"ETag", &answer_.etag},
      {"Content-Range", &answer_.content_range},
      {"Link", &answer_.link},
      {"Retry-After", &answer_.retry_after},
      {"RateLimit", &answer_.rate_limit},
      {"X-Linked-Etag", &answer_.linked_etag},
      {"X-Error-Code", &answer_.error_code},
      {"X-Error-Message", &answer_.error_message},
  };
  for (const auto& [name, value] : known) {
    if (ReadHeader(line, name, *value)) return;
  }
}

size_t HttpGet::Take(std::string_view bytes) {
  const bool is_file = answer_.status == 200 || answer_.status == 206;
  if (take_body_ && is_file) return take_body_(answer_, bytes) ? bytes.size() : 0;
  if (answer_.body.size() + bytes.size() > kMaxBody) return 0;
  answer_.body += bytes;
  return bytes.size();
}

size_t HttpGet::OnHeader(char* data, size_t size, size_t count, void* self) {
  static_cast<HttpGet*>(self)->TakeHeader({data, size * count});
  return size * count;
}

size_t HttpGet::OnBody(char* data, size_t size, size_t count, void* self) {
  return static_cast<HttpGet*>(self)->Take({data, size * count});
}

bool IsTransient(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
      return true;
    default:
      return false;
  }
}

bool IsTransientStatus(long status) { return status == 408 || status == 429 || status >= 500; }

std::string_view OriginOf(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == url.npos) return url;
  return url.substr(0, std::min(url.find_first_of("/?#", scheme + 3), url.size()));
}

std::string EncodeUrl(std::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const char c : text) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                          std::string_view("-._~").find(c) != std::string_view::npos || (keep_slashes && c == '/');
    if (is_plain) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string NormalEtag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

}  // namespace quire
