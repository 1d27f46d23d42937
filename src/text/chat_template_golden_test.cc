// Real chat templates, rendered as Jinja 3.1.6 renders them for Transformers.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/published_templates_testing.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// Rows of the whole file that are reached: rows that a second implementation confirms, and the others.
constexpr int kAgreedFloor = 5955;
constexpr int kOtherFloor = 645;

Json Context(const Json& row, const Json& item) {
  Json context;
  context["messages"] = item["messages"];
  context["tools"] = item.contains("tools") ? item["tools"] : Json(nullptr);
  context["documents"] = nullptr;
  context["add_generation_prompt"] = row["add_generation_prompt"];
  context["bos_token"] = row["bos_token"];
  context["eos_token"] = row["eos_token"];
  if (item.contains("kwargs")) context.update(item["kwargs"]);
  return context;
}

// Llama 2 and 3, Mistral, Qwen 2, 2.5 and 3.
bool IsRequiredFamily(const std::string& name) {
  static const std::vector<std::string> kParts = {"meta-llama",        "llama2",          "llama3",
                                                  "mistralai-Mistral", "mistral-common/", "mistral.rs/mistral",
                                                  "mistral-instr",     "nvidia-mistral",  "unsloth-mistral",
                                                  "Qwen-Qwen",         "Qwen3-Coder",     "qwen"};
  for (const auto& part : kParts) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

class ChatTemplateGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(DataDirectory() / "golden.jsonl.gz")) {
      GTEST_SKIP() << "test data absent: " << DataDirectory().string();
    }
    cases_ = Json::parse(ReadText(DataDirectory() / "cases.json"))["cases"];
    for (const auto& line : Lines(ReadGzip(DataDirectory() / "golden.jsonl.gz"))) rows_.push_back(Json::parse(line));
  }

  const Result<std::unique_ptr<ChatTemplate>>& Parsed(const std::string& name) {
    auto found = templates_.find(name);
    if (found == templates_.end()) {
      ChatTemplateOptions options{.now = FixedTime};
      found = templates_.emplace(name, ChatTemplate::Parse(TemplateSource(name), options)).first;
    }
    return found->second;
  }

  // Empty when the row is matched, else what differs.
  std::string Difference(const Json& row) {
    const auto& parsed = Parsed(row["template"].get<std::string>());
    const bool fails = row.contains("error");
    if (!parsed.ok()) return fails ? "" : parsed.error().message;
    const auto rendered = (*parsed)->Render(Context(row, cases_[row["case"].get<std::string>()]));
    if (fails) return rendered.ok() ? "rendered, but must fail: " + row["error"].get<std::string>() : "";
    if (!rendered.ok()) return rendered.error().message;
    return *rendered == row["rendered"] ? "" : "got:\n" + *rendered + "\nwant:\n" + row["rendered"].get<std::string>();
  }

  Json cases_;
  std::vector<Json> rows_;
  std::map<std::string, Result<std::unique_ptr<ChatTemplate>>> templates_;
};

TEST_F(ChatTemplateGoldenTest, RendersTheRequiredFamiliesExactly) {
  int count = 0;
  for (const Json& row : rows_) {
    const auto name = row["template"].get<std::string>();
    if (!IsRequiredFamily(name)) continue;
    ++count;
    EXPECT_EQ(Difference(row), "") << name << " " << row["case"] << " " << row["add_generation_prompt"];
  }
  EXPECT_GT(count, 1000);
}

TEST_F(ChatTemplateGoldenTest, KeepsTheRowsThatItReaches) {
  std::map<std::string, int> matched;
  std::map<std::string, int> total;
  for (const Json& row : rows_) {
    const bool agrees = row["js_agrees"].get<bool>();
    const std::string kind = std::string(agrees ? "agreed " : "other ") + (row.contains("error") ? "errors" : "texts");
    const std::string difference = Difference(row);
    ++total[kind];
    if (difference.empty()) {
      ++matched[kind];
    } else {
      std::cout << kind << ": " << row["template"] << " " << row["case"] << " " << difference.substr(0, 600) << "\n";
    }
  }
  for (const auto& [kind, count] : total) std::cout << kind << ": " << matched[kind] << " of " << count << "\n";
  EXPECT_GE(matched["agreed texts"] + matched["agreed errors"], kAgreedFloor);
  EXPECT_GE(matched["other texts"] + matched["other errors"], kOtherFloor);
}

// Random edits of real templates: every one parses and renders, or fails with an error.
TEST_F(ChatTemplateGoldenTest, SurvivesMutatedTemplates) {
  constexpr uint32_t kSeed = 20240726;
  constexpr int kRounds = 4000;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const auto below = [&random](size_t bound) { return static_cast<size_t>(random() % bound); };
  std::vector<std::string> sources;
  for (const Json& row : rows_) {
    if (row["case"] == "user" && row["add_generation_prompt"] == true) {
      sources.push_back(TemplateSource(row["template"].get<std::string>()));
    }
  }
  ASSERT_FALSE(sources.empty());
  int rendered = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::string source = sources[below(sources.size())];
    for (size_t edits = 1 + below(4); edits > 0 && !source.empty(); --edits) {
      const std::string& donor = sources[below(sources.size())];
      const size_t at = below(source.size());
      const size_t from = below(donor.size() + 1);
      switch (below(4)) {
        case 0:
          source.erase(at, 1 + below(8));
          break;
        case 1:
          source.insert(at, donor.substr(from, 1 + below(40)));
          break;
        case 2:
          source.insert(at, source.substr(below(source.size()), 1 + below(12)));
          break;
        default:
          source[at] = "{}%#-+'\"()[]|.,:=~*/<>!0123456789 \nabcx"[below(40)];
      }
    }
    const auto parsed = ChatTemplate::Parse(source);
    if (!parsed.ok()) {
      EXPECT_FALSE(parsed.error().message.empty());
      continue;
    }
    const Json& row = rows_[below(rows_.size())];
    rendered += (*parsed)->Render(Context(row, cases_[row["case"].get<std::string>()])).ok() ? 1 : 0;
  }
  EXPECT_GT(rendered, 0);
}

}  // namespace
}  // namespace quire
