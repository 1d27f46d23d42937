// The small models of the repository's goldens, on a backend, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "backend/backend_factory.h"
#include "model/model.h"
#include "runner/model_runner.h"

namespace quire {

struct TestModel {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;

  std::unique_ptr<ModelRunner> MakeRunner(const ModelRunnerOptions& options, BlockStores stores = {}) const {
    Result<std::unique_ptr<ModelRunner>> runner = ModelRunner::Create(*backend, *model, options, std::move(stores));
    if (!runner.ok()) ADD_FAILURE() << runner.error().message;
    return runner.ok() ? *std::move(runner) : nullptr;
  }
};

inline std::string GoldenDirectory(const std::string& name) {
  return std::string(QUIRE_SOURCE_DIR) + "/tests/goldens/models/" + name;
}

inline TestModel LoadTestModel(const std::string& directory, int num_threads = 1, const std::string& isa = "auto") {
  TestModel loaded;
  Result<std::unique_ptr<Backend>> backend = MakeCpuBackend({.num_threads = num_threads, .isa = isa});
  if (!backend.ok()) ADD_FAILURE() << backend.error().message;
  loaded.backend = *std::move(backend);
  Result<std::unique_ptr<Model>> model = Model::Load(directory, *loaded.backend, {});
  if (!model.ok()) ADD_FAILURE() << model.error().message;
  loaded.model = *std::move(model);
  return loaded;
}

}  // namespace quire
