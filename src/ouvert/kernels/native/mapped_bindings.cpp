// Guards of memory-mapped files. ouvert.kernels.mapped calls them.

#include <cstdint>
#include <stdexcept>

#include "bindings.h"
#include "mapped.h"

namespace nb = nanobind;

namespace ouvert {
namespace {

int known(int number) {
  if (number < 0 || number >= kMostGuarded) throw std::out_of_range("not the number of a guarded range");
  return number;
}

}  // namespace

void bind_mapped(nb::module_& m) {
  m.def("guard", [](std::uintptr_t begin, std::size_t size) {
    return guard(reinterpret_cast<const void*>(begin), size);
  });
  m.def("lost", [](int number) { return lost(known(number)); });
  m.def("unguard", [](int number) { unguard(known(number)); });
}

}  // namespace ouvert
