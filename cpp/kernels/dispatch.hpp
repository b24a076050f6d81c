// Which tiers this CPU can run, and which one is in force.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.hpp"

namespace bitterfly {

std::vector<std::string> available_isas();

// Puts a tier in force by name; throws std::invalid_argument where it was not built or the CPU lacks it.
void select_isa(const std::string& name);

}  // namespace bitterfly
