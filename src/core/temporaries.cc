#include "core/temporaries.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstring>

namespace mamba3 {
namespace {

enum class Use { free, filling, listed };

struct Slot {
  std::atomic<Use> use = Use::free;
  char path[PATH_MAX] = {};
};
static_assert(std::atomic<Use>::is_always_lock_free, "a signal handler reads it");

std::array<Slot, kMostTemporaries> slots;

extern "C" void remove_and_end(int signal) {
  for (const Slot& slot : slots) {
    if (slot.use.load() == Use::listed) unlink(slot.path);
  }
  raise(signal);  // SA_RESETHAND has put the system's own action back
}

}  // namespace

Temporary::Temporary(const std::string& path) : slot_(-1) {
  if (path.size() >= sizeof(Slot::path)) return;
  for (int i = 0; i < kMostTemporaries; ++i) {
    Slot& slot = slots[static_cast<std::size_t>(i)];
    Use expected = Use::free;
    if (!slot.use.compare_exchange_strong(expected, Use::filling)) continue;
    std::memcpy(slot.path, path.c_str(), path.size() + 1);
    slot.use.store(Use::listed);
    slot_ = i;
    return;
  }
}

Temporary::~Temporary() {
  if (slot_ >= 0) slots[static_cast<std::size_t>(slot_)].use.store(Use::free);
}

void remove_temporaries_on_signals() {
  struct sigaction action {};
  action.sa_handler = remove_and_end;
  action.sa_flags = SA_RESETHAND;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
}

}  // namespace mamba3
