"""Steer pretrained diffusion and flow models toward any objective at inference time, and show that it is real.

import elites as el

target = el.Target(el.priors.digits(), lambda images: images.mean((1, 2, 3)), walk=el.Plain(steps=10))
result = el.run(el.Elites(), target, el.Budget(nfe=10_000))
image = target.prior.decode(result.best.x)
"""

__version__ = "0.1.0.dev0"

from . import diagnose, kernel, plot, priors, resample, rewards, schedule, search, steer, train
from .diagnose import DistanceToData, Evidence, Reference, StopWhen, Typicality, Watch, alarmed, whiteness
from .events import Checkpoint, MLflow, Progress, Report, TensorBoard, WandB, resume
from .kernel import DDIM, EulerMaruyama, Renoise
from .parallel import Processes, Ray, Threads, WorkerError, worker_number
from .planning import Plan, plan
from .probe import Probe
from .rewards import concurrent, per_sample
from .run import Final, iterate, run
from .schedule import EDM, VE, X0, Eps, Flow, Pair, Score, Table, V, Velocity, VPCosine, VPLinear
from .scoring import Raise, Retry, RewardError, Worst
from .search import (
    CMA,
    PCN,
    AskTell,
    Auto,
    Elites,
    Evolve,
    NoiseAscent,
    Previews,
    QualityDiversity,
    RandomSearch,
    Spectral,
    ZeroOrder,
)
from .steer import (
    DPS,
    LGDMC,
    MMPS,
    MPGD,
    FeynmanKac,
    Lookahead,
    Paths,
    Rollover,
    Tempered,
    TrajectorySearch,
    TreeSearch,
    Twisted,
    ValueDecoding,
)
from .store import Folder, StoreError
from .stream import Stream
from .target import Target
from .templates import Plain, Search, Walk
from .train import FineTune
from .types import Budget, InputError, Result, Samples

__all__ = [
    "CMA",
    "DDIM",
    "DPS",
    "EDM",
    "LGDMC",
    "MMPS",
    "MPGD",
    "PCN",
    "VE",
    "X0",
    "AskTell",
    "Auto",
    "Budget",
    "Checkpoint",
    "DistanceToData",
    "Elites",
    "Eps",
    "EulerMaruyama",
    "Evidence",
    "Evolve",
    "FeynmanKac",
    "Final",
    "FineTune",
    "Flow",
    "Folder",
    "InputError",
    "Lookahead",
    "MLflow",
    "NoiseAscent",
    "Pair",
    "Paths",
    "Plain",
    "Plan",
    "Previews",
    "Probe",
    "Processes",
    "Progress",
    "QualityDiversity",
    "Raise",
    "RandomSearch",
    "Ray",
    "Reference",
    "Renoise",
    "Report",
    "Result",
    "Retry",
    "RewardError",
    "Rollover",
    "Samples",
    "Score",
    "Search",
    "Spectral",
    "StopWhen",
    "StoreError",
    "Stream",
    "Table",
    "Target",
    "Tempered",
    "TensorBoard",
    "Threads",
    "TrajectorySearch",
    "TreeSearch",
    "Twisted",
    "Typicality",
    "V",
    "VPCosine",
    "VPLinear",
    "ValueDecoding",
    "Velocity",
    "Walk",
    "WandB",
    "Watch",
    "WorkerError",
    "Worst",
    "ZeroOrder",
    "alarmed",
    "concurrent",
    "diagnose",
    "iterate",
    "kernel",
    "per_sample",
    "plan",
    "plot",
    "priors",
    "resample",
    "resume",
    "rewards",
    "run",
    "schedule",
    "search",
    "steer",
    "train",
    "whiteness",
    "worker_number",
]
