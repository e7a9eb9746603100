// Schemas of the ops, and the module that makes the library importable. Autograd formulas and
// shapes for tracing are registered in dldl_fast/ops.py, kernels beside their code.
#include <Python.h>
#include <torch/csrc/stable/library.h>

#define DLDL_FAST_LOSS_INPUTS                                                          \
  "Tensor logits, Tensor? target, float sigma_number, Tensor? sigma, Tensor? weight, " \
  "Tensor? target_distribution, Tensor labels, float label_step, float lambda_, "      \
  "float ld_weight, int kind, int divergence, int regression, float smooth_l1_beta, "  \
  "int reduction, int out_of_range, bool ignore_nan, bool validate"

// label_step is the distance of the labels where they are known to be equally spaced, else 0: on a
// GPU finding out would take a kernel of its own.
STABLE_TORCH_LIBRARY(dldl_fast, m) {
  // The loss as reduced; the gradient [N, K] if needs_grad, before weights; the factor that it
  // still lacks, None where it lacks none; divergence, regression and expectation of each row,
  // [3, N], if return_terms.
  m.def("label_distribution_loss(" DLDL_FAST_LOSS_INPUTS
        ", bool return_terms, bool needs_grad) -> "
        "(Tensor loss, Tensor? grad_logits, Tensor? scale, Tensor? terms)");
  m.def("label_distribution_loss_backward(Tensor grad_loss, " DLDL_FAST_LOSS_INPUTS ") -> Tensor");
  // grad_logits[i] *= grad_loss * scale * weight[i]
  m.def(
      "scale_rows_(Tensor(a!) grad_logits, Tensor grad_loss, Tensor? scale, Tensor? weight) -> ()");
  // The standard deviation is None unless return_std.
  m.def(
      "expectation(Tensor logits, Tensor labels, float label_step, bool return_std) -> "
      "(Tensor mean, Tensor? std)");
  m.def(
      "expectation_backward(Tensor? grad_mean, Tensor? grad_std, Tensor logits, Tensor labels, "
      "float label_step) -> Tensor");
  m.def("cpu_capability() -> str");
}

// An empty Python module, so that the library can be found and imported as dldl_fast._C.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
