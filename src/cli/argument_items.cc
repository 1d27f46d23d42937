#include "cli/argument_items.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/error.h"
#include "cli/dotted_json.h"
#include "cli/nearest_name.h"

namespace quire {
namespace {

// A negative number does not, nor does a text with a space.
bool LooksLikeOption(std::string_view text) {
  if (text.size() < 2 || text[0] != '-' || text.find(' ') != std::string_view::npos) return false;
  return std::isdigit(static_cast<unsigned char>(text[1])) == 0 && text[1] != '.';
}

// "--max_model_len" is "--max-model-len".
std::string Dashed(std::string name) {
  if (name.starts_with("--")) std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

// --no-x, and --disable-x for --enable-x.
const ForeignOption* FindNegated(const std::string& name) {
  const auto find = [](const std::string& positive) -> const ForeignOption* {
    const ForeignOption* found = FindForeignOption(positive);
    return found != nullptr && found->arity == Arity::kNone ? found : nullptr;
  };
  if (name.starts_with("--no-")) return find("--" + name.substr(5));
  if (name.starts_with("--disable-")) return find("--enable-" + name.substr(10));
  if (name.starts_with("--enable-")) return find("--disable-" + name.substr(9));
  return nullptr;
}

class Reader {
 public:
  Reader(const std::vector<std::string>& arguments, const CommandSyntax& syntax)
      : arguments_(arguments), syntax_(syntax) {}

  Status Read() {
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (argument == "--") {
        items_.positionals.insert(items_.positionals.end(), arguments_.begin() + static_cast<ptrdiff_t>(next_),
                                  arguments_.end());
        break;
      }
      if (LooksLikeOption(argument)) {
        QUIRE_RETURN_IF_ERROR(ReadOption(argument));
      } else {
        items_.positionals.push_back(argument);
      }
    }
    return {};
  }

  ArgumentItems Take() && { return std::move(items_); }

 private:
  // Sets what the name means; false: nothing.
  bool Identify(const std::string& name, ArgumentItem& item) const {
    item.own = syntax_.find(name);
    if (item.own) return true;
    if (!syntax_.loads_a_model) return false;
    item.foreign = FindForeignOption(name);
    if (item.foreign == nullptr) {
      item.foreign = FindNegated(name);
      item.negated = item.foreign != nullptr;
    }
    return item.foreign != nullptr;
  }

  bool IsKnownOption(const std::string& text) const {
    ArgumentItem item;
    return LooksLikeOption(text) && Identify(Dashed(text.substr(0, text.find('='))), item);
  }

  Status ReadOption(const std::string& argument) {
    const size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    if (const size_t dot = name.find('.'); name.starts_with("--") && dot != std::string::npos) {
      return ReadDotted(Dashed(name.substr(0, dot)), name.substr(dot + 1), value);
    }
    ArgumentItem item{.written = name};
    name = Dashed(name);
    if (!Identify(name, item) && !SplitAttached(argument, item, value)) return Unknown(argument, name);
    QUIRE_RETURN_IF_ERROR(ReadValues(value, item));
    items_.options.push_back(std::move(item));
    return {};
  }

  // -O3 is -O 3.
  bool SplitAttached(const std::string& argument, ArgumentItem& item, std::optional<std::string>& value) const {
    if (argument.starts_with("--") || argument.size() < 3 || !Identify(argument.substr(0, 2), item)) return false;
    item.written = argument.substr(0, 2);
    value = argument.substr(2);
    return true;
  }

  Status ReadDotted(const std::string& name, const std::string& path, std::optional<std::string> value) {
    ArgumentItem item{.written = name};
    if (!Identify(name, item)) return Unknown(name, name);
    if (!value && next_ == arguments_.size()) return InvalidArgument("{}.{} needs a value", name, path);
    if (!value) value = arguments_[next_++];
    auto same = std::ranges::find(items_.options, name, &ArgumentItem::written);
    if (same == items_.options.end()) same = items_.options.insert(items_.options.end(), std::move(item));
    const std::string before = same->values.empty() ? "{}" : same->values.back();
    QUIRE_ASSIGN_OR_RETURN(const std::string merged, MergeDotted(before, path, *value));
    same->values = {merged};
    return {};
  }

  Status ReadValues(const std::optional<std::string>& value, ArgumentItem& item) {
    const Arity arity = item.own ? item.own->arity : item.foreign->arity;
    if (value) item.values.push_back(*value);
    if (value && arity != Arity::kSome) return {};
    if (arity == Arity::kNone) {  // some versions of vLLM have switches with a word after them
      const bool is_word = next_ < arguments_.size() && IsListed("true false", Lowercase(arguments_[next_]));
      if (is_word) item.values.push_back(arguments_[next_++]);
      return {};
    }
    // One value that must be there may begin with a dash, as long as it is not an option.
    const auto is_value = [&](const std::string& text) {
      return arity == Arity::kOne ? !IsKnownOption(text) : !LooksLikeOption(text);
    };
    const size_t most = arity == Arity::kSome ? arguments_.size() : 1;
    while (item.values.size() < most && next_ < arguments_.size() && is_value(arguments_[next_])) {
      item.values.push_back(arguments_[next_++]);
    }
    if (!item.values.empty() || arity == Arity::kMaybeOne) return {};
    if (next_ == arguments_.size()) return InvalidArgument("{} needs a value", item.written);
    return InvalidArgument("{} needs a value, but {} follows: write {}=VALUE for a value that begins with a dash",
                           item.written, arguments_[next_], item.written);
  }

  Error Unknown(const std::string& argument, const std::string& name) const {
    std::vector<std::string> names = syntax_.names;
    if (syntax_.loads_a_model) {
      for (const ForeignOption& option : ForeignOptions()) names.emplace_back(option.name);
    }
    const std::string nearest = NearestName(name, names);
    if (nearest.empty()) return InvalidArgument("there is no option {}", argument);
    return InvalidArgument("there is no option {}: did you mean {}?", argument, nearest);
  }

  const std::vector<std::string>& arguments_;
  const CommandSyntax& syntax_;
  size_t next_ = 0;
  ArgumentItems items_;
};

}  // namespace

std::string Lowercase(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool IsListed(std::string_view list, std::string_view value) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    if (list.substr(0, end) == value) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

Result<ArgumentItems> ReadItems(const std::vector<std::string>& arguments, const CommandSyntax& syntax) {
  Reader reader(arguments, syntax);
  QUIRE_RETURN_IF_ERROR(reader.Read());
  return std::move(reader).Take();
}

}  // namespace quire
