#include "machine.h"

#include <ucontext.h>

#include <algorithm>
#include <csetjmp>
#include <memory>
#include <random>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
extern "C" {
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void* __tsan_get_current_fiber();
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
}
// The machine's own bookkeeping is not under test.
#define SIMT_QUIET __attribute__((no_sanitize("thread")))
#else
#define SIMT_QUIET
#endif

namespace dldl_fast::cuda {
// The shared memory of the block that runs, by the name that the kernels know.
alignas(16) char dynamic_shared[simt::kSharedBytes];
}  // namespace dldl_fast::cuda

namespace simt {

Place place;

namespace {

using dldl_fast::cuda::dynamic_shared;

constexpr size_t kStackBytes = 128 * 1024;
constexpr unsigned kMaxThreads = 1024;

enum class State { kReady, kInWarpOperation, kAtBarrier, kDone };
enum class Operation { kShuffle, kBarrier };

struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  bool started = false;
  State state = State::kDone;
  Operation operation{};
  uint32_t mask = 0;
  uint64_t value = 0, result = 0;
  int source = 0;
  Location location;
  unsigned index = 0;
  unsigned warp_operations = 0;
  std::unique_ptr<char[]> stack;
  std::exception_ptr error;
  [[maybe_unused]] void* tsan = nullptr;
  [[maybe_unused]] void* fake_stack = nullptr;
};

class Machine {
 public:
  void launch(unsigned blocks, unsigned threads, size_t shared_bytes,
              const std::function<void()>& body);
  void barrier(const Location& location);
  uint64_t warp_operation(Operation operation, uint32_t mask, uint64_t value, int source,
                          const Location& location);
  int lane() const { return static_cast<int>(current_->index % kWarp); }
  void set_seed(uint64_t seed) { seed_ = seed; }

 private:
  static void entry();
  void make_fibers(unsigned count);
  void run_fiber(Fiber& fiber);
  void leave_fiber();
  void run_block(std::mt19937_64& random);
  void finish_warp(unsigned begin, unsigned end);
  void check_partners(const Fiber& fiber, unsigned begin, unsigned end) const;
  void finish_barrier();
  void synchronise(unsigned slot, unsigned count);

  std::vector<std::unique_ptr<Fiber>> fibers_;
  Fiber* current_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  uint64_t seed_ = 0;
  ucontext_t scheduler_;
  jmp_buf scheduler_jump_;
  // Two for the block and two for each warp: a late thread must not see the release of the next
  // operation.
  char sync_[2 * (1 + kMaxThreads / kWarp)];
  unsigned barriers_ = 0;
  [[maybe_unused]] void* scheduler_tsan_ = nullptr;
  [[maybe_unused]] void* scheduler_fake_stack_ = nullptr;
  [[maybe_unused]] const void* scheduler_stack_ = nullptr;
  [[maybe_unused]] size_t scheduler_stack_bytes_ = 0;
};

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

std::string at(const Fiber& fiber) {
  return " at " + std::string(fiber.location.file_name()) + ":" +
         std::to_string(fiber.location.line()) + " (thread " + std::to_string(fiber.index) + ")";
}

SIMT_QUIET void Machine::run_fiber(Fiber& fiber) {
  current_ = &fiber;
  place.thread = {fiber.index, 0, 0};
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(fiber.tsan, 1);  // 1: without an order between the two
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake_stack_, fiber.stack.get(), kStackBytes);
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  swapcontext(&scheduler_, &fiber.context);
#else
  // A jump saves no signal mask, which is most of the cost of swapcontext.
  if (_setjmp(scheduler_jump_) == 0) {
    if (fiber.started) _longjmp(fiber.jump, 1);
    fiber.started = true;
    setcontext(&fiber.context);
  }
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
#endif
}

SIMT_QUIET void Machine::leave_fiber() {
  Fiber& fiber = *current_;
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(scheduler_tsan_, 1);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fiber.fake_stack, scheduler_stack_, scheduler_stack_bytes_);
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  swapcontext(&fiber.context, &scheduler_);
#else
  if (_setjmp(fiber.jump) == 0) _longjmp(scheduler_jump_, 1);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

