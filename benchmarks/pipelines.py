"""What a diffusers pipeline costs through `Diffusers`, above its network.

By default on this machine's CPU with tiny random models: the time of one `denoise` above the network's bare call, with
the network stubbed, and a whole walk over the same walk written as a bare loop around network and scheduler. With
`--full`, on a GPU: random models of the size of Stable Diffusion 1.5 and SDXL in half precision.

    python -m benchmarks.pipelines
    python -m benchmarks.pipelines --full
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elites as el

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # the tiny pipelines of the tests
CANDIDATES, STEPS = 16, 10


def prior_of(name: str) -> tuple[Any, el.priors.Diffusers]:
    """A tiny pipeline and its prior."""
    from pipelines import FAMILIES

    family = FAMILIES[name]
    pipe = family.build()
    return pipe, el.priors.Diffusers.from_prompt(pipe, family.prompt, **family.call)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Wall time of one call, the mean over `repeats`."""
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def above_the_stub(name: str, rounds: int) -> list[float]:
    """Milliseconds of one `denoise` above the bare call of a network that returns at once, one figure a round."""
    pipe, prior = prior_of(name)
    net = getattr(pipe, "unet", None) or pipe.transformer
    x = prior.start(prior.noise(el.Stream(0), range(CANDIDATES)))
    t = prior.grid(STEPS)[1]
    returned: list[Any] = []
    hook = net.register_forward_hook(lambda module, arguments, out: returned.append(out))
    with torch.no_grad():
        prior.denoise(x, t)
        hook.remove()
        net.forward = lambda *_, **__: returned[0]
        return [1000 * (seconds(lambda: prior.denoise(x, t), 50) - seconds(lambda: net(x), 50)) for _ in range(rounds)]


def bare_loop(pipe: Any, z: Tensor, embeds: tuple[Tensor, Tensor], scale: float) -> Tensor:
    """Guided DDIM around the network, as one writes it by hand."""
    pipe.scheduler.set_timesteps(STEPS)
    text = torch.cat([e.expand(len(z), *e.shape[1:]) for e in reversed(embeds)])
    x = z
    for t in pipe.scheduler.timesteps:
        without, with_prompt = pipe.unet(torch.cat([x, x]), t, encoder_hidden_states=text, return_dict=False)[0].chunk(
            2
        )
        x = pipe.scheduler.step(without + scale * (with_prompt - without), t, x, return_dict=False)[0]
    return x


def over_the_bare_loop(pairs: int) -> list[float]:
    """Wall time of our walk over that of the bare loop, pair by pair, in alternating order."""
    pipe, prior = prior_of("sd")
    target = el.Target(prior, lambda images: images.mean((1, 2, 3)), walk=el.Plain(steps=STEPS), batch=CANDIDATES)
    ids, stream = range(CANDIDATES), el.Stream(0)
    z = prior.noise(stream, ids)
    with torch.no_grad():
        embeds = pipe.encode_prompt(prior.call["prompt"], "cpu", 1, True)
        jobs = [lambda: target.generate(z, stream, ids), lambda: bare_loop(pipe, z, embeds, 5.0)]
        ours, theirs = (job() for job in jobs)
        difference = float((ours - theirs).abs().max() / theirs.abs().max())
        assert difference < 1e-4, difference
        ratios = []
        for i in range(pairs):
            times = {j: seconds(jobs[j], 1) for j in ((0, 1) if i % 2 else (1, 0))}
            ratios.append(times[0] / times[1])
    return ratios


def full(name: str, batch: int, rounds: int) -> dict[str, float]:
    """Wall over network time, memory and candidates per second of a random model of real size, on a GPU."""
    from .full_size import on_gpu

    pipe = on_gpu(name)
    prior = el.priors.Diffusers.from_prompt(pipe, "a lighthouse at dusk", guidance_scale=5.0)
    spent = [0.0]
    net, forward = pipe.unet, pipe.unet.forward

    def timed(*arguments: Any, **options: Any) -> Any:
        torch.cuda.synchronize()
        began = time.perf_counter()
        out = forward(*arguments, **options)
        torch.cuda.synchronize()
        spent[0] += time.perf_counter() - began
        return out

    net.forward = timed
    target = el.Target(prior, lambda images: images.float().mean((1, 2, 3)), walk=el.Plain(steps=STEPS), batch=batch)
    target.decode_batch = min(batch, 4)
    ids, stream = range(batch), el.Stream(0)
    target.generate(prior.noise(stream, ids), stream, ids)
    torch.cuda.reset_peak_memory_stats()
    spent[0] = 0.0
    wall = seconds(lambda: target.generate(prior.noise(stream, ids), stream, ids), rounds)
    network = spent[0] / rounds
    scored = seconds(lambda: target.evaluate(prior.noise(stream, ids), stream, ids), rounds)
    return {
        "wall / network": wall / network,
        "peak GiB": torch.cuda.max_memory_allocated() / 2**30,
        "candidates / s": batch / scored,
        "parameters in 1e6": sum(p.numel() for p in net.parameters()) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--full", action="store_true", help="models of real size, on a GPU")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    if args.full:
        from .full_size import PIPELINES

        for name in PIPELINES:
            found[name] = full(name, args.batch, 3)
            print(name, ", ".join(f"{k} {v:,.3f}" for k, v in found[name].items()))
    else:
        torch.set_num_threads(1)
        for name in ("sd", "sdxl", "sd3", "flux", "wan", "cogvideox"):
            low, middle, high = statistics.quantiles(above_the_stub(name, args.pairs), n=4)
            found[f"{name}: ms above the stub"] = {"median": middle, "quartiles": [low, high]}
            print(f"{name:10s} {middle:.2f} ms above the stubbed network (quartiles {low:.2f} to {high:.2f})")
        low, middle, high = statistics.quantiles(over_the_bare_loop(args.pairs), n=4)
        found["walk over bare loop"] = {"median": middle, "quartiles": [low, high], "pairs": args.pairs}
        print(f"walk over bare loop, {CANDIDATES} candidates: {middle:.3f} (quartiles {low:.3f} to {high:.3f})")
    if args.out:
        args.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
