#include "text/jinja_message_use.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>

namespace quire::jinja {
namespace {

// What a value may be, as a set.
using Kinds = uint8_t;
constexpr Kinds kMessages = 1;  // a list of messages
constexpr Kinds kMessage = 2;
constexpr Kinds kContent = 4;  // of a message

struct Variable {
  const MacroDefinition* macro;  // null: the template's own
  NameId name;
  std::string attribute;  // of a namespace; empty: the variable itself
  bool operator<(const Variable& other) const {
    return std::tie(macro, name, attribute) < std::tie(other.macro, other.name, other.attribute);
  }
};

template <size_t kSize>
bool IsOneOf(std::string_view name, const std::array<std::string_view, kSize>& names) {
  return std::ranges::find(names, name) != names.end();
}

const std::string* ConstantText(const Expression& node) {
  const bool text = node.kind == ExpressionKind::kConstant && node.constant.IsString();
  return text ? &node.constant.text() : nullptr;
}

class Finder {
 public:
  explicit Finder(const Template& parsed) : template_(parsed) {}

  MessageUse Run() {
    for (uint32_t i = 0; i < template_.names.size(); ++i) {
      if (template_.names[i] == "messages") Hold({nullptr, NameId{i}, {}}, kMessages);
    }
    do {
      changed_ = false;
      Visit(template_.body);
    } while (changed_);
    return std::move(use_);
  }

 private:
  void Hold(const Variable& variable, Kinds kinds) {
    Kinds& held = held_[variable];
    changed_ = changed_ || (held | kinds) != held;
    held |= kinds;
  }

  bool IsParameter(const MacroDefinition& macro, NameId name) const {
    return std::ranges::any_of(macro.parameters, [name](const auto& parameter) { return parameter.first == name; });
  }

  Kinds Held(NameId name, const std::string& attribute = {}) const {
    Kinds kinds = 0;
    const auto include = [&](const MacroDefinition* macro) {
      const auto found = held_.find({macro, name, attribute});
      if (found != held_.end()) kinds |= found->second;
    };
    for (auto macro = macros_around_.rbegin(); macro != macros_around_.rend(); ++macro) {
      include(*macro);
      if (IsParameter(**macro, name)) return kinds;
    }
    include(nullptr);
    return kinds;
  }

  // Namespaces are known by their name wherever they are used.
  void Assign(const Target& target, Kinds kinds) {
    if (!target.tuple.empty()) return;
    const bool plain = target.attribute.empty() && !macros_around_.empty();
    Hold({plain ? macros_around_.back() : nullptr, target.name, target.attribute}, kinds);
  }

  void AssignValue(const Target& target, const Expression& value) {
    const Kinds kinds = Of(value);
    if (!target.tuple.empty() && value.kind == ExpressionKind::kTuple) {
      for (size_t i = 0; i < std::min(target.tuple.size(), value.children.size()); ++i) {
        AssignValue(target.tuple[i], *value.children[i]);
      }
      return;
    }
    Assign(target, kinds);
    const bool makes_namespace = value.kind == ExpressionKind::kCall &&
                                 value.children[0]->kind == ExpressionKind::kName &&
                                 value.children[0]->text == "namespace";
    if (!makes_namespace) return;
    for (const auto& [name, argument] : value.arguments.named) Hold({nullptr, target.name, name}, Of(*argument));
  }

  Kinds Member(Kinds kinds, std::string_view name) const {
    return (kinds & kMessage) != 0 && name == "content" ? kContent : Kinds{0};
  }
  Kinds Element(Kinds kinds) const { return (kinds & kMessages) != 0 ? kMessage : Kinds{0}; }

  Kinds OfOptional(const ExpressionPtr& node) { return node == nullptr ? Kinds{0} : Of(*node); }

  Kinds OfAll(const std::vector<ExpressionPtr>& nodes) {
    Kinds kinds = 0;
    for (const auto& node : nodes) kinds |= OfOptional(node);
    return kinds;
  }

  struct ArgumentKinds {
    std::vector<Kinds> positional;
    std::vector<Kinds> named;
  };

