#include "model/weight_names.h"

#include <string_view>

namespace quire {
namespace {

std::string InLayer(std::string_view layer, int32_t index, std::string_view name) {
  std::string text(layer);
  return text.replace(text.find("{}"), 2, std::to_string(index)).append(name);
}

}  // namespace

std::vector<WeightName> NamesOf(const WeightNames& from, const WeightNames& to, int32_t num_layers) {
  std::vector<WeightName> names;
  for (const auto member : {&WeightNames::embedding, &WeightNames::final_norm, &WeightNames::lm_head}) {
    names.push_back({.from = std::string(from.*member), .to = std::string(to.*member)});
  }
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const auto add = [&](std::string_view WeightNames::*member, std::string_view suffix) {
      const WeightName::Part part = member == &WeightNames::q   ? WeightName::kQuery
                                    : member == &WeightNames::k ? WeightName::kKey
                                                                : WeightName::kOther;
      names.push_back({.from = InLayer(from.layer, layer, from.*member).append(suffix),
                       .to = InLayer(to.layer, layer, to.*member).append(suffix),
                       .part = part});
    };
    for (const auto member :
         {&WeightNames::attention_norm, &WeightNames::mlp_norm, &WeightNames::q_norm, &WeightNames::k_norm}) {
      add(member, "");
    }
    for (const auto member : {&WeightNames::q, &WeightNames::k, &WeightNames::v, &WeightNames::o, &WeightNames::gate,
                              &WeightNames::up, &WeightNames::down}) {
      add(member, ".weight");
      add(member, ".bias");
    }
  }
  return names;
}

}  // namespace quire
