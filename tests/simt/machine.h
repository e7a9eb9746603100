// Runs the body of a CUDA kernel on the CPU: block after block, every thread of a block a fiber.
// Fibers change only inside barriers and warp operations, which wait for all threads that they
// name, as on a GPU since compute capability 7.0. What is undefined there is an error here: a
// barrier that not all threads reach, a warp operation whose mask names a thread that is elsewhere.
// AddressSanitizer and ThreadSanitizer see each fiber as a thread of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>

namespace simt {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Index {
  unsigned x, y, z;
};

// What a kernel reads of its place in the launch.
struct Place {
  Index thread, block, block_size, grid_size;
};
extern Place place;

constexpr size_t kSharedBytes = 48 * 1024;
constexpr int kWarp = 32;

using Location = std::source_location;

// Threads run in another order for each seed. The shared memory is the array `dynamic_shared`.
void launch(unsigned blocks, unsigned threads, size_t shared_bytes,
            const std::function<void()>& body);
void set_seed(uint64_t seed);

void barrier(const Location& location);
// The value that lane `source` of this warp brings.
uint64_t shuffle(uint32_t mask, uint64_t value, int source, const Location& location);
void warp_barrier(uint32_t mask, const Location& location);
int lane();

}  // namespace simt
