"""Every method of the library, one line each: being here enrols a method in every contract test."""

import torch
from helpers import Climber, ends, on_flow, on_humps, on_plane, on_sde, on_tunable

from elites import (
    CMA,
    DPS,
    LGDMC,
    MMPS,
    MPGD,
    PCN,
    AskTell,
    Auto,
    Elites,
    Evolve,
    FeynmanKac,
    FineTune,
    Lookahead,
    NoiseAscent,
    Paths,
    Plain,
    Previews,
    QualityDiversity,
    RandomSearch,
    Rollover,
    Spectral,
    Tempered,
    TrajectorySearch,
    TreeSearch,
    Twisted,
    ValueDecoding,
    ZeroOrder,
)
from elites.resample import Multinomial, Resample, Residual, Stratified
from elites.search import (
    DCT,
    Anywhere,
    ChiNorm,
    Diagonal,
    EarlyGuess,
    FewSteps,
    Haar,
    Natural,
    Restart,
    Shell,
    Whiteness,
)
from elites.steer import (
    AheadLoss,
    Constant,
    Draws,
    Glass,
    Max,
    Published,
    Raw,
    RawGradient,
    Repeat,
    Share,
    Sum,
    Tilt,
)
from elites.train import AdjointMatching, Fit, Follow, OffSupport, PathKL, RewardWeighted, Typical


def first_two(x):
    """A linear measurement."""
    return x.flatten(1)[:, :2] + x.flatten(1)[:, 1:3]


def far(x):
    """The largest coordinate."""
    return x.abs().amax(1)


FIT = Fit(3, 0.05, 8, 2, 10, average=0.5)
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
    ("previews, elites by early guesses", Previews(Elites(8, keep=3), EarlyGuess((0.25,)), again=2), on_humps),
    ("previews, evolution by few steps, SDE", Previews(Evolve(5), FewSteps((1, 2)), 4, again=1), on_flow),
    (
        "previews in a band",
        Previews(Spectral(Elites(8, restart=Restart(2)), DCT(0.5)), EarlyGuess(), 2, again=2),
        on_plane,
    ),
    ("auto", Auto(8), on_humps),
    ("auto, gradient-free", Auto(5, gradients=False), on_flow),
    ("Feynman-Kac", FeynmanKac(8, 5, resample=Resample(below=0.95)), on_flow),
    (
        "Feynman-Kac, sums of several draws",
        FeynmanKac(6, 5, 0.5, Resample(Residual(), every=2), potential=Sum(), guess=Draws(2)),
        on_flow,
    ),
    ("Feynman-Kac, maxima, exact transitions", FeynmanKac(5, 4, 0.2, transition=Glass(), potential=Max()), on_humps),
    ("twisted", Twisted(7, 5, 0.3, Resample(Multinomial())), on_flow),
    ("twisted, gradients ahead", Twisted(4, 5, 0.3, Resample(below=0), ahead=True, limit=2.0), on_sde),
    ("tempered", Tempered(6, 5, 0.2, keep=0.8), on_flow),
    ("tempered, gradient-free", Tempered(6, 5, 0.2, Resample(Stratified()), gradient=False), on_flow),
    ("value decoding", ValueDecoding(3, 4, 5), on_flow),
    ("value decoding, soft, in blocks", ValueDecoding(2, 5, 6, temperature=0.5, block=2), on_flow),
    ("rollover", Rollover(60, 2, 4, 4, 2), on_flow),
    ("rollover as published", Rollover(50, 1, 5, 4, 1, strict=True, transition=Glass(1, 0.4)), on_humps),
    ("trajectory search", TrajectorySearch(2, 3, 2, 4), on_flow),
    ("search over paths", Paths(2, 3, 9, start=0.4, back=0.3), on_flow),
    ("search over paths of an ODE", Paths(3, 2, 12, start=0.2, back=0.1, advance=2), on_humps),
    ("tree search", TreeSearch(4, 0.5, width=5), on_flow),
    ("tree search, greedy", TreeSearch(4, greedy=True, width=4), on_flow),
    ("DPS", DPS(5, 8), on_humps),
    ("DPS as published, on a flow", DPS(5, 6, strength=Raw(0.1)), on_flow),
    ("DPS with time travel", DPS(6, 5, strength=Share(0.3), repeat=Repeat(3, (0.2, 0.6))), on_flow),
    ("LGD-MC", LGDMC(5, 6, 2.0, draws=3), on_flow),
    ("MPGD", MPGD(5, 6, strength=Tilt(0.5, limit=1.0), climbs=2), on_humps),
    ("MPGD, projected", MPGD(5, 6, project=lambda x: x.clamp(-2, 2)), on_flow),
    ("MMPS", MMPS(5, 6, operator=first_two, y=torch.tensor([0.5, -1.0]), iterations=2), on_flow),
    ("lookahead", Lookahead(6, 5, 3), on_flow),
    ("lookahead, published weight at the mean", Lookahead(5, 4, 4, push=AheadLoss(Published()), mean=True), on_humps),
    ("lookahead, constant weight", Lookahead(5, 4, 3, push=AheadLoss(Constant(0.1))), on_flow),
    ("raw gradients", Lookahead(5, 4, 3, push=RawGradient()), on_humps),
    (
        "fine-tuning by rewards",
        FineTune(RewardWeighted(9, replay=torch.ones(3, 6)), FIT, (PathKL(50, 3, 4), Typical(0.01, 99, 4, 3))),
        on_tunable,
    ),
    ("fine-tuning by adjoints", FineTune(AdjointMatching(8, 0.5, 4), FIT), on_tunable),
    ("fine-tuning on guided rounds", FineTune(Follow(Lookahead(8, 5, 4), memory=2), FIT), on_tunable),
    ("elites distilled", FineTune(Follow(Elites(8), temperature=0.5), FIT, (OffSupport(far, 99.0, 4),)), on_tunable),
    ("plain walk, deterministic", Plain(steps=5, n=8), on_humps),
    ("plain walk, DDIM(eta=1)", Plain(steps=5, n=9), on_flow),
]
