#include "formats/torch_pickle.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "formats/shown.h"
#include "formats/torch_globals.h"
#include "formats/torch_pickle_reader.h"

namespace mamba3::pickle {
namespace {

// Real files need some twenty values a tensor. The limits bound what a hostile one can take: about 0.5 GB.
constexpr std::size_t kMaxValues = std::size_t{1} << 22;
constexpr std::size_t kMaxBytes = std::size_t{1} << 25;
constexpr int kLastProtocol = 5;

class Machine : private PickleReader {
 public:
  Machine(std::span<const std::byte> bytes, std::string_view file) : PickleReader(bytes, file) {
    result_.values.emplace_back(Opaque{});
    if (bytes.size() > kMaxBytes) bad("it has {} bytes, expected at most {}", bytes.size(), kMaxBytes);
  }

  Pickle run() {
    while (step(number<std::uint8_t>())) {
    }
    return std::move(result_);
  }

 private:
  static constexpr Ref kOpaque = 0;  ///< one value stands for all that is not looked at

  /// A little-endian two's complement integer of `size` bytes.
  void push_long(std::uint64_t size) {
    const auto digits = take(size);
    if (size > sizeof(std::int64_t)) return push(kOpaque);
    const bool negative = size > 0 && (std::to_integer<int>(digits.back()) & 0x80) != 0;
    std::int64_t value = negative ? -1 : 0;
    if (size > 0) std::memcpy(&value, digits.data(), size);
    push_new(value);
  }

  // ---- stack

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  void push(Ref ref) { stack_.push_back(ref); }

  void push_new(Value value) {
    if (result_.values.size() == kMaxValues) bad("it builds more than {} values", kMaxValues);
    result_.values.push_back(std::move(value));
    push(static_cast<Ref>(result_.values.size() - 1));
  }

  Ref top() const {
    if (stack_.size() <= floor()) bad("the stack is empty");
    return stack_.back();
  }

  Ref pop() {
    const Ref ref = top();
    stack_.pop_back();
    return ref;
  }

  std::vector<Ref> pop_many(std::size_t count) {
    if (stack_.size() - floor() < count) bad("the stack holds fewer than {} values", count);
    std::vector<Ref> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }

  std::vector<Ref> pop_to_mark() {
    if (marks_.empty()) bad("no mark on the stack");
    std::vector<Ref> items = pop_many(stack_.size() - floor());
    marks_.pop_back();
    return items;
  }

  template <typename T>
  T& get(Ref ref, std::string_view expected) {
    T* const value = std::get_if<T>(&result_.values[ref]);
    if (value == nullptr) bad("expected {}", expected);
    return *value;
  }

  // ---- opcodes; the groups return false for an opcode that is not theirs

  /// False at the end.
  bool step(std::uint8_t opcode) {
    if (opcode == '.') {
      result_.top = pop();
      return false;
    }
    if (!scalar(opcode) && !string(opcode) && !container(opcode) && !memory(opcode) && !object(opcode)) {
      unsupported("opcode 0x{:02x} is not one that weights need", opcode);
    }
    return true;
  }

  bool scalar(std::uint8_t opcode) {
    switch (opcode) {
      case 0x80:
        check_protocol(number<std::uint8_t>());
        return true;
      case 0x95:
        take(sizeof(std::uint64_t));
        return true;  // FRAME only helps buffered readers
      case 'N':
      case 0x88:
      case 0x89:
        push(kOpaque);
        return true;
      case 'J':
        push_new(std::int64_t{number<std::int32_t>()});
        return true;
      case 'K':
        push_new(std::int64_t{number<std::uint8_t>()});
        return true;
      case 'M':
        push_new(std::int64_t{number<std::uint16_t>()});
        return true;
      case 0x8a:
        push_long(number<std::uint8_t>());
        return true;
      case 0x8b:
        push_long(number<std::uint32_t>());
        return true;
      case 'G':
        take(sizeof(double));
        push(kOpaque);
        return true;
      case 'C':
        take(number<std::uint8_t>());
        push(kOpaque);
        return true;
      case 'B':
        take(number<std::uint32_t>());
        push(kOpaque);
        return true;
      default:
        return false;
    }
  }

  bool string(std::uint8_t opcode) {
    switch (opcode) {
      case 'U':
      case 0x8c:
        push_new(text(number<std::uint8_t>()));
        return true;
      case 'T':
      case 'X':
        push_new(text(number<std::uint32_t>()));
        return true;
      case 0x8d:
        push_new(text(number<std::uint64_t>()));
        return true;
      default:
        return false;
    }
  }