  ArgumentKinds VisitArguments(const CallArguments& arguments) {
    ArgumentKinds kinds;
    for (const auto& argument : arguments.positional) kinds.positional.push_back(Of(*argument));
    for (const auto& [name, argument] : arguments.named) kinds.named.push_back(Of(*argument));
    OfOptional(arguments.spread_positional);
    OfOptional(arguments.spread_named);
    return kinds;
  }

  Kinds Of(const Expression& node) {
    switch (node.kind) {
      case ExpressionKind::kConstant:
        if (const std::string* text = ConstantText(node)) use_.words.insert(*text);
        return 0;
      case ExpressionKind::kName:
        use_.words.insert(node.text);
        return Held(node.name);
      case ExpressionKind::kAttribute:
        return OfAttribute(node);
      case ExpressionKind::kItem:
        return OfItem(node);
      case ExpressionKind::kSlice:
        for (size_t i = 1; i < node.children.size(); ++i) OfOptional(node.children[i]);
        return Of(*node.children[0]);
      case ExpressionKind::kList:
      case ExpressionKind::kTuple:
        return (OfAll(node.children) & kMessage) != 0 ? kMessages : Kinds{0};
      case ExpressionKind::kDict:
        return OfDict(node);
      case ExpressionKind::kCall:
        return OfCall(node);
      case ExpressionKind::kFilter:
        return OfFilter(node);
      case ExpressionKind::kTest:
        VisitArguments(node.arguments);
        break;
      case ExpressionKind::kConditional:
        Of(*node.children[0]);
        return Of(*node.children[1]) | OfOptional(node.children[2]);
      case ExpressionKind::kAnd:
      case ExpressionKind::kOr:
        return OfAll(node.children);
      case ExpressionKind::kBinary:
        return OfAll(node.children) & kMessages;
      default:
        break;
    }
    OfAll(node.children);
    return 0;
  }

  Kinds OfAttribute(const Expression& node) {
    const Expression& object = *node.children[0];
    use_.words.insert(node.text);
    Kinds kinds = Member(Of(object), node.text);
    if (object.kind != ExpressionKind::kName) return kinds;
    const bool neighbour = object.name == kLoopName && (node.text == "previtem" || node.text == "nextitem");
    return kinds | Held(object.name, node.text) | (neighbour ? kMessage : Kinds{0});
  }

  Kinds OfItem(const Expression& node) {
    const Kinds kinds = Of(*node.children[0]);
    const Expression& key = *node.children[1];
    Of(key);
    const std::string* text = ConstantText(key);
    return text != nullptr ? Member(kinds, *text) : Element(kinds);
  }

  // A mapping that takes a message's content over is a message.
  Kinds OfDict(const Expression& node) {
    Kinds kinds = 0;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      Of(*node.children[i]);
      const std::string* key = ConstantText(*node.children[i]);
      const Kinds value = Of(*node.children[i + 1]);
      if (key != nullptr && *key == "content" && (value & kContent) != 0) kinds |= kMessage;
    }
    return kinds;
  }

  Kinds OfCall(const Expression& node) {
    const ArgumentKinds kinds = VisitArguments(node.arguments);
    const Expression& callee = *node.children[0];
    if (callee.kind == ExpressionKind::kAttribute) return OfMethod(node, callee);
    Of(callee);
    if (callee.kind != ExpressionKind::kName) return 0;
    const auto [begin, end] = macros_.equal_range(callee.name);
    for (auto macro = begin; macro != end; ++macro) Bind(*macro->second, node.arguments, kinds);
    return 0;
  }

  Kinds OfMethod(const Expression& node, const Expression& callee) {
    const Kinds kinds = Of(*callee.children[0]);
    use_.words.insert(callee.text);
    if (callee.text == "copy") return kinds;
    if ((kinds & kMessage) != 0 && IsOneOf<3>(callee.text, {"items", "keys", "values"})) use_.shows_whole = true;
    if (callee.text != "get" || node.arguments.positional.empty()) return 0;
    const std::string* key = ConstantText(*node.arguments.positional[0]);
    return key == nullptr ? Kinds{0} : Member(kinds, *key);
  }

  void Bind(const MacroDefinition& macro, const CallArguments& arguments, const ArgumentKinds& kinds) {
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [id, name] = macro.parameters[i];
      if (i < kinds.positional.size()) Hold({&macro, id, {}}, kinds.positional[i]);
      for (size_t k = 0; k < kinds.named.size(); ++k) {
        if (arguments.named[k].first == name) Hold({&macro, id, {}}, kinds.named[k]);
      }
    }
  }

