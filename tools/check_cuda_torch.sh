#!/usr/bin/env bash
# The package beside a CUDA build of torch, which CI does not install (5.5 GB): builds both libraries
# in a new environment with DLDL_FAST_CUDA=1, loads them, and runs the tests of the ops. Needs nvcc,
# no GPU; takes about four minutes. Writes into this checkout and into a temporary folder that it
# removes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/environment"
# shellcheck disable=SC1091
source "$folder/environment/bin/activate"
pip install -q torch==2.14.1
DLDL_FAST_CUDA=1 pip install -q -e '.[test]'
python -m dldl_fast.env
python -c "from dldl_fast import ops; assert ops.cuda_load_error is None, ops.cuda_load_error"
pytest -q tests/test_autograd.py tests/test_backends.py tests/test_compile.py tests/test_env.py \
  tests/test_expectation.py
