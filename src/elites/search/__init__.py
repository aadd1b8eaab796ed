"""Searches over noise."""

from .ascent import NoiseAscent
from .asktell import AskTell
from .auto import Auto
from .cma import CMA
from .elites import Elites, Restart
from .evolve import Evolve
from .fidelity import EarlyGuess, FewSteps
from .guards import Anywhere, Typical
from .pcn import PCN
from .penalties import ChiNorm, Whiteness
from .previews import Previews
from .quality import QualityDiversity
from .random import RandomSearch
from .refit import Diagonal, Natural, Shell
from .spectral import DCT, Haar, Spectral
from .zero_order import ZeroOrder

__all__ = [
    "CMA",
    "DCT",
    "PCN",
    "Anywhere",
    "AskTell",
    "Auto",
    "ChiNorm",
    "Diagonal",
    "EarlyGuess",
    "Elites",
    "Evolve",
    "FewSteps",
    "Haar",
    "Natural",
    "NoiseAscent",
    "Previews",
    "QualityDiversity",
    "RandomSearch",
    "Restart",
    "Shell",
    "Spectral",
    "Typical",
    "Whiteness",
    "ZeroOrder",
]
