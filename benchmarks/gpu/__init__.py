"""Benchmarks on a CUDA device; see benchmarks/README.md."""
