"""Priors: pretrained laws of objects."""

from .analytic import Mixture, mixture, subspace
from .bundled import digits
from .gaussian import CFG, GaussianPrior
from .onestep import OneStep
from .unet import from_unet

from .analytic import gaussian  # isort: skip  # last, or the submodule of this name would hide it

__all__ = ["CFG", "GaussianPrior", "Mixture", "OneStep", "digits", "from_unet", "gaussian", "mixture", "subspace"]
