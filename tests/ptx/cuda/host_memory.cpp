// Ordinary memory as device memory: what torch has allocated for CPU tensors is remembered, so that
// a launch can tell the addresses among a kernel's arguments and knows how far each may reach.
#undef TORCH_TARGET_VERSION  // the allocator is not of the stable ABI, which the ops keep to
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

namespace {

std::mutex mutex;
std::map<uintptr_t, size_t> sizes;  // by first address

void forget(void* data) {
  const std::lock_guard<std::mutex> lock(mutex);
  sizes.erase(reinterpret_cast<uintptr_t>(data));
  c10::GetDefaultCPUAllocator()->raw_deallocate(data);
}

class RememberingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t size) override {
    void* data = c10::GetDefaultCPUAllocator()->raw_allocate(size);
    if (data != nullptr) {
      std::memset(data, 0xff, size);  // NaN in every data type, for results that no kernel writes
      const std::lock_guard<std::mutex> lock(mutex);
      sizes[reinterpret_cast<uintptr_t>(data)] = size;
    }
    return {data, data, &forget, c10::DeviceType::CPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &forget; }
  void copy_data(void* to, const void* from, size_t size) const override {
    std::memcpy(to, from, size);
  }
};

RememberingAllocator allocator;

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void host_memory_remember() { c10::SetCPUAllocator(&allocator, 1); }

// The size of the allocation that an address is in, and its start; 0 if it is in none.
size_t host_memory_find(uintptr_t address, uintptr_t* start) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto after = sizes.upper_bound(address);
  if (after == sizes.begin()) return 0;
  const auto found = std::prev(after);
  if (address >= found->first + found->second) return 0;
  *start = found->first;
  return found->second;
}

int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, void*) {
  std::memcpy(to, from, bytes);
  return 0;
}
int cudaStreamSynchronize(void*) { return 0; }

}  // extern "C"
#pragma GCC visibility pop
