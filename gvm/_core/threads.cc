#include "threads.h"

#include <algorithm>

namespace gvm {

#if GVM_THREADS

namespace {
// How often a waiting thread offers its processor before it sleeps: jobs follow each other closely,
// and waking takes longer than many of them. Some tenths of a millisecond.
constexpr int kYields = 1024;
}  // namespace

Threads::Threads(int count) {
  const int workers = std::min(std::max(count, 1), 1024) - 1;
  workers_.reserve(static_cast<size_t>(workers));
  // Where the machine has no more threads: those that run must end before they are forgotten.
  struct Unless {
    Threads* started;
    ~Unless() {
      if (started != nullptr) started->stop();
    }
  } unless{this};
  for (int i = 0; i < workers; ++i) workers_.emplace_back([this, i] { work(i + 1); });
  unless.started = nullptr;
}

Threads::~Threads() { stop(); }

int processors() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

int Threads::count() const { return static_cast<int>(workers_.size()) + 1; }

void Threads::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  posted_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Threads::claim(int thread) {
  for (;;) {
    const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
    if (task >= tasks_) return;
    try {
      body_(context_, task, thread);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next_.store(tasks_, std::memory_order_relaxed);
      return;
    }
  }
}

void Threads::run(int64_t tasks, Body body, void* context) {
  if (workers_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(context, task, 0);
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    failure_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    open_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  posted_.notify_all();
  claim(0);
  // Whoever has not joined by now is not waited for.
  std::unique_lock<std::mutex> lock(mutex_);
  open_ = false;
  if (inside_.load(std::memory_order_acquire) != 0) {
    lock.unlock();
    for (int i = 0; i < kYields && inside_.load(std::memory_order_acquire) != 0; ++i) {
      std::this_thread::yield();
    }
    lock.lock();
    left_.wait(lock, [this] { return inside_.load(std::memory_order_acquire) == 0; });
  }
  if (failure_) std::rethrow_exception(failure_);
}

void Threads::work(int thread) {
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kYields && generation_.load(std::memory_order_acquire) == seen; ++i) {
      std::this_thread::yield();
    }
    {
      std::unique_lock<std::mutex> lock(mutex_);
      posted_.wait(lock,
                   [&] { return generation_.load(std::memory_order_acquire) != seen || stop_; });
      if (stop_) return;
      seen = generation_.load(std::memory_order_acquire);
      if (!open_) continue;
      inside_.fetch_add(1, std::memory_order_relaxed);
    }
    claim(thread);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (inside_.fetch_sub(1, std::memory_order_release) == 1 && !open_) left_.notify_one();
  }
}

#else

int processors() { return 1; }

Threads::Threads(int) {}

Threads::~Threads() = default;

int Threads::count() const { return 1; }

void Threads::run(int64_t tasks, Body body, void* context) {
  for (int64_t task = 0; task < tasks; ++task) body(context, task, 0);
}

#endif

}  // namespace gvm
