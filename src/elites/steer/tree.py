r"""Tree search: every walk that was ever made is kept, and new ones branch off where it paid.

A node is a noisy object at a level. A new walk starts at the root, goes down among known children, and where a node
may have another child, draws one and walks on to the clean end by the prior's own steps, each of which becomes a node.
The reward of the end then goes up the tree by the soft Bellman rule

    v(node) = temperature log mean_children exp(v(child) / temperature),    v(end) = reward

so that v estimates temperature log E[exp(reward / temperature) | node]. Children are chosen with probability
proportional to exp(v / temperature), or the best is, or, in a share of the choices, any.

What was unlucky once is then hardly visited again. So the weights of the ends have no bias only where every choice is
uniform; by value, the normaliser comes out too small, by half on a small example, however large the tree. As a search
for good objects that does no harm.

References:
    Diffusion Tree Sampling: Scalable inference-time alignment of diffusion models (Jain, Sareen, Pedramfar and
    Ravanbakhsh, 2025), arXiv:2506.20701.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import FIRST, KEEP, chance, fresh
from ..types import Info, InputError, Meter, Samples
from .transitions import Native

__all__ = ["TreeSearch", "TreeState"]


@dataclass
class TreeState:
    """The tree; node 0 is its root, before the noise is drawn, and parents come before their children.

    Attributes:
        x, x0: `(nodes, *shape)`, at `times[level - 1]`, and its clean guess, which at the last level is the object.
        parent, level, visits, children: `(nodes,)` int64.
        value: `(nodes,)` float64, -inf where everything below failed.
        reward: `(nodes,)` float32 of ends, -inf elsewhere and for failures.
        round: of walks.
    """

    times: Tensor
    x: Tensor
    x0: Tensor
    parent: Tensor
    level: Tensor
    visits: Tensor
    children: Tensor
    value: Tensor
    reward: Tensor
    round: int

    @property
    def ends(self) -> Tensor:
        """Nodes that are objects."""
        return (self.level == len(self.times) - 1).nonzero()[:, 0]

    def logw(self, temperature: float) -> Tensor:
        """Log weights of the ends: reward over temperature, less the log of the number of siblings all the way up."""
        shared = torch.zeros(len(self.parent), dtype=torch.float64)
        for node in range(1, len(self.parent)):
            above = int(self.parent[node])
            shared[node] = shared[above] + math.log(int(self.children[above]))
        return self.reward[self.ends].double() / temperature - shared[self.ends]


@dataclass(frozen=True)
class TreeSearch:
    """Diffusion tree sampling, and its greedy search.

    It goes on for as long as the budget lasts; `result.state` is the tree, whose `ends` are weighted by `logw`.

    Arguments:
        steps: noise levels asked of the prior.
        temperature: of the tilt.
        greedy: whether the best child is gone down to, instead of one by its value.
        explore: share of the choices that are uniform; 1 for weights without bias.
        width: walks of a step; those of one step do not see one another's rewards.
        branch, power: a node may have `branch` visits^`power` children.

    Raises:
        InputError: if a number is out of range; at the start, if the walk of the prior has no noise.

    References:
        Diffusion Tree Sampling: Scalable inference-time alignment of diffusion models (Jain, Sareen, Pedramfar and
        Ravanbakhsh, 2025), arXiv:2506.20701.
    """

    steps: int = 20
    temperature: float = 1.0
    greedy: bool = False
    explore: float = 0.2
    width: int = 8
    branch: float = 1.0
    power: float = 0.7

    def __post_init__(self) -> None:
        if min(self.steps, self.width) < 1 or not self.temperature > 0:
            raise InputError(f"{self}: give at least one step and one walk, and a positive temperature.")
        if not (self.branch >= 1 and 0 < self.power <= 1 and 0 <= self.explore <= 1):
            raise InputError(f"{self}: give a branch of at least 1, a power in (0, 1] and an explore in [0, 1].")

    def init(self, target: Target, stream: Stream) -> TreeState:
        Native().check(target.prior)
        blank = torch.zeros_like(target.prior.start(target.prior.noise(stream.at(step=FIRST), range(1))))
        zero, low = torch.zeros(1, dtype=torch.int64), torch.full((1,), -torch.inf, dtype=torch.float32)
        times = target.prior.grid(self.steps)
        return TreeState(times, blank, blank, zero - 1, zero, zero, zero, low.double(), low, round=0)

    def step(self, target: Target, state: TreeState, stream: Stream) -> tuple[TreeState, Info]:
        """`width` walks, each from where it branches off to an object."""
        stream = stream.at(step=FIRST + state.round)
        state = replace(state, visits=state.visits.clone(), children=state.children.clone())
        u = stream.at(purpose=Purpose.METHOD).uniform(range(self.width), (len(state.times), 2)).double()
        state, ends = self._grown(target, state, [self._down(state, row) for row in u], stream)
        x = state.x0[ends.to(state.x0.device)]
        reward = target.score(x, stream, range(self.width))
        state.reward[ends], state.value[ends] = reward, reward.double()
        self._told(state, ends)
        keys = torch.tensor([stream.key(i) for i in range(self.width)], dtype=torch.int64)
        scalars: dict[str, Tensor | float] = {"nodes": float(len(state.parent))}
        if state.value[0] > -torch.inf:
            scalars["value"] = state.value[0]
        samples = Samples(x=x, reward=reward, keys=keys)
        return replace(state, round=state.round + 1), Info(samples=samples.top(KEEP), rewards=reward, scalars=scalars)

    def done(self, state: TreeState) -> bool:
        """It goes on until the budget is spent."""
        return False

    def cost(self, target: Target, state: TreeState) -> Meter:
        """`width` whole walks, at most."""
        levels = len(state.times) - 1
        return Meter(nfe=self.width * levels * target.prior.cost, rewards=self.width * target.tries)

    def _down(self, state: TreeState, u: Tensor) -> int:
        """The node where a walk branches off; it and all above it are visited once more."""
        node, last = 0, len(state.times) - 2  # the level whose children are objects
        while True:
            level, below = int(state.level[node]), (state.parent == node).nonzero()[:, 0]
            state.visits[node] += 1
            room = int(state.children[node]) < self.branch * int(state.visits[node]) ** self.power
            if room or level == last or not len(below):
                state.children[node] += 1
                return node
            value, (by, at) = state.value[below], u[level].tolist()
            if by < self.explore or not (value > -torch.inf).any():
                pick = int(at * len(below))
            elif self.greedy:
                pick = int(value.argmax())
            else:
                edges = (value / self.temperature).softmax(0).cumsum(0)
                pick = min(int((edges <= at * edges[-1]).sum()), len(below) - 1)
            node = int(below[pick])

    def _grown(self, target: Target, state: TreeState, nodes: list[int], stream: Stream) -> tuple[TreeState, Tensor]:
        """The tree with a walk from each of the nodes, and its new ends; walks at one level share its calls."""
        at = torch.tensor(nodes)
        begun, rows = state.level[at], at.to(state.x.device)
        x, x0 = state.x[rows], state.x0[rows]
        last = len(state.times) - 2
        for j in range(int(begun.min()), last + 1):
            on = (begun <= j).nonzero()[:, 0]
            ids, rows = on.tolist(), on.to(x.device)
            walk = stream.at(purpose=Purpose.WALK, draw=2 * j)
            if j == 0:
                x[rows] = target.prior.start(target.prior.noise(stream, ids))
            else:
                noise = fresh(target, walk.at(draw=2 * j - 1), ids, x)
                x[rows] = target.prior.move(x[rows], x0[rows], state.times[j - 1], state.times[j], noise)
            x0[rows] = target.denoise(x[rows], state.times[j], chance(target, walk, ids, x))
            new = len(state.parent) + torch.arange(len(on))
            same = torch.ones_like(on)
            low = torch.full((len(on),), -torch.inf, dtype=torch.float32)
            state = TreeState(
                state.times,
                torch.cat([state.x, x[rows]]),
                torch.cat([state.x0, x0[rows]]),
                torch.cat([state.parent, at[on]]),
                torch.cat([state.level, same * (j + 1)]),
                torch.cat([state.visits, same]),
                torch.cat([state.children, same * (j < last)]),
                torch.cat([state.value, low.double()]),
                torch.cat([state.reward, low]),
                state.round,
            )
            at = at.index_copy(0, on, new)
        return state, at

    def _told(self, state: TreeState, ends: Tensor) -> None:
        """The values above the ends; changes the state."""
        above = {int(state.parent[i]) for i in ends}
        while above:
            node = max(above, key=lambda i: int(state.level[i]))
            values = state.value[(state.parent == node).nonzero()[:, 0]] / self.temperature
            state.value[node] = self.temperature * (values.logsumexp(0) - math.log(len(values)))
            above.discard(node)
            if node:
                above.add(int(state.parent[node]))
