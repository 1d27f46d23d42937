// The template language against Jinja itself: each row of tests/goldens/jinja.json is a template that Transformers'
// sandbox rendered or refused (tools/golden/make_jinja.py).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "text/chat_template.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

// Empty when the row is matched, else what differs.
std::string Difference(const Json& row) {
  const bool fails = row.contains("error");
  const auto parsed = ChatTemplate::Parse(row["template"].get<std::string>());
  const auto rendered = parsed.ok() ? (*parsed)->Render(row["context"]) : Result<std::string>(parsed.error());
  if (fails) return rendered.ok() ? "rendered '" + *rendered + "', but must fail: " + row["error"].dump() : "";
  if (!rendered.ok()) return rendered.error().message + ", but must render " + row["rendered"].dump();
  return *rendered == row["rendered"] ? "" : "got " + Json(*rendered).dump() + ", want " + row["rendered"].dump();
}

TEST(JinjaGoldenTest, RendersEveryTemplateAsJinjaDoes) {
  std::ifstream stream(std::string(QUIRE_SOURCE_DIR) + "/tests/goldens/jinja.json");
  const Json rows = Json::parse(stream)["rows"];
  EXPECT_GT(rows.size(), 400U);
  for (const Json& row : rows) EXPECT_EQ(Difference(row), "") << row["template"].get<std::string>();
}

}  // namespace
}  // namespace quire
