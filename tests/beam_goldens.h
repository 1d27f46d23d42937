// The beam searches of tests/goldens/beams.json: what Transformers finds. Made by tools/golden/make_beams.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/check.h"
#include "quire/sampling_params.h"

namespace quire::testing {

struct BeamGolden {
  std::string model;  // its directory, absolute
  std::vector<int32_t> prompt;
  std::vector<int32_t> eos_token_ids;  // end a beam unless params.ignore_eos
  SamplingParams params;               // n is the width: all hypotheses are wanted
  uint32_t num_steps = 0;
  std::vector<std::vector<int32_t>>
      sequences;  // without the prompt, best first; one that ended ends with what ended it
  std::vector<float> scores;
};

// How far a right score may be from the golden one. Transformers' log_softmax subtracts in float32 at the size of the
// logits, which loses up to 2e-6 of every token's log-probability: much of a score that is nearly 0.
inline float ScoreTolerance(const BeamGolden& golden, size_t i) {
  const auto length = static_cast<float>(golden.sequences[i].size());
  return 1e-4F * std::abs(golden.scores[i]) + 2e-6F * length / std::pow(length, golden.params.length_penalty);
}

inline EarlyStopping ParseEarlyStopping(const nlohmann::json& json) {
  if (json.is_string()) return EarlyStopping::kNever;
  return json.get<bool>() ? EarlyStopping::kAlways : EarlyStopping::kHeuristic;
}

inline BeamGolden ParseBeamGolden(const nlohmann::json& json) {
  BeamGolden golden;
  golden.model = std::string(QUIRE_SOURCE_DIR) + "/" + json["model"].get<std::string>();
  json["prompt_ids"].get_to(golden.prompt);
  json["eos_token_ids"].get_to(golden.eos_token_ids);
  json["num_steps"].get_to(golden.num_steps);
  json["sequences"].get_to(golden.sequences);
  json["sequences_scores"].get_to(golden.scores);
  SamplingParams& params = golden.params;
  params.use_beam_search = true;
  params.n = json["num_beams"].get<int32_t>();
  params.length_penalty = json["length_penalty"].get<float>();
  params.early_stopping = ParseEarlyStopping(json["early_stopping"]);
  params.max_tokens = json["max_new_tokens"].get<int32_t>();
  params.ignore_eos = json["ignore_eos"].get<bool>();
  return golden;
}

inline std::vector<BeamGolden> ReadBeamGoldens() {
  std::ifstream file(std::string(QUIRE_SOURCE_DIR) + "/tests/goldens/beams.json");
  QUIRE_CHECK(file.good(), "tests/goldens/beams.json: made by tools/golden/make_beams.py");
  const auto all = nlohmann::json::parse(file);
  std::vector<BeamGolden> goldens;
  for (const auto& json : all["cases"]) goldens.push_back(ParseBeamGolden(json));
  return goldens;
}

}  // namespace quire::testing
