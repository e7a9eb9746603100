#!/usr/bin/env bash
# The extras that CI does not install, since they bring a hundred packages: the Ray cluster and the
# demo page, in a new environment. The page is also looked at by a browser where Chromium and its
# driver are installed (Debian: apt-get install chromium chromium-driver). Writes into this checkout
# and into a temporary folder that it removes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/environment"
# shellcheck disable=SC1091
source "$folder/environment/bin/activate"
pip install -q torch==2.13.0
pip install -q -e '.[test,ray,demo]' selenium
pytest -q -m "slow or not slow" tests/prediction/test_ray.py tests/demo
