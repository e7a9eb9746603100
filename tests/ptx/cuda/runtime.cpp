// A stand-in for the CUDA runtime, for host code that nvcc compiled: launches and memsets go to the
// functions that the test sets, which work on the interpreter's memory.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace {

struct Extent {
  unsigned x, y, z;
};

// `fatbin` is what the kernel's object file embeds; 0 for success.
using Launch = int (*)(const char* kernel, const void* fatbin, Extent grid, Extent block,
                       void** arguments, size_t shared_bytes);
using Set = int (*)(uint64_t address, int value, size_t count);

struct Kernel {
  std::string name;
  const void* fatbin;
};

Launch launch_function = nullptr;
Set set_function = nullptr;
int last_error = 0;
// By the address of the host's stub. Kernels register before any other global is made.
std::map<const void*, Kernel>& kernels() {
  static std::map<const void*, Kernel> registered;
  return registered;
}

constexpr int kInvalidDeviceFunction = 98;

}  // namespace

extern "C" {

void runtime_set_functions(Launch launch, Set set) {
  launch_function = launch;
  set_function = set;
}

// What nvcc's host code calls when the library is loaded.
void** __cudaRegisterFatBinary(void* wrapper) {
  struct Wrapper {
    int magic, version;
    const void* fatbin;
    void* file;
  };
  return reinterpret_cast<void**>(const_cast<void*>(static_cast<Wrapper*>(wrapper)->fatbin));
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 0; }
void __cudaRegisterFunction(void** fatbin, const char* stub, char*, const char* name, int, void*,
                            void*, void*, void*, int*) {
  kernels()[stub] = {name, fatbin};
}
// Of launches with <<<>>>, which the launchers do not use; nvcc's stubs refer to it all the same.
int __cudaPopCallConfiguration(Extent*, Extent*, size_t*, void*) { return kInvalidDeviceFunction; }
int __cudaGetKernel(void** kernel, const void* stub) {
  *kernel = const_cast<void*>(stub);
  return 0;
}

int cudaLaunchKernel(const void* stub, Extent grid, Extent block, void** arguments,
                     size_t shared_bytes, void*) {
  const auto found = kernels().find(stub);
  if (found == kernels().end() || launch_function == nullptr) return kInvalidDeviceFunction;
  const Kernel& kernel = found->second;
  last_error =
      launch_function(kernel.name.c_str(), kernel.fatbin, grid, block, arguments, shared_bytes);
  return last_error;
}
// Until it is asked for, a launch's error stays for whoever asks next.
int cudaGetLastError() {
  const int error = last_error;
  last_error = 0;
  return error;
}
int __cudaLaunchKernel(const void* stub, Extent grid, Extent block, void** arguments,
                       size_t shared_bytes, void* stream) {
  return cudaLaunchKernel(stub, grid, block, arguments, shared_bytes, stream);
}
int cudaMemsetAsync(void* address, int value, size_t count, void*) {
  return set_function(reinterpret_cast<uint64_t>(address), value, count);
}
const char* cudaGetErrorString(int) { return "the stand-in runtime refused it"; }

}  // extern "C"
