"""What the tests share: exact priors, a reward, stubs that count, and comparison to the bit."""

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from elites import DDIM, Flow, Plain, Result, Stream, Target, VPLinear, Worst
from elites.packing import pack
from elites.priors import CFG, Fixed, GaussianPrior, OneStep, Reschedule, mixture, subspace
from elites.priors import normal as gaussian
from elites.schedule import X0, Eps, Velocity

SOURCE = Path(__file__).parents[1] / "src" / "elites"
CLOCKS = ("seconds", "network_seconds", "reward_seconds")
FLOAT64 = {"dtype": torch.float64}
WORST = Worst(limit=1)


def normal(*shape, seed=0):
    """Standard normal float64, without a global generator."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).standard_normal(shape))


def humps(d=6, components=3, **changes):
    """A mixture in d dimensions."""
    return mixture(2 * normal(components, d), torch.tensor([0.3, 0.5, 0.8])[:components], **changes)


def plane(d=64, **changes):
    """A mixture on a plane in d dimensions."""
    frame = torch.linalg.qr(normal(d, 2, seed=1)).Q
    return subspace(frame, torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), 0.5, **changes)


def bell(d=6, **changes):
    """A normal law with correlations."""
    root = normal(d, d, seed=2) / d**0.5
    return gaussian(normal(d, seed=3), root @ root.T + 0.1 * torch.eye(d, **FLOAT64), **changes)


@dataclass(frozen=True, eq=False)
class Net:
    """The exact network of a law: what a perfect network would predict."""

    law: object
    predicts: object

    def __call__(self, x, t):
        return self.predicts.of(self.law.denoise(x, t[0].double()), x, self.law.schedule, t[0].double())


def exact(law, predicts, **changes):
    """A `GaussianPrior` whose network is exact."""
    return GaussianPrior(Net(law, predicts), law.shape, law.schedule, predicts, kernel=law.kernel, **changes)


class Bell(torch.nn.Module):
    """The exact guess of a normal law of independent coordinates, whose means and log variances are weights."""

    def __init__(self, schedule, d=6):
        super().__init__()
        self.schedule = schedule
        self.mean, self.logv = (torch.nn.Parameter(torch.zeros(d)) for _ in range(2))

    def forward(self, x, t):
        alpha, sigma = (float(v) for v in self.schedule(t[0].double()))
        v = self.logv.exp()
        return (alpha * v * x + sigma**2 * self.mean) / (alpha**2 * v + sigma**2)


def tunable(d=6, schedule=Flow(), **changes):  # noqa: B008 (frozen)
    """A standard normal prior that can be trained."""
    return GaussianPrior(Bell(schedule, d), (d,), schedule, X0(), **changes)


def words(x0):
    """A list of strings, as long as the first number is large."""
    return ["a" * int(10 + 3 * v) for v in x0[:, 0].clamp(-3, 3)]


PRIORS = {
    "mixture": humps(),
    "mixture, SDE on a flow": humps(schedule=Flow(), kernel=DDIM(1.0)),
    "mixture, SDE": humps(kernel=DDIM(1.0)),
    "rescheduled": Reschedule(humps(schedule=Flow()), VPLinear()),
    "gaussian": bell(),
    "plane": plane(),
    "network of eps": exact(humps(), Eps()),
    "network of velocity": exact(humps(schedule=Flow()), Velocity()),
    "guided": CFG(humps(), bell(), 2.0),
    "fixed": Fixed(humps(), torch.arange(6) == 2, torch.ones(6)),
    "tunable": tunable(),
    "one step": OneStep(words, (6,)),
}


def hill(x):
    """A reward made of elementwise operations alone, so that no batch changes its bits."""
    return x[:, 0] - (x[:, 1] - 1) * (x[:, 1] - 1)


def half_nan(x):
    """`hill`, and no number where the second coordinate is positive."""
    return torch.where(x[:, 1] > 0, torch.nan, hill(x))


def ends(x):
    """Two measures of an object."""
    return torch.stack([x[:, 0], x[:, -1]], 1)


@dataclass
class Count:
    """Counts what reaches the network and the reward of a target."""

    sizes: list = field(default_factory=list)  # rows of each network call
    objects: int = 0  # rows of network calls, without those that repeat the last
    scored: int = 0
    grads: int = 0  # backward passes, of one object each
    padded_well: bool = True
    walked: bool = False  # whether a gradient went through a whole walk

    def network(self, x):
        other = (x != x[-1]).flatten(1).any(1).nonzero()
        real = 1 + (int(other[-1]) + 1 if len(other) else 0)
        self.sizes.append(len(x))
        self.objects += real
        self.padded_well &= bool((x[real:] == x[-1]).all())
        return real

    def backward(self, x):
        if x.requires_grad:
            self.walked = True
            x.register_hook(lambda slope: setattr(self, "grads", self.grads + len(slope)))
        return x

    def reward(self, f):
        def reward(objects):
            self.scored += len(objects)
            return f(objects)

        return reward


@dataclass(frozen=True, eq=False)
class Counted:
    """A prior that tells a `Count` of every network call."""

    inner: object
    count: Count

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def start(self, z):
        return self.count.backward(self.inner.start(z))

    def denoise(self, x, t, z=None):
        real = self.count.network(x)
        if x.requires_grad and not self.count.walked:  # a gradient that begins on the way
            x.register_hook(lambda slope: setattr(self.count, "grads", self.count.grads + real))
        out = self.inner.denoise(x, t, z)
        if out.requires_grad and not x.requires_grad:  # or that ends in the weights
            out.register_hook(lambda slope: setattr(self.count, "grads", self.count.grads + real))
        return out

    def with_weights(self, weights):
        return replace(self, inner=self.inner.with_weights(weights))


class Climber:
    """A minimiser with ask and tell: steps from the best point it was told."""

    def __init__(self, d, population, seed):
        self.own, self.shape = np.random.Generator(np.random.Philox(seed)), (population, d)
        self.at, self.loss = np.zeros(d), np.inf

    def ask(self):
        return self.at + self.own.standard_normal(self.shape)

    def tell(self, z, losses):
        best = losses.argmin()
        if losses[best] < self.loss:
            self.at, self.loss = z[best], losses[best]


def on(prior, *, reward=hill, batch=16, decode_batch=None, on_error=WORST, count=None, steps=4):
    """A target on a prior; with a `Count`, one that counts."""
    if count is not None:
        prior, reward = Counted(prior, count), count.reward(reward)
    return Target(prior, reward, walk=Plain(steps=steps), batch=batch, decode_batch=decode_batch, on_error=on_error)


def on_tunable(**changes):
    return on(PRIORS["tunable"], **changes)


def on_humps(**changes):
    return on(PRIORS["mixture"], **changes)


def on_flow(**changes):
    return on(PRIORS["mixture, SDE on a flow"], **changes)


def on_sde(**changes):
    return on(PRIORS["mixture, SDE"], **changes)


def on_plane(**changes):
    return on(PRIORS["plane"], **changes)


def steps_of(method, target, n, seed=0):
    """The first n steps without `run`: (state before, state after, info, spent) of each."""
    root = Stream(seed)
    state = method.init(target, root)
    for step in range(1, n + 1):
        if method.done(state):
            return
        before, spent = state, replace(target.meter)
        with torch.no_grad():
            state, info = method.step(target, state, root.at(step=step))
        yield before, state, info, target.meter - spent


def bits(value):
    """Any state, samples or tensor as text and bytes: equal only if the same to the bit."""
    tensors = {}
    text = json.dumps(pack(value, "", tensors))
    return text, {name: (v.dtype, v.shape, v.contiguous().numpy().tobytes()) for name, v in tensors.items()}


def tensors_of(value):
    """Every tensor of a state."""
    tensors = {}
    pack(value, "", tensors)
    return list(tensors.values())


def rows(result: Result):
    """The history as text, without clocks."""
    return [json.dumps({k: v for k, v in row.items() if k not in CLOCKS}) for row in result.history]


def assert_same(a: Result, b: Result):
    """Equal to the bit, but for clocks."""
    assert bits(a.best) == bits(b.best)
    assert bits(a.samples) == bits(b.samples)
    assert bits(a.state) == bits(b.state)
    assert rows(a) == rows(b)
    assert replace(a.meter, seconds=0) == replace(b.meter, seconds=0)
    assert a.failures == b.failures
    assert a.seed == b.seed


def generators():
    """The state of every global generator."""
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
