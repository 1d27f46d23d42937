// One GET over libcurl: set up as the environment says, redirects followed, the token sent to the hub alone. Performed
// by itself, or by a curl_multi handle together with others. Thread-compatible.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "hub/hub_environment.h"

namespace quire {

// The headers that matter. Those of the hub itself may come with a redirect, before the last answer's own.
struct HttpAnswer {
  long status = 0;                                                 // of the last answer; 0: none came
  bool redirected_away = false;                                    // the last answer is another host's
  std::string etag, content_range, link, retry_after, rate_limit;  // of the last answer
  std::string linked_etag, error_code, error_message;              // of any
  std::string body;                                                // where nobody takes it: its beginning

  // "Link: <url>; rel="next"": the next page; empty: none.
  std::string NextPage() const;
  // What the server asks to wait before another try, in seconds; -1: it does not say.
  int64_t WaitSeconds() const;
};

class HttpGet {
 public:
  // Takes bytes of a body whose status is 200 or 206, with all headers known. False: the transfer is given up.
  using TakeBody = std::function<bool(const HttpAnswer& answer, std::string_view bytes)>;
  static constexpr size_t kMaxBody = 64 << 20;  // of a body that nobody takes

  // `take_body` may be empty.
  HttpGet(const HubEnvironment& environment, const std::string& url, TakeBody take_body = nullptr);
  ~HttpGet();
  HttpGet(const HttpGet&) = delete;
  HttpGet& operator=(const HttpGet&) = delete;

  // Asks for the bytes from `offset` on; with `if_range`, an ETag, only as long as the file is that one.
  void SetRange(uint64_t offset, const std::string& if_range);

  CURL* handle() { return handle_.get(); }
  CURLcode Perform() { return curl_easy_perform(handle_.get()); }
  const HttpAnswer& answer() const { return answer_; }
  // REQUIRES: `code` is what the transfer ended with. "Could not resolve host: ...".
  std::string Reason(CURLcode code) const;

 private:
  struct Delete {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  void SetUp(const HubEnvironment& environment, const std::string& url);
  void AddHeader(const std::string& line);
  void TakeHeader(std::string_view line);
  size_t Take(std::string_view bytes);
  static size_t OnHeader(char* data, size_t size, size_t count, void* self);
  static size_t OnBody(char* data, size_t size, size_t count, void* self);

  std::unique_ptr<CURL, Delete> handle_;
  std::unique_ptr<curl_slist, Delete> headers_;
  TakeBody take_body_;
  HttpAnswer answer_;
  std::string host_;
  char reason_[CURL_ERROR_SIZE] = {};
};

// What passes: the connection was refused, cut, slow.
bool IsTransient(CURLcode code);
bool IsTransientStatus(long status);

// "https://host:port" of an address; of what is none, all of it.
std::string_view OriginOf(std::string_view url);
// Percent-encoded; slashes stay where `keep_slashes`.
std::string EncodeUrl(std::string_view text, bool keep_slashes);
// Without W/ and quotes, as the cache names blobs.
std::string NormalEtag(std::string_view etag);

}  // namespace quire
