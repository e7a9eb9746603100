"""What pyproject.toml cannot say: the compiled extensions (see _build/extension.py)."""

import os
import sys

from setuptools import setup

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from _build import extension  # noqa: E402

setup(**extension.setup_arguments(sys.argv[1:]))
