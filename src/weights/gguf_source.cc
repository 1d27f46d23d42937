// The tensors of a GGUF file, under the names that it gives them.
#include <utility>

#include "weights/gguf_set.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

class GgufSource : public TensorSource {
 public:
  explicit GgufSource(GgufSet set) : TensorSource(set.metadata().path(), "its metadata"), set_(std::move(set)) {
    for (const auto& [name, place] : set_.tensors()) {
      const GgufTensorType& type = *place.tensor->type;
      Put(name, {.file = &place.file->file(),
                 .format = type.kind ? &FormatOf(*type.kind) : nullptr,
                 .type_name = type.name,
                 .shape = place.tensor->shape,
                 .offset = place.tensor->offset});
    }
  }

  std::string_view quantization() const override { return "gguf"; }

 private:
  std::string_view SupportedTypes() const override { return "floats, Q4_0 to Q8_0, the K and IQ kinds, MXFP4, TQ"; }

  GgufSet set_;
};

}  // namespace

std::unique_ptr<TensorSource> MakeGgufSource(GgufSet set) { return std::make_unique<GgufSource>(std::move(set)); }

}  // namespace quire
