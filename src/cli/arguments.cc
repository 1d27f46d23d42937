#include "cli/arguments.h"

#include <algorithm>

#include "base/env.h"
#include "base/error.h"
#include "cli/argument_items.h"
#include "cli/config_file.h"

namespace quire {
namespace {

// May be a model after the values of an option that takes several: a name of a served model has no slash, as a rule.
bool LooksLikeModel(const std::string& text) {
  return text.find('/') != std::string::npos || Env::Posix().IsDirectory(text);
}

bool MeansNothing(const std::string& value) { return value.empty() || value == "None" || value == "{}"; }

bool IsOff(const std::string& value) { return IsListed("false no off 0", Lowercase(value)); }

// "true" or "false" of a switch; otherwise the values.
std::vector<std::string> ValuesOf(const ArgumentItem& item) {
  if (item.foreign->arity != Arity::kNone) return item.values;
  const bool off = !item.values.empty() && IsOff(item.values[0]);
  return {off != item.negated ? "false" : "true"};
}

class Writer {
 public:
  explicit Writer(Arguments& to) : to_(to) {}

  // What --model named; empty: it was not given.
  const std::vector<std::string>& models() const { return models_; }

  Status Write(const ArgumentItem& item) {
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

  static Error Refused(const ArgumentItem& item) {
    std::string written = item.written;
    for (const std::string& value : item.values) written += " " + value;
    return InvalidArgument("{}: {}", written, item.foreign->note);
  }

  Arguments& to_;
  std::vector<std::string> models_;
};

bool NamesModel(const ArgumentItem& item) {
  return item.own ? item.own->name == "--model" : item.foreign->note == "--model";
}

// The name that two spellings of an option share.
std::string_view NameOf(const ArgumentItem& item) {
  if (item.own) return item.own->name;
  if (item.foreign->verdict == Verdict::kRenamed) return item.foreign->note;
  return item.foreign->name;
}

// `--api-key KEY MODEL`: several values leave the model, where no other argument can be it.
void LeaveModel(std::vector<ArgumentItem>& items, std::vector<std::string>& positionals) {
  if (!positionals.empty() || std::ranges::any_of(items, NamesModel)) return;
  for (ArgumentItem& item : items) {
    const Arity arity = item.own ? item.own->arity : item.foreign->arity;
    if (arity != Arity::kSome || item.values.size() < 2 || !LooksLikeModel(item.values.back())) continue;
    positionals.push_back(item.values.back());
    item.values.pop_back();
    return;
  }
}

// Takes --config out of the items. What the command line says itself has precedence over what the file says.
Status MergeConfigFile(const CommandSyntax& syntax, std::vector<ArgumentItem>& items,
                       std::vector<std::string>& positionals) {
  const auto is_config = [](const ArgumentItem& item) { return item.own && item.own->name == "--config"; };
  const auto config = std::ranges::find_if(items, is_config);
  if (config == items.end()) return {};
  const std::string path = config->values.back();
  std::erase_if(items, is_config);
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> written, ReadConfigFile(path));
  Result<ArgumentItems> read = ReadItems(written, syntax);
  if (!read.ok()) return InvalidArgument("{}: {}", path, read.error().message);
  std::erase_if(read->options, [&](const ArgumentItem& item) {
    const bool is_said =
        std::ranges::any_of(items, [&](const ArgumentItem& said) { return NameOf(said) == NameOf(item); });
    return is_said || is_config(item) || (NamesModel(item) && !positionals.empty());
  });
  items.insert(items.begin(), read->options.begin(), read->options.end());
  return {};
}

}  // namespace

Result<Arguments> ReadArguments(const std::vector<std::string>& arguments, const CommandSyntax& syntax) {
  QUIRE_ASSIGN_OR_RETURN(ArgumentItems items, ReadItems(arguments, syntax));
  QUIRE_RETURN_IF_ERROR(MergeConfigFile(syntax, items.options, items.positionals));
  if (syntax.loads_a_model) LeaveModel(items.options, items.positionals);
  Arguments result;
  result.positionals = items.positionals;
  Writer writer(result);
  for (const ArgumentItem& item : items.options) QUIRE_RETURN_IF_ERROR(writer.Write(item));
  result.positionals.insert(result.positionals.begin(), writer.models().begin(), writer.models().end());
  if (result.positionals.size() <= syntax.max_positionals) return result;
  if (!writer.models().empty()) {
    return InvalidArgument("the model is given twice, as {} and as {}: leave one out", result.positionals[0],
                           result.positionals[1]);
  }
  return InvalidArgument("\"{}\" is one argument too many", result.positionals[syntax.max_positionals]);
}

}  // namespace quire
