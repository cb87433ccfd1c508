// The threads of one session. Results never depend on how many there are: tasks only write what is
// theirs, and what they share is added up in integers.
#pragma once

#include <cstdint>
#include <type_traits>

#if GVM_THREADS
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace gvm {

// Processors of this machine, at least 1.
int processors();

// For what tasks of one job share and no atomic number can hold.
class Mutex {
 public:
#if GVM_THREADS
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
#else
  void lock() {}
  void unlock() {}
#endif
};

class Lock {
 public:
  explicit Lock(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
  ~Lock() { mutex_.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mutex& mutex_;
};

// Where the target has no threads (GVM_THREADS is 0), the caller is the only one.
class Threads {
 public:
  // `count` threads in all, the caller of parallel_for being one of them; clamped to [1, 1024].
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const;

  // Calls f(task) or f(task, thread) once for each task in [0, tasks), thread in [0, count()), and
  // returns when all are done. Tasks are claimed in order. Must not be called from within a task.
  // An exception leaves the remaining tasks undone and is passed to the caller.
  template <typename F>
  void parallel_for(int64_t tasks, F&& f) {
    using Body = std::remove_reference_t<F>;
    run(
        tasks,
        [](void* context, int64_t task, int thread) {
          Body& body = *static_cast<Body*>(context);
          if constexpr (std::is_invocable_v<Body&, int64_t, int>) {
            body(task, thread);
          } else {
            (void)thread;
            body(task);
          }
        },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  using Body = void (*)(void* context, int64_t task, int thread);

  void run(int64_t tasks, Body body, void* context);

#if GVM_THREADS
  void stop();
  void work(int thread);
  void claim(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable posted_, left_;
  // Guarded by mutex_; body_, context_ and tasks_ are read by workers that have joined the job.
  Body body_ = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  bool open_ = false;
  bool stop_ = false;
  std::exception_ptr failure_;
  std::atomic<uint64_t> generation_{0};  // of jobs, so that waiting threads may look without a lock
  std::atomic<int> inside_{0};           // workers that have joined the open job
  std::atomic<int64_t> next_{0};
#endif
};

}  // namespace gvm
