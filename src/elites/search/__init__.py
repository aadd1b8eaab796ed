"""Searches over noise."""

from .asktell import AskTell
from .cma import CMA
from .elites import Elites, Restart
from .evolve import Evolve
from .guards import Anywhere, Typical
from .pcn import PCN
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
    "Diagonal",
    "Elites",
    "Evolve",
    "Haar",
    "Natural",
    "QualityDiversity",
    "RandomSearch",
    "Restart",
    "Shell",
    "Spectral",
    "Typical",
    "ZeroOrder",
]
