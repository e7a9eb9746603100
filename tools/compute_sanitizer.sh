#!/usr/bin/env bash
# The compiled CUDA kernels on a GPU under NVIDIA's compute-sanitizer (part of the CUDA toolkit):
# memcheck, racecheck, initcheck and synccheck, over the tests of values and bad rows or over those
# given, for example tests/gpu/test_values.py::test_many_rows. Only this library's kernels are
# instrumented.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ $# == 0 ]]; then
  set -- tests/gpu/test_values.py tests/gpu/test_bad_rows.py
fi
python -c "import torch; assert torch.cuda.is_available(), 'torch finds no CUDA device'"

# Every tensor is an allocation of its own, so that an access beyond one is seen, and what an
# earlier tensor left there is not taken for written.
export PYTORCH_NO_CUDA_MEMORY_CACHING=1

for tool in memcheck racecheck initcheck synccheck; do
  printf '\n=== %s (after %d s)\n' "$tool" "$SECONDS"
  options=(--tool "$tool" --kernel-regex kns=dldl_fast --error-exitcode 1)
  if [[ $tool == memcheck ]]; then
    options+=(--padding 256) # or the next allocation may follow without a gap
  fi
  compute-sanitizer "${options[@]}" python -m pytest -q -m gpu -k cuda "$@"
done
