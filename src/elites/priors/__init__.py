"""Priors: pretrained laws of objects."""

from .analytic import Mixture, mixture, normal, subspace
from .bundled import digits
from .diffusers import Diffusers, black_box
from .fixed import Fixed
from .folder import load_pipeline
from .gaussian import CFG, GaussianPrior
from .motions import pendulum, unicycle
from .network import Tunable, lora
from .onestep import OneStep
from .onnx import Onnx
from .reschedule import Reschedule
from .unet import from_unet

__all__ = [
    "CFG",
    "Diffusers",
    "Fixed",
    "GaussianPrior",
    "Mixture",
    "OneStep",
    "Onnx",
    "Reschedule",
    "Tunable",
    "black_box",
    "digits",
    "from_unet",
    "load_pipeline",
    "lora",
    "mixture",
    "normal",
    "pendulum",
    "subspace",
    "unicycle",
]
