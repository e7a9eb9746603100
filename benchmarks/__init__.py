"""Speed and memory of dldl_fast beside its rivals. See README.md in this folder."""
