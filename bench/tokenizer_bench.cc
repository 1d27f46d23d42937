// How fast a tokenizer encodes and streams English text on one core.
//   tokenizer_bench [--megabytes N] TOKENIZER_JSON...      (plain or gzip)
// The text is made here from a fixed seed: words of Zipf's frequencies, some of them rare coinages, in sentences and
// paragraphs with punctuation and numbers.
#include <time.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace {

// Processor time of this thread: what one core takes, whoever else is on it.
double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Roughly by frequency.
constexpr std::string_view kCommonWords =
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were her all she there would their we him been has when who will more no if out so said what up its about "
    "into than them can only other new some could time these two may then do first any my now such like our over man "
    "me "
    "even most made after also did many before must through back years where much your way well down should because "
    "each just those people too little state good very make world still own see men work long get here between both "
    "life being under never day same another know while last might us great old year off come since against go came "
    "right used take three states himself few house use during without again place around however home small found "
    "thought went say part once general high upon school every don't does got united left number course war until "
    "always away something fact though water less public put thing almost hand enough far took head yet government "
    "system better set told nothing night end why called didn't eyes find going look asked later knew point next "
    "program city business give group toward young days let room present side social given several order national "
    "possible rather second face per among form important often things looked early white case become large need big "
    "four within felt children along saw best church ever least power development light thing seemed family interest "
    "want members mind country area others done turned although open god service certain kind problem began different "
    "door thus help sense means whole matter question language computer morning letter river mountain garden machine "
    "student teacher history science answer market station bridge window winter summer music paper picture story";

constexpr std::string_view kSyllables[] = {"con",  "ter", "ment", "per", "ta",  "lo",   "ri",  "pre", "sub", "ver",
                                           "tion", "al",  "ic",   "er",  "ing", "ness", "ful", "dis", "un",  "re",
                                           "mar",  "gan", "sel",  "vo",  "pli", "tro",  "ble", "den", "cor", "ist"};

std::vector<std::string> MakeVocabulary(std::mt19937& random) {
  std::vector<std::string> words;
  for (size_t at = 0; at < kCommonWords.size();) {
    const size_t end = std::min(kCommonWords.find(' ', at), kCommonWords.size());
    words.emplace_back(kCommonWords.substr(at, end - at));
    at = end + 1;
  }
  constexpr size_t kVocabularySize = 12'000;
  while (words.size() < kVocabularySize) {
    std::string word;
    for (size_t i = 2 + random() % 3; i > 0; --i) word += kSyllables[random() % std::size(kSyllables)];
    words.push_back(std::move(word));
  }
  return words;
}

std::string MakeText(size_t bytes) {
  std::mt19937 random(1);
  const std::vector<std::string> words = MakeVocabulary(random);
  std::vector<double> weights(words.size());
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::pow(static_cast<double>(i) + 2.7, -1.1);
  std::discrete_distribution<size_t> zipf(weights.begin(), weights.end());
  std::string text;
  text.reserve(bytes + 256);
  while (text.size() < bytes) {
    const size_t sentence = 5 + random() % 20;
    for (size_t i = 0; i < sentence; ++i) {
      std::string word = random() % 40 == 0 ? std::to_string(random() % 10'000) : words[zipf(random)];
      if (i == 0 || random() % 25 == 0) word[0] = static_cast<char>(std::toupper(word[0]));
      text += word;
      if (i + 1 < sentence) text += random() % 10 == 0 ? ", " : " ";
    }
    text += random() % 8 == 0 ? "?" : ".";
    text += random() % 6 == 0 ? "\n\n" : " ";
  }
  return text;
}

std::string ReadFile(const char* path) {
  std::string content, buffer(1 << 20, '\0');
  gzFile file = gzopen(path, "rb");
  if (file == nullptr) return content;
  for (int count; (count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;) {
    content.append(buffer, 0, static_cast<size_t>(count));
  }
  gzclose(file);
  return content;
}

// The best of a few runs of `work`, in seconds.
template <typename Work>
double BestOf(int runs, const Work& work) {
  double best = HUGE_VAL;
  for (int i = 0; i < runs; ++i) {
    const double start = ThreadSeconds();
    work();
    best = std::min(best, ThreadSeconds() - start);
  }
  return best;
}

bool Measure(const char* path, const std::string& text) {
  const double start = ThreadSeconds();
  const auto tokenizer = quire::Tokenizer::FromJson(ReadFile(path));
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s: %s\n", path, tokenizer.error().message.c_str());
    return false;
  }
  const double load = ThreadSeconds() - start;
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  std::vector<int32_t> ids;
  const auto encode = [&] {
    if (auto result = (*tokenizer)->Encode(text, false); result.ok()) ids = *std::move(result);
  };
  const double first = BestOf(1, encode);  // the word cache is empty
  const double again = BestOf(5, encode);
  const double stream = BestOf(3, [&] {
    quire::Detokenizer detokenizer(**tokenizer, true);
    std::string out;
    for (const int32_t id : ids) detokenizer.Append(id, out);
    detokenizer.Flush(out);
  });
  std::printf("%s\n  load %.0f ms, %zu tokens; encode %.1f MB/s cold, %.1f MB/s warm; stream %.0f ns per token\n", path,
              load * 1e3, ids.size(), megabytes / first, megabytes / again,
              stream * 1e9 / static_cast<double>(ids.size()));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  double megabytes = 4;
  std::vector<const char*> paths;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--megabytes" && i + 1 < argc) {
      megabytes = std::atof(argv[++i]);
    } else {
      paths.push_back(argv[i]);
    }
  }
  if (paths.empty() || megabytes <= 0) {
    std::fprintf(stderr, "usage: tokenizer_bench [--megabytes N] TOKENIZER_JSON...\n");
    return 2;
  }
  const std::string text = MakeText(static_cast<size_t>(megabytes * 1e6));
  bool ok = true;
  for (const char* path : paths) ok = Measure(path, text) && ok;
  return ok ? 0 : 1;
}
