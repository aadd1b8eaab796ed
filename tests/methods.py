"""Every method of the library, one line each: being here enrols a method in every contract test."""

from helpers import Climber, ends, on_flow, on_humps, on_plane

from elites import CMA, PCN, AskTell, Elites, Evolve, Plain, QualityDiversity, RandomSearch, Spectral, ZeroOrder
from elites.search import DCT, Anywhere, Diagonal, Haar, Natural, Restart, Shell
from elites import (
    CMA,
    PCN,
    AskTell,
    Elites,
    Evolve,
    NoiseAscent,
    Plain,
    QualityDiversity,
    RandomSearch,
    Spectral,
    ZeroOrder,
)
from elites.search import (
    DCT,
    Anywhere,
    ChiNorm,
    Diagonal,
    Geometric,
    Haar,
    LowRank,
    Natural,
    Restart,
    Shell,
    Whiteness,
)

METHODS = [  # name, method, target factory
    ("random", RandomSearch(8), on_humps),
    ("random, one candidate a step", RandomSearch(1), on_flow),
    ("zero order", ZeroOrder(8, patience=2), on_humps),
    ("zero order on the shell", ZeroOrder(6, cosine=0.8), on_plane),
    ("elites, natural", Elites(8, Natural()), on_humps),
    ("elites, natural, SDE", Elites(9, Natural(rate=2.0)), on_flow),
    ("elites, natural on the shell", Elites(8, Natural(paths=2)), on_plane),
    ("elites, natural, restarting", Elites(8, Natural(), restart=Restart(1)), on_humps),
    ("elites, shell", Elites(8, Shell()), on_plane),
    ("elites, shell, keep", Elites(8, Shell(), keep=2), on_humps),
    ("elites as published", Elites.published(8), on_humps),
    ("elites, diagonal, keep", Elites(8, Diagonal(smooth=0.2, floor=0.1), keep=8), on_plane),
    ("ask and tell", AskTell(Climber, 8), on_humps),
    ("ask and tell, restarting", AskTell(Climber, 5, restart=Restart(2)), on_flow),
    ("CMA", CMA(8), on_humps),
    ("CMA, anywhere, restarting", CMA(guard=Anywhere(), restart=Restart(1)), on_flow),
    ("CMA, separable", CMA(6, separable=True), on_plane),
    ("quality diversity", QualityDiversity(ends, ((-2, 2), (-2, 2)), (4, 3), 8, first=16), on_humps),
    ("quality diversity on the shell", QualityDiversity(ends, ((-1, 1), (0, 1)), (9, 9), 6, first=6), on_plane),
    ("evolve", Evolve(8, keep=3, mates=2, restart=Restart(2)), on_humps),
    ("evolve on the shell", Evolve(7), on_plane),
    ("pCN chains", PCN(8, temperature=0.5, burn=3), on_flow),
    ("spectral, elites on cosines", Spectral(Elites(8, restart=Restart(1)), DCT(0.5)), on_humps),
    ("spectral, evolution on wavelets", Spectral(Evolve(8), Haar(1)), on_plane),
    ("ascent", NoiseAscent(5), on_humps),
    ("ascent on the shell", NoiseAscent(3, momentum=0.0, restart=Restart(1)), on_plane),
    ("ascent, charged for its norm, SDE", NoiseAscent(4, guard=Anywhere(), penalty=ChiNorm(0.1)), on_flow),
    (
        "ascent, charged for structure, activations kept",
        NoiseAscent(9, guard=Anywhere(), penalty=Whiteness(0.5, permutations=3), restart=None, recompute=False),
        on_plane,
    ),
    ("plain walk, deterministic", Plain(steps=5, n=8), on_humps),
    ("plain walk, DDIM(eta=1)", Plain(steps=5, n=9), on_flow),
]
