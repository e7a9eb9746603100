// The module that makes the library importable. Schemas, autograd formulas and shapes for tracing
// of the ops are in dldl_fast/schema.py, kernels are registered beside their code.
#include <Python.h>
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(dldl_fast, m) { m.def("cpu_capability() -> str"); }

// An empty Python module, so that the library can be found and imported as dldl_fast._C.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
