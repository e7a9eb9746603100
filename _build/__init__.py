"""How dldl_fast is built; used by pip (backend.py) and setup.py (extension.py), not installed."""
