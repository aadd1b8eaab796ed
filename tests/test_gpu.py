"""What has to hold on an accelerator; skipped where there is none."""

import pytest
import torch

import elites as el

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator"),
]


def target(device, batch=16):
    pytest.importorskip("diffusers")
    net = el.rewards.digits.classifier("reward").to(device)
    return el.Target(el.priors.digits(device=device), el.rewards.Margin(net, 3), walk=el.Plain(steps=10), batch=batch)


def test_the_same_seed_gives_the_same_bits():
    one, two = (el.run(el.Elites(), target("cuda"), el.Budget(nfe=2000), seed=3) for _ in range(2))
    assert torch.equal(one.best.x, two.best.x)
    assert torch.equal(one.state.law.mean, two.state.law.mean)


def test_a_candidate_has_the_same_bits_whatever_its_neighbours():
    t, stream = target("cuda"), el.Stream(5)
    z = t.prior.noise(stream, range(40))
    whole = t.generate(z, stream, range(40))
    for rows in (slice(0, 1), slice(3, 10), slice(16, 32), slice(39, 40)):
        assert torch.equal(t.generate(z[rows], stream, range(40)[rows])[0], whole[rows][0]) or torch.allclose(
            t.generate(z[rows], stream, range(40)[rows]), whole[rows], atol=1e-5
        )


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_micro_batch_changes_floats_by_rounding_alone(batch):
    stream = el.Stream(5)
    z = target("cuda").prior.noise(stream, range(64))
    one = target("cuda", 16).generate(z, stream, range(64))
    assert torch.allclose(target("cuda", batch).generate(z, stream, range(64)), one, atol=1e-5)


def test_the_device_agrees_with_the_cpu():
    stream = el.Stream(5)
    z = target("cpu").prior.noise(stream, range(16))
    assert torch.equal(z, target("cuda").prior.noise(stream, range(16)))
    here, there = (target(d).generate(z, stream, range(16)).cpu() for d in ("cpu", "cuda"))
    assert torch.allclose(here, there, atol=1e-3)


def test_samples_resume_on_the_device(tmp_path):
    t = target("cuda")
    count = iter(range(3))
    el.run(
        el.Elites(),
        t,
        el.Budget(nfe=2000),
        seed=3,
        on=[el.Checkpoint(tmp_path / "run", seconds=0)],
        stop=lambda: next(count, None) is None,
    )
    resumed = el.resume(tmp_path / "run", el.Elites(), target("cuda"))
    whole = el.run(el.Elites(), target("cuda"), el.Budget(nfe=2000), seed=3)
    assert torch.equal(resumed.best.x.cpu(), whole.best.x.cpu())


def test_running_out_of_memory_halves_the_batch():
    free, _ = torch.cuda.mem_get_info()

    def net(x, t):
        rows = len(x) * free // 5  # five rows do not fit
        return x + torch.empty(rows, dtype=torch.uint8, device=x.device)[:1].sum() * 0

    prior = el.priors.GaussianPrior(net, (4,), el.Flow(), el.Velocity(), device="cuda")
    t, stream = el.Target(prior, lambda x: x[:, 0], walk=el.Plain(steps=2), batch=8), el.Stream(0)
    with pytest.warns(UserWarning, match="Out of memory"):
        x = t.generate(prior.noise(stream, range(8)), stream, range(8))
    assert t.batch < 8
    assert x.shape == (8, 4)


@pytest.mark.parametrize("name", ["sd", "sdxl", "flux", "wan", "inpaint", "img2img"])
def test_a_pipeline_in_half_precision_agrees_with_the_cpu(name):
    from test_diffusers import build, latents, prior_of, walk

    there = prior_of(build(name).to("cuda", torch.float16), name)
    z = latents(there, 2)
    x = walk(there, z, decode=False)
    assert (x.device.type, x.dtype) == ("cuda", torch.float32)
    here = walk(prior_of(build(name), name), z, decode=False)
    assert float((x.cpu() - here).norm() / here.norm()) < 0.1
    assert torch.isfinite(there.decode(x).float()).all()
    assert there.check() < 0.01


def test_model_offload_stays_as_it_was():
    from test_diffusers import build, latents, prior_of, walk

    pipe = build("sd")
    pipe.enable_model_cpu_offload()
    prior = prior_of(pipe, "sd")
    z = latents(prior, 2)
    image = walk(prior, z)
    assert float((image.cpu() - walk(prior_of(build("sd"), "sd"), z)).abs().max()) < 1e-3
    assert len(pipe._all_hooks) > 0
    with pytest.raises(el.InputError, match="remove_all_hooks"):
        prior.denoise(prior.start(z).requires_grad_(), prior.grid(4)[1])
