// How rows are spread over blocks, and what launches them. The kernels of each width have a file of
// their own, so that several processes can compile them at once.
#pragma once

#include <algorithm>

#include "cuda/label_distribution_loss.h"
#include "cuda/label_distribution_loss_kernel.cuh"
#include "cuda/launch.h"

namespace dldl_fast::cuda {

// Float values between the rows of a tile, so that those that a warp computes together lie in other
// banks: rows begin an odd multiple of a group's lanes apart. Only where rows are whole packets, as
// a packet is copied to one place.
template <class Group>
int row_padding(int n_labels, int packet_size) {
  constexpr int kStep = std::max(Group::kLanes, Packet<float>::kSize);
  if (Group::kRowsPerWarp == 1 || n_labels % packet_size != 0) return 0;
  return (3 * kStep - n_labels % (2 * kStep)) % (2 * kStep);
}

// How the rows are spread over blocks.
template <class A, class Group>
struct TileLaunch {
  explicit TileLaunch(const LossInputs& in)
      : n_labels(in.grid.size),
        packet_size(in.logits.storage == Storage::kFloat ? 4 : 8),
        padding(sizeof(A) == sizeof(float) ? row_padding<Group>(n_labels, packet_size) : 0) {
    const bool has_table = in.distribution.data != nullptr || in.options.kind == Kind::kGaussianBin;
    const auto bytes = [&](int n) {
      return LossMemory<A>::bytes(n_labels, n, n_labels + padding, has_table);
    };
    rows = rows_that_fit<Group>(bytes);
    shared_bytes = bytes(rows);
    blocks = blocks_for(in.logits.n_rows, rows);
  }

  // Without padding where the first packet of a tile does not begin a row.
  TileShape shape(const LossInputs& in, const LossOutputs& out) const {
    const auto begins_sector = [](const void* rows) {
      return reinterpret_cast<uintptr_t>(rows) % kSector == 0;
    };
    if (padding == 0 || in.logits.row_stride != n_labels || !begins_sector(in.logits.data) ||
        !begins_sector(out.grad)) {
      return {rows, n_labels, 0, 0};
    }
    const auto packets = static_cast<unsigned>(n_labels / packet_size);
    return {rows, n_labels + padding, padding / Packet<A>::kSize, 0xffffffffu / packets + 1};
  }

  int n_labels, packet_size, padding;
  int rows;
  size_t shared_bytes;
  int64_t blocks;
};

// Returns the number of blocks. Instantiated in label_distribution_loss_narrow.cu, _wide.cu and
// _extended.cu.
template <class A, class Group, bool kExtended>
int64_t launch_tiles(const LossInputs& in, const LossOutputs& out, cudaStream_t stream);

// Instantiated in label_distribution_loss_long.cu.
template <class A, bool kExtended>
void launch_long_rows(const LossInputs& in, const LossOutputs& out, cudaStream_t stream);

}  // namespace dldl_fast::cuda
