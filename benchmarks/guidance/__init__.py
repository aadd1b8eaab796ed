"""Gradient guidance as regularised optimisation: the panels of its paper that a CPU can carry, and the digits."""