// Everything before it happens before everything after it, for the threads that share the slot.
SIMT_QUIET void Machine::synchronise([[maybe_unused]] unsigned slot,
                                     [[maybe_unused]] unsigned count) {
#if defined(__SANITIZE_THREAD__)
  char* sync = &sync_[2 * slot + (count + 1) % 2];
  __tsan_release(sync);
  leave_fiber();
  __tsan_acquire(sync);
#else
  leave_fiber();
#endif
}

SIMT_QUIET void Machine::barrier(const Location& location) {
  current_->location = location;
  current_->state = State::kAtBarrier;
  synchronise(0, barriers_);
}

SIMT_QUIET uint64_t Machine::warp_operation(Operation operation, uint32_t mask, uint64_t value,
                                            int source, const Location& location) {
  Fiber& fiber = *current_;
  fiber.operation = operation;
  fiber.mask = mask;
  fiber.value = value;
  fiber.source = source;
  fiber.location = location;
  fiber.state = State::kInWarpOperation;
  synchronise(fiber.index / kWarp + 1, fiber.warp_operations++);
  return fiber.result;
}

SIMT_QUIET void Machine::check_partners(const Fiber& fiber, unsigned begin, unsigned end) const {
  if (!(fiber.mask >> (fiber.index - begin) & 1)) {
    throw Error("thread is not in its own mask" + at(fiber));
  }
  for (unsigned i = begin; i < end; ++i) {
    if (!(fiber.mask >> (i - begin) & 1)) continue;
    const Fiber& partner = *fibers_[i];
    if (partner.state != State::kInWarpOperation || partner.operation != fiber.operation ||
        partner.mask != fiber.mask || partner.location.line() != fiber.location.line()) {
      throw Error("divergent warp operation" + at(fiber) + ", its partner is" + at(partner));
    }
  }
  const unsigned source = begin + static_cast<unsigned>(fiber.source);
  if (fiber.operation == Operation::kShuffle &&
      (source >= end || !(fiber.mask >> fiber.source & 1))) {
    throw Error("shuffle reads lane " + std::to_string(fiber.source) + " outside its mask" +
                at(fiber));
  }
}

// Every thread of the warp waits or is done.
SIMT_QUIET void Machine::finish_warp(unsigned begin, unsigned end) {
  for (unsigned i = begin; i < end; ++i) {
    Fiber& fiber = *fibers_[i];
    if (fiber.state != State::kInWarpOperation) continue;
    check_partners(fiber, begin, end);
    if (fiber.operation == Operation::kShuffle) {
      fiber.result = fibers_[begin + static_cast<unsigned>(fiber.source)]->value;
    }
  }
  for (unsigned i = begin; i < end; ++i) {
    if (fibers_[i]->state == State::kInWarpOperation) fibers_[i]->state = State::kReady;
  }
}

// No thread of the block can go on without the others.
SIMT_QUIET void Machine::finish_barrier() {
  const Fiber* first = nullptr;
  for (const auto& fiber : fibers_) {
    if (fiber->state == State::kAtBarrier) first = fiber.get();
  }
  for (const auto& fiber : fibers_) {
    if (fiber->state == State::kDone) {
      throw Error("thread " + std::to_string(fiber->index) + " ended before the barrier" +
                  at(*first));
    }
    if (fiber->location.line() != first->location.line()) {
      throw Error("divergent barriers" + at(*fiber) + " and" + at(*first));
    }
  }
  for (const auto& fiber : fibers_) fiber->state = State::kReady;
}

SIMT_QUIET void Machine::run_block(std::mt19937_64& random) {
  const unsigned n = static_cast<unsigned>(fibers_.size());
  std::vector<unsigned> order(n);
  for (unsigned i = 0; i < n; ++i) {
    fibers_[i]->state = State::kReady;
    order[i] = i;
  }
  for (;;) {
    if (seed_ != 0) std::shuffle(order.begin(), order.end(), random);
    bool ran = false;
    for (const unsigned i : order) {
      Fiber& fiber = *fibers_[i];
      if (fiber.state != State::kReady) continue;
      ran = true;
      run_fiber(fiber);
      if (fiber.error) std::rethrow_exception(fiber.error);
    }
    if (ran) {
      for (unsigned begin = 0; begin < n; begin += kWarp)
        finish_warp(begin, std::min(n, begin + kWarp));
      continue;
    }
    ++barriers_;
    if (std::all_of(fibers_.begin(), fibers_.end(),
                    [](const auto& fiber) { return fiber->state == State::kDone; })) {
      return;
    }
    finish_barrier();
  }
}

