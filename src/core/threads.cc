#include "core/threads.h"

#include <sched.h>

#include <atomic>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mamba3 {
namespace {

// How often a thread looks for work before it sleeps: some tens of microseconds, which bridges the gaps
// between the products of a decode step, and leaves the machine alone when there is nothing to do.
constexpr int kLooks = 2000;

thread_local int index_here = 0;
thread_local bool inside = false;  // running a piece of shared work

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { help(i); });
  }
  ~Pool() {
    stop_ = true;
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  void run(std::int64_t pieces, void (*piece)(void*, std::int64_t), void* context) {
    piece_ = piece;
    context_ = context;
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t generation = (ticket_.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
    ticket_.store(generation << kGenerationShift | static_cast<std::uint64_t>(pieces) << kBits);
    epoch_.fetch_add(1);
    epoch_.notify_all();
    claim_pieces();
    for (int looks = 0; done_.load(std::memory_order_acquire) < pieces; ++looks) {
      // A helper that was interrupted inside a piece may need this very core to finish it.
      looks < kLooks ? relax() : std::this_thread::yield();
    }
    if (failed_) std::rethrow_exception(std::exchange(failed_, nullptr));
  }

  static constexpr std::int64_t kMostPieces = (1 << 20) - 1;

 private:
  // A ticket holds generation, number of pieces and next piece together, so that a claim made by a
  // compare-and-swap belongs to the work that it was read from, however late the thread is.
  static constexpr int kBits = 20, kGenerationShift = 2 * kBits;
  static constexpr std::uint64_t kMask = (std::uint64_t{1} << kBits) - 1;

  void claim_pieces() {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while ((ticket & kMask) < (ticket >> kBits & kMask)) {
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      run_piece(static_cast<std::int64_t>(ticket & kMask));
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void run_piece(std::int64_t i) {
    inside = true;
    try {
      piece_(context_, i);
    } catch (...) {
      const std::lock_guard lock(failure_);
      if (!failed_) failed_ = std::current_exception();
    }
    inside = false;
    done_.fetch_add(1, std::memory_order_release);
  }

  void help(int index) {
    index_here = index;
    for (std::uint32_t seen = epoch_.load(); !stop_; seen = epoch_.load()) {
      claim_pieces();
      for (int looks = 0; looks < kLooks && epoch_.load(std::memory_order_relaxed) == seen; ++looks) relax();
      epoch_.wait(seen);
    }
  }

  const int threads_;
  void (*piece_)(void*, std::int64_t) = nullptr;
  void* context_ = nullptr;
  std::exception_ptr failed_;
  std::mutex failure_;
  alignas(64) std::atomic<std::uint64_t> ticket_ = 0;
  alignas(64) std::atomic<std::int64_t> done_ = 0;
  alignas(64) std::atomic<std::uint32_t> epoch_ = 0;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> helpers_;
};

std::mutex sharing;  // held by the one thread that shares work
std::unique_ptr<Pool> pool;
std::atomic<int> wanted = 0;  // 0: physical_cores()

int decide_threads() {
  if (wanted == 0) wanted = physical_cores();
  return wanted;
}

}  // namespace

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream siblings("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                           "/topology/thread_siblings_list");
    std::string line;
    cores.insert(std::getline(siblings, line) ? line : std::to_string(cpu));
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

void set_threads(int threads) {
  wanted = std::max(0, threads);
}

int threads() {
  return decide_threads();
}

int thread_index() {
  return index_here;
}

void share(std::int64_t pieces, void (*piece)(void* context, std::int64_t i), void* context) {
  std::unique_lock<std::mutex> mine(sharing, std::defer_lock);
  const int count = inside ? 1 : decide_threads();
  if (pieces <= 1 || count == 1 || pieces > Pool::kMostPieces || !mine.try_lock()) {
    for (std::int64_t i = 0; i < pieces; ++i) piece(context, i);
    return;
  }
  if (!pool || pool->threads() != count) {
    pool.reset();
    pool = std::make_unique<Pool>(count);
  }
  pool->run(pieces, piece, context);
}

}  // namespace mamba3
