"""Search over the noise injected at every level, near the best one or anywhere, on the flow of 64 modes."""

import elites as el
from benchmarks.reproduce.table import head, row
from benchmarks.steering import flow, to_modes, to_point

STEPS, SEEDS = 18, range(200, 216)


def trajectories() -> None:
    print(f"{STEPS} steps; seeds 200 to 215; 80 candidates a level are 1,440 evaluations\n")
    plans = ((5, 4), (10, 4), (20, 4))
    head("method", *(f"{r * c} a level: {what}" for r, c in plans for what in ("best", "modes")))
    for name, epsilon in (
        ("best of N, ODE", None),
        ("best of all at every level, epsilon = 1", 1.0),
        ("epsilon = 0.4", 0.4),
        ("near the best alone, epsilon = 0", 0.0),
    ):
        columns: list[list[float]] = []
        for rounds, candidates in plans:
            nfe = STEPS * rounds * candidates
            best, far = [], []
            for seed in SEEDS:
                prior = flow()[0]
                method = el.RandomSearch(10)
                if epsilon is not None:
                    prior = el.priors.Reschedule(prior, el.Flow(), el.DDIM(1.0))
                    method = el.TrajectorySearch(1, STEPS, rounds, candidates, epsilon)
                target = el.Target(prior, to_point, walk=el.Plain(steps=STEPS), batch=64)
                found = el.run(method, target, el.Budget(nfe=nfe), seed, probe=None).best
                best.append(float(found.reward))
                far.append(float(to_modes(found.x)))
            columns += [best, far]
        row(name, *columns)