  bool container(std::uint8_t opcode) {
    switch (opcode) {
      case ')':
        push_new(Tuple{});
        return true;
      case ']':
        push_new(List{});
        return true;
      case '}':
        push_new(Dict{});
        return true;
      case 0x85:
        push_new(Tuple{pop_many(1)});
        return true;
      case 0x86:
        push_new(Tuple{pop_many(2)});
        return true;
      case 0x87:
        push_new(Tuple{pop_many(3)});
        return true;
      case 't':
        push_new(Tuple{pop_to_mark()});
        return true;
      case 'a':
        append(pop_many(1));
        return true;
      case 'e':
        append(pop_to_mark());
        return true;
      case 's':
        assign(pop_many(2));
        return true;
      case 'u':
        assign(pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  bool memory(std::uint8_t opcode) {
    switch (opcode) {
      case '(':
        marks_.push_back(stack_.size());
        return true;
      case '0':
        pop();
        return true;
      case '1':
        pop_to_mark();
        return true;
      case 'q':
        memo_[number<std::uint8_t>()] = top();
        return true;
      case 'r':
        memo_[number<std::uint32_t>()] = top();
        return true;
      case 0x94:
        memo_[static_cast<std::uint32_t>(memo_.size())] = top();
        return true;
      case 'h':
        push(remembered(number<std::uint8_t>()));
        return true;
      case 'j':
        push(remembered(number<std::uint32_t>()));
        return true;
      default:
        return false;
    }
  }

  bool object(std::uint8_t opcode) {
    switch (opcode) {
      case 'c': {
        const std::string_view module = line();
        push_global(module, line());
        return true;
      }
      case 0x93: {
        const auto names = pop_many(2);
        push_global(get<std::string_view>(names[0], "a module's name"),
                    get<std::string_view>(names[1], "a name"));
        return true;
      }
      case 'R':
        reduce();
        return true;
      case 'b':
        pop();
        top();
        return true;  // attributes (a state dict's _metadata) are not looked at
      case 'Q':
        load_storage();
        return true;
      default:
        return false;
    }
  }

  void check_protocol(int protocol) const {
    if (protocol < 2 || protocol > kLastProtocol) {
      unsupported("pickle protocol {}, expected 2 to {}", protocol, kLastProtocol);
    }
  }

  void append(const std::vector<Ref>& items) {
    auto& list = get<List>(top(), "a list to append to").items;
    list.insert(list.end(), items.begin(), items.end());
  }

  void assign(const std::vector<Ref>& items) {
    auto& dict = get<Dict>(top(), "a dict to put items in").items;
    if (items.size() % 2 != 0) bad("a dict's key without its value");
    for (std::size_t i = 0; i < items.size(); i += 2) dict.emplace_back(items[i], items[i + 1]);
  }

  Ref remembered(std::uint32_t index) const {
    const auto found = memo_.find(index);
    if (found == memo_.end()) bad("memo {} was never set", index);
    return found->second;
  }

  void push_global(std::string_view module, std::string_view name) {
    const auto found = std::ranges::find_if(
        kGlobals, [&](const Global& global) { return global.module == module && global.name == name; });
    if (found == kGlobals.end()) {
      unsupported("it names {}, which is not allowed in a file of weights",
                  shown(fmt::format("{}.{}", module, name)));
    }
    push_new(found->value);
  }

  // ---- what calls would build

  void reduce() {
    const auto arguments_ref = pop();
    const auto callable = get<Callable>(pop(), "a known function to call");
    const auto& arguments = get<Tuple>(arguments_ref, "a tuple of arguments").items;
    switch (callable) {
      case Callable::ordered_dict:
        if (!arguments.empty()) unsupported("OrderedDict with {} arguments, expected none", arguments.size());
        return push_new(Dict{});
      case Callable::size:
        if (arguments.size() != 1) bad("torch.Size with {} arguments, expected 1", arguments.size());
        get<Tuple>(arguments[0], "a tuple for torch.Size");
        return push(arguments[0]);
      case Callable::rebuild_parameter:
        if (arguments.size() != 3) bad("_rebuild_parameter with {} arguments, expected 3", arguments.size());
        get<Tensor>(arguments[0], "a tensor for _rebuild_parameter");
        return push(arguments[0]);
      case Callable::rebuild_tensor:
        return push_new(tensor(arguments));
    }
  }

  /// (storage, offset, shape, strides, requires_grad, backward_hooks[, metadata])
  Tensor tensor(const std::vector<Ref>& arguments) {
    if (arguments.size() != 6 && arguments.size() != 7) {
      bad("_rebuild_tensor_v2 with {} arguments, expected 6 or 7", arguments.size());
    }
    get<Storage>(arguments[0], "a tensor's storage");
    get<Tuple>(arguments[2], "a tuple for a tensor's shape");
    get<Tuple>(arguments[3], "a tuple for a tensor's strides");
    return {.storage = arguments[0],
            .shape = arguments[2],
            .strides = arguments[3],
            .offset = get<std::int64_t>(arguments[1], "an integer for a tensor's offset")};
  }

  /// BINPERSID with ("storage", type, key, device, number of elements)
  void load_storage() {
    const auto& items = get<Tuple>(pop(), "a tuple that names a storage").items;
    if (items.size() != 5) bad("a persistent id of {} items, expected 5", items.size());
    if (get<std::string_view>(items[0], "a text for the kind of a persistent id") != "storage") {
      bad("a persistent id that is no storage");
    }
    const DType dtype = get<StorageType>(items[1], "a storage type").dtype;
    get<std::string_view>(items[2], "a text for a storage's key");
    push_new(Storage{dtype, items[2], get<std::int64_t>(items[4], "an integer for a storage's size")});
  }

  std::vector<Ref> stack_;
  std::vector<std::size_t> marks_;  ///< heights of the stack
  std::unordered_map<std::uint32_t, Ref> memo_;
  Pickle result_;
};

}  // namespace

Pickle parse(std::span<const std::byte> bytes, std::string_view file) {
  return Machine(bytes, file).run();
}

}  // namespace mamba3::pickle
