#include "core/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/processors.h"

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
#elif defined(__aarch64__)
  asm volatile("isb");  // some 20 cycles; its `yield` is none
#else
  std::this_thread::yield();
#endif
}

/// A core for each thread, the caller's own first. Empty when threads and cores are not as many: with fewer
/// threads, another process might have chosen the same cores while others are idle.
std::vector<Core> cores_for(int threads) {
  const char* wish = std::getenv("MAMBA3_PIN");
  if (wish != nullptr && std::string_view(wish) == "0") return {};
  std::vector<Core> cores = allowed_cores();
  if (std::ssize(cores) != threads) return {};
  const int here = sched_getcpu();
  const auto mine =
      std::ranges::find_if(cores, [&](const Core& core) { return std::ranges::count(core, here) > 0; });
  if (mine != cores.end()) std::rotate(cores.begin(), mine, cores.end());
  return cores;
}

void pin(std::thread& thread, const Core& core) {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  for (const int processor : core) CPU_SET(processor, &processors);
  pthread_setaffinity_np(thread.native_handle(), sizeof processors, &processors);  // a failure costs nothing
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    const std::vector<Core> cores = cores_for(threads);
    for (int i = 1; i < threads; ++i) {
      helpers_.emplace_back([this, i] { help(i); });
      if (!cores.empty()) pin(helpers_.back(), cores[static_cast<std::size_t>(i)]);
    }
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
std::atomic<int> wanted = 0;  // 0: default_threads()

int decide_threads() {
  if (wanted == 0) wanted = default_threads();
  return wanted;
}

}  // namespace

void use_threads(int threads) {
  wanted = std::max(0, threads);
}

void set_threads(int threads) {
  const int most = logical_processors();
  if (threads < 0 || threads > most) {
    fail(ErrorCode::invalid_argument,
         "threads is {}, expected 0 to {}, the processors that this process may use", threads, most);
  }
  use_threads(threads);
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
