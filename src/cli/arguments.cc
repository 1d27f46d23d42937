#include "cli/arguments.h"

#include <algorithm>
#include <cctype>

#include "base/env.h"
#include "base/error.h"
#include "cli/config_file.h"
#include "cli/dotted_json.h"
#include "cli/nearest_name.h"

namespace quire {
namespace {

// An option as it was written: its values are not judged yet.
struct Item {
  std::string written;  // for messages
  std::optional<OwnOption> own;
  const ForeignOption* foreign = nullptr;
  bool negated = false;             // of a foreign switch
  std::vector<std::string> values;  // of an own switch: none, or one that was written after =
};

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

std::string Lowercase(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
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

// May be a model after the values of an option that takes several: a name of a served model has no slash, as a rule.
bool LooksLikeModel(const std::string& text) {
  return text.find('/') != std::string::npos || Env::Posix().IsDirectory(text);
}

class Reader {
 public:
  Reader(const std::vector<std::string>& arguments, const CommandSyntax& syntax)
      : arguments_(arguments), syntax_(syntax) {}

  Status Read() {
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (argument == "--") {
        positionals_.insert(positionals_.end(), arguments_.begin() + static_cast<ptrdiff_t>(next_), arguments_.end());
        break;
      }
      if (LooksLikeOption(argument)) {
        QUIRE_RETURN_IF_ERROR(ReadOption(argument));
      } else {
        positionals_.push_back(argument);
      }
    }
    return {};
  }

  std::vector<Item>& items() { return items_; }
  std::vector<std::string>& positionals() { return positionals_; }

 private:
  // Sets what the name means; false: nothing.
  bool Identify(const std::string& name, Item& item) const {
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
    Item item;
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
    Item item{.written = name};
    name = Dashed(name);
    if (!Identify(name, item) && !SplitAttached(argument, item, value)) return Unknown(argument, name);
    QUIRE_RETURN_IF_ERROR(ReadValues(value, item));
    items_.push_back(std::move(item));
    return {};
  }

  // -O3 is -O 3.
  bool SplitAttached(const std::string& argument, Item& item, std::optional<std::string>& value) const {
    if (argument.starts_with("--") || argument.size() < 3 || !Identify(argument.substr(0, 2), item)) return false;
    item.written = argument.substr(0, 2);
    value = argument.substr(2);
    return true;
  }

  Status ReadDotted(const std::string& name, const std::string& path, std::optional<std::string> value) {
    Item item{.written = name};
    if (!Identify(name, item)) return Unknown(name, name);
    if (!value && next_ == arguments_.size()) return InvalidArgument("{}.{} needs a value", name, path);
    if (!value) value = arguments_[next_++];
    auto same = std::ranges::find(items_, name, &Item::written);
    if (same == items_.end()) same = items_.insert(items_.end(), std::move(item));
    const std::string before = same->values.empty() ? "{}" : same->values.back();
    QUIRE_ASSIGN_OR_RETURN(const std::string merged, MergeDotted(before, path, *value));
    same->values = {merged};
    return {};
  }

  Status ReadValues(const std::optional<std::string>& value, Item& item) {
    const Arity arity = item.own ? item.own->arity : item.foreign->arity;
    if (value) item.values.push_back(*value);
    if (arity == Arity::kNone || (value && arity != Arity::kSome)) return {};
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
  std::vector<Item> items_;
  std::vector<std::string> positionals_;
};

bool MeansNothing(const std::string& value) { return value.empty() || value == "None" || value == "{}"; }

bool IsListed(std::string_view list, std::string_view value) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    if (list.substr(0, end) == value) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

bool IsOff(const std::string& value) { return IsListed("false no off 0", Lowercase(value)); }

// "true" or "false" of a switch; otherwise the values.
std::vector<std::string> ValuesOf(const Item& item) {
  if (item.foreign->arity != Arity::kNone) return item.values;
  const bool off = !item.values.empty() && IsOff(item.values[0]);
  return {off != item.negated ? "false" : "true"};
}

class Writer {
 public:
  explicit Writer(Arguments& to) : to_(to) {}

  // What --model named; empty: it was not given.
  const std::vector<std::string>& models() const { return models_; }

  Status Write(const Item& item) {
    if (item.own) return WriteOwn(*item.own, item.values);
    const std::vector<std::string> values = ValuesOf(item);
    const auto is_same = [&](const std::string& value) {
      return MeansNothing(value) || IsListed(item.foreign->same, value);
    };
    if (!values.empty() && std::ranges::all_of(values, is_same)) return {};
    switch (item.foreign->verdict) {
      case Verdict::kRefused:
        return Refused(item);
      case Verdict::kRenamed:
        return WriteOwn({.name = std::string(item.foreign->note), .arity = Arity::kOne}, values);
      case Verdict::kIgnored:
        break;
    }
    std::string note(item.foreign->note);
    if (!note.empty()) note = " (" + note + ")";
    if (std::ranges::find(to_.ignored, item.written + note) == to_.ignored.end()) {
      to_.ignored.push_back(item.written + note);
    }
    return {};
  }

 private:
  Status WriteOwn(const OwnOption& own, const std::vector<std::string>& values) {
    if (own.name == "--model") {
      models_.push_back(values.back());
      return {};
    }
    if (own.arity == Arity::kNone) {
      to_.options.push_back(values.empty() ? own.name : own.name + "=" + values.front());
      return {};
    }
    for (const std::string& value : values) {
      if (value.empty() && own.arity == Arity::kSome)
        return InvalidArgument("{} needs a value, but it is empty", own.name);
      to_.options.insert(to_.options.end(), {own.name, value});
    }
    return {};
  }

  static Error Refused(const Item& item) {
    std::string written = item.written;
    for (const std::string& value : item.values) written += " " + value;
    return InvalidArgument("{}: {}", written, item.foreign->note);
  }

  Arguments& to_;
  std::vector<std::string> models_;
};

bool NamesModel(const Item& item) { return item.own ? item.own->name == "--model" : item.foreign->note == "--model"; }

// The name that two spellings of an option share.
std::string_view NameOf(const Item& item) {
  if (item.own) return item.own->name;
  if (item.foreign->verdict == Verdict::kRenamed) return item.foreign->note;
  return item.foreign->name;
}

// `--api-key KEY MODEL`: several values leave the model, where no other argument can be it.
void LeaveModel(std::vector<Item>& items, std::vector<std::string>& positionals) {
  if (!positionals.empty() || std::ranges::any_of(items, NamesModel)) return;
  for (Item& item : items) {
    const Arity arity = item.own ? item.own->arity : item.foreign->arity;
    if (arity != Arity::kSome || item.values.size() < 2 || !LooksLikeModel(item.values.back())) continue;
    positionals.push_back(item.values.back());
    item.values.pop_back();
    return;
  }
}

// Takes --config out of the items. What the command line says itself has precedence over what the file says.
Status MergeConfigFile(const CommandSyntax& syntax, std::vector<Item>& items, std::vector<std::string>& positionals) {
  const auto is_config = [](const Item& item) { return item.own && item.own->name == "--config"; };
  const auto config = std::ranges::find_if(items, is_config);
  if (config == items.end()) return {};
  const std::string path = config->values.back();
  std::erase_if(items, is_config);
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> written, ReadConfigFile(path));
  Reader reader(written, syntax);
  if (const Status read = reader.Read(); !read.ok()) return InvalidArgument("{}: {}", path, read.error().message);
  std::erase_if(reader.items(), [&](const Item& item) {
    const bool is_said = std::ranges::any_of(items, [&](const Item& said) { return NameOf(said) == NameOf(item); });
    return is_said || is_config(item) || (NamesModel(item) && !positionals.empty());
  });
  items.insert(items.begin(), reader.items().begin(), reader.items().end());
  return {};
}

}  // namespace

Result<Arguments> ReadArguments(const std::vector<std::string>& arguments, const CommandSyntax& syntax) {
  Reader reader(arguments, syntax);
  QUIRE_RETURN_IF_ERROR(reader.Read());
  std::vector<Item>& items = reader.items();
  QUIRE_RETURN_IF_ERROR(MergeConfigFile(syntax, items, reader.positionals()));
  if (syntax.loads_a_model) LeaveModel(items, reader.positionals());
  Arguments result;
  result.positionals = reader.positionals();
  Writer writer(result);
  for (const Item& item : items) QUIRE_RETURN_IF_ERROR(writer.Write(item));
  result.positionals.insert(result.positionals.begin(), writer.models().begin(), writer.models().end());
  if (result.positionals.size() <= syntax.max_positionals) return result;
  if (!writer.models().empty()) {
    return InvalidArgument("the model is given twice, as {} and as {}: leave one out", result.positionals[0],
                           result.positionals[1]);
  }
  return InvalidArgument("\"{}\" is one argument too many", result.positionals[syntax.max_positionals]);
}

}  // namespace quire
