"""Priors: pretrained laws of objects."""

from .analytic import Mixture, mixture, normal, subspace
from .bundled import digits
from .gaussian import CFG, GaussianPrior
from .onestep import OneStep
from .unet import from_unet

__all__ = ["CFG", "GaussianPrior", "Mixture", "OneStep", "digits", "from_unet", "mixture", "normal", "subspace"]
