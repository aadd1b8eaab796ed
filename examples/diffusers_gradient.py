"""Follow the gradient of a differentiable score through the walk of a diffusers pipeline: here, a warmer picture.

    python examples/diffusers_gradient.py path/to/folder "a lighthouse at dusk" --out warm.png

The noise is what moves, and it stays on the sphere where noise of the model lies, so that the result is still a sample
the model would make. The folder is one saved by `pipe.save_pretrained`, with weights as safetensors.
"""

import argparse
import math

import torch
from PIL import Image

import elites as el


def warmth(images):
    """Red minus blue."""
    return (images[:, 0] - images[:, 2]).mean((1, 2))


def ascend(target, z, stream, rounds, rate):
    """Steps of fixed length along the gradient of the reward, each brought back to the norm of the first noise."""
    ids = range(len(z))
    norm = z.flatten(1).norm(dim=1).reshape(-1, *[1] * (z.ndim - 1))

    def value(z):
        return target.score(target.generate(z, stream, ids), stream, ids), None

    for i in range(rounds):
        rewards, _, gradient = target.grad(value, z)
        print(f"{i:3d}  reward {float(rewards.max()):+.4f}  {target.meter.nfe:6,d} network evaluations", flush=True)
        length = gradient.flatten(1).norm(dim=1).reshape(norm.shape)
        z = z + rate * norm * gradient / length.clamp(min=1e-12)
        z = z * norm / z.flatten(1).norm(dim=1).reshape(norm.shape)
    return target.evaluate(z, stream, ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("prompt")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.1, help="length of a step, as a part of the noise's norm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="warm.png")
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = el.priors.load_pipeline(options.folder, device=device)
    prior = el.priors.Diffusers.from_prompt(pipe, options.prompt, guidance_scale=5.0)
    target = el.Target(prior, warmth, walk=el.Plain(steps=options.steps), batch=1)
    stream = el.Stream(options.seed)
    best = ascend(target, prior.noise(stream, range(1)), stream, options.rounds, options.rate)
    typical = float(best.z.square().sum()) / math.prod(prior.shape)
    print(f"reward {float(best.reward):+.4f}, |z|^2/d {typical:.2f}, written to {options.out}")
    image = prior.decode(best.x)[0].permute(1, 2, 0).clamp(0, 1)
    Image.fromarray((image * 255).round().to(torch.uint8).cpu().numpy()).save(options.out)


if __name__ == "__main__":
    main()