  Kinds OfFilter(const Expression& node) {
    VisitArguments(node.arguments);
    const Kinds kinds = OfOptional(node.children[0]);
    const std::string& name = node.text;
    const bool by_attribute =
        IsOneOf<3>(name, {"selectattr", "rejectattr", "groupby"}) ||
        std::ranges::any_of(node.arguments.named, [](const auto& named) { return named.first == "attribute"; });
    if ((kinds & kContent) != 0 && by_attribute) use_.iterates_content = true;
    const bool whole = IsOneOf<5>(name, {"tojson", "string", "items", "dictsort", "pprint"});
    if ((kinds & (kMessages | kMessage)) != 0 && whole) use_.shows_whole = true;
    if (IsOneOf<3>(name, {"first", "last", "random"})) return Element(kinds);
    const bool keeps = IsOneOf<10>(
        name, {"list", "reverse", "sort", "unique", "select", "reject", "selectattr", "rejectattr", "default", "d"});
    return keeps ? kinds : Kinds{0};
  }

  void Visit(const Block& block) {
    for (const Statement& statement : block) {
      std::visit([this](const auto& node) { VisitStatement(node); }, statement.node);
    }
  }

  void VisitStatement(const TextStatement&) {}
  void VisitStatement(const BreakStatement&) {}
  void VisitStatement(const ContinueStatement&) {}

  void VisitStatement(const PrintStatement& statement) {
    if ((Of(*statement.expression) & (kMessages | kMessage)) != 0) use_.shows_whole = true;
  }

  void VisitStatement(const IfStatement& statement) {
    for (const auto& [condition, body] : statement.branches) {
      Of(*condition);
      Visit(body);
    }
    Visit(statement.otherwise);
  }

  void VisitStatement(const ForStatement& statement) {
    const Kinds kinds = Of(*statement.iterable);
    if ((kinds & kContent) != 0) use_.iterates_content = true;
    if ((kinds & kMessage) != 0) use_.shows_whole = true;
    Assign(statement.target, Element(kinds));
    OfOptional(statement.filter);
    Visit(statement.body);
    Visit(statement.otherwise);
  }

  void VisitStatement(const SetStatement& statement) { AssignValue(statement.target, *statement.value); }

  void VisitStatement(const SetBlockStatement& statement) {
    OfOptional(statement.filter);
    Visit(statement.body);
  }

  void VisitStatement(const MacroStatement& statement) {
    const MacroDefinition& macro = statement.definition;
    const auto [begin, end] = macros_.equal_range(statement.name);
    if (std::none_of(begin, end, [&macro](const auto& known) { return known.second == &macro; })) {
      macros_.emplace(statement.name, &macro);
      changed_ = true;
    }
    VisitMacro(macro);
  }

  void VisitMacro(const MacroDefinition& macro) {
    const size_t required = macro.parameters.size() - macro.defaults.size();
    for (size_t i = 0; i < macro.defaults.size(); ++i) {
      Hold({&macro, macro.parameters[required + i].first, {}}, Of(*macro.defaults[i]));
    }
    macros_around_.push_back(&macro);
    Visit(macro.body);
    macros_around_.pop_back();
  }

  void VisitStatement(const CallBlockStatement& statement) {
    Of(*statement.call);
    VisitMacro(statement.caller);
  }

  void VisitStatement(const FilterBlockStatement& statement) {
    OfOptional(statement.filter);
    Visit(statement.body);
  }

  void VisitStatement(const ScopeStatement& statement) {
    for (const auto& [target, value] : statement.variables) AssignValue(target, *value);
    Visit(statement.body);
  }

  void VisitStatement(const NamedBlockStatement& statement) { Visit(statement.block->body); }

  const Template& template_;
  MessageUse use_;
  std::map<Variable, Kinds> held_;
  std::multimap<NameId, const MacroDefinition*> macros_;
  std::vector<const MacroDefinition*> macros_around_;
  bool changed_ = false;
};

}  // namespace

MessageUse FindMessageUse(const Template& parsed) { return Finder(parsed).Run(); }

}  // namespace quire::jinja