// What a block finds in shared memory is arbitrary: NaN in every type.
SIMT_QUIET void spoil_shared(size_t bytes) {
  volatile char* memory = dynamic_shared;  // no call of memset, which ThreadSanitizer would see
  for (size_t i = 0; i < bytes; ++i) memory[i] = -1;
}

SIMT_QUIET void Machine::make_fibers(unsigned count) {
#if defined(__SANITIZE_THREAD__)
  for (auto& fiber : fibers_) __tsan_destroy_fiber(fiber->tsan);
#endif
  fibers_.clear();
  for (unsigned i = 0; i < count; ++i) {
    auto fiber = std::make_unique<Fiber>();
    fiber->index = i;
    fiber->stack.reset(new char[kStackBytes]);
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStackBytes;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, &Machine::entry, 0);
#if defined(__SANITIZE_THREAD__)
    fiber->tsan = __tsan_create_fiber(0);
#endif
    fibers_.push_back(std::move(fiber));
  }
}

SIMT_QUIET void Machine::launch(unsigned blocks, unsigned threads, size_t shared_bytes,
                                const std::function<void()>& body) {
  if (blocks == 0 || threads == 0 || threads > kMaxThreads || shared_bytes > kSharedBytes) {
    throw Error("invalid configuration: " + std::to_string(blocks) + " blocks of " +
                std::to_string(threads) + " threads, " + std::to_string(shared_bytes) +
                " bytes of shared memory");
  }
  place.block_size = {threads, 1, 1};
  place.grid_size = {blocks, 1, 1};
  body_ = &body;
  std::mt19937_64 random(seed_);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(dynamic_shared, kSharedBytes);
  ASAN_POISON_MEMORY_REGION(dynamic_shared + shared_bytes, kSharedBytes - shared_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  scheduler_tsan_ = __tsan_get_current_fiber();
  __tsan_release(&sync_[barriers_ % 2]);
#endif
  if (fibers_.size() != threads) make_fibers(threads);
  try {
    for (unsigned block = 0; block < blocks; ++block) {
      place.block = {block, 0, 0};
      spoil_shared(shared_bytes);
      run_block(random);
    }
  } catch (...) {
    make_fibers(0);  // they are somewhere in the body
    throw;
  }
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(&sync_[barriers_ % 2]);
#endif
}

// A fiber runs the body of whatever launch once a block.
SIMT_QUIET void Machine::entry() {
  Machine& m = machine();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &m.scheduler_stack_, &m.scheduler_stack_bytes_);
#endif
  for (;;) {
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&m.sync_[m.barriers_ % 2]);
#endif
    try {
      (*m.body_)();
    } catch (...) {
      m.current_->error = std::current_exception();
    }
    m.current_->state = State::kDone;
    m.synchronise(0, m.barriers_);
  }
}

}  // namespace

void launch(unsigned blocks, unsigned threads, size_t shared_bytes,
            const std::function<void()>& body) {
  machine().launch(blocks, threads, shared_bytes, body);
}
void set_seed(uint64_t seed) { machine().set_seed(seed); }
void barrier(const Location& location) { machine().barrier(location); }
uint64_t shuffle(uint32_t mask, uint64_t value, int source, const Location& location) {
  return machine().warp_operation(Operation::kShuffle, mask, value, source, location);
}
void warp_barrier(uint32_t mask, const Location& location) {
  machine().warp_operation(Operation::kBarrier, mask, 0, 0, location);
}
int lane() { return machine().lane(); }

}  // namespace simt

extern "C" void simt_set_seed(uint64_t seed) { simt::set_seed(seed); }
