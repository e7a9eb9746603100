// values[i] *= factor, multiplied in the accumulation type and rounded once.
#pragma once

#include "cpu/lanes.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

template <class T, class A, int W>
void scale_values(void* values, int64_t count, double factor) {
  T* p = static_cast<T*>(values);
  const A f = static_cast<A>(factor);
  int64_t i = 0;
  for (; i + W <= count; i += W) store<W>(p + i, Vector<A, W>(load<W>(p + i) * f));
  for (; i < count; ++i) store<1>(p + i, load<1>(p + i) * f);
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
