from __future__ import annotations

import subprocess
import sys


def test_the_loss_alone_imports_no_networks_and_no_hub():
    script = """
import sys
import dldl_fast
for name in ("dldl_fast.models", "dldl_fast.data", "huggingface_hub"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", script], check=True)
