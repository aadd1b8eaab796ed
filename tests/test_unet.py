"""Priors from diffusers, on tiny random networks built from configs."""

import sys

import pytest
import torch
from helpers import bits, on

from elites import DDIM, Budget, Elites, InputError, Plain, Stream, Target, run
from elites.kernel import Renoise
from elites.priors import digits, from_unet
from elites.stream import Purpose

diffusers = pytest.importorskip("diffusers")
IDS, KEY = range(3), Stream(4)


def tiny(**changes):
    config = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**config | changes)


@pytest.fixture(scope="module")
def unet():
    return tiny()


@pytest.fixture(scope="module")
def classes():
    return tiny(num_class_embeds=3)


def walked(prior, steps=10):
    return Target(prior, len, walk=Plain(steps=steps), batch=3).generate(prior.noise(KEY, IDS), KEY, IDS)


def loop(unet, scheduler, x, steps, labels=None, **step):
    """Sampling as a pipeline of diffusers does it."""
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = unet(x, t, class_labels=labels).sample
            x = scheduler.step(out, t, x, **step).prev_sample
    return x


def assert_equal(a, b):
    assert torch.isfinite(a).all()
    assert (a - b).abs().max() <= 1e-5 * max(1, float(b.abs().max()))


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(("offset", "to_one"), [(0, True), (1, False)])
def test_a_deterministic_walk_equals_ddim_of_diffusers(unet, spacing, predicts, clip, offset, to_one):
    scheduler = diffusers.DDIMScheduler(
        timestep_spacing=spacing,
        prediction_type=predicts,
        clip_sample=clip,
        clip_sample_range=1.5,
        steps_offset=offset,
        set_alpha_to_one=to_one,
    )
    prior = from_unet(unet, scheduler)
    start = prior.start(prior.noise(KEY, IDS))
    # a clean guess that was clipped is used as such, as for DDPM, also for the direction of the step
    want = loop(unet, scheduler, start, 10, use_clipped_model_output=True)
    assert_equal(walked(prior), want)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("clip", [True, False])
def test_a_noisy_walk_equals_ddpm_of_diffusers(unet, spacing, predicts, clip, monkeypatch):
    scheduler = diffusers.DDPMScheduler(timestep_spacing=spacing, prediction_type=predicts, clip_sample=clip)
    prior = from_unet(unet, scheduler, kernel=DDIM(1.0))
    draws = iter(range(1, 100, 2))  # a level draws noise for its clean guess, then for its move
    noise = lambda *_, **__: KEY.at(purpose=Purpose.WALK, draw=next(draws)).normal(IDS, prior.shape)
    monkeypatch.setattr(sys.modules["diffusers.schedulers.scheduling_ddpm"], "randn_tensor", noise)
    want = loop(unet, scheduler, prior.start(prior.noise(KEY, IDS)), 10)
    assert_equal(walked(prior), want)


@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_walk_starts_at_unit_noise_whatever_the_spacing(unet, spacing, beta_schedule):
    prior = from_unet(unet, diffusers.DDIMScheduler(timestep_spacing=spacing, beta_schedule=beta_schedule))
    z = prior.noise(KEY, IDS)
    assert torch.allclose(prior.start(z), z, rtol=1e-4)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 3, 7, 30, 200])
def test_the_grid_is_that_of_the_scheduler(unet, spacing, steps):
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing)
    grid = from_unet(unet, scheduler).grid(steps)
    scheduler.set_timesteps(steps)
    assert grid[-1] == -1
    assert len(grid) == steps + 1
    assert steps == 1 or grid[:-1].tolist() == scheduler.timesteps.tolist()
    assert grid[0] == 999 if steps == 1 else True
    scheduler.set_timesteps(5)  # the prior has a copy of its own
    assert len(from_unet(unet, scheduler).grid(steps)) == steps + 1
    assert len(scheduler.timesteps) == 5


def test_a_label_reaches_the_network(classes):
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing", prediction_type="v_prediction", clip_sample=False)
    results = []
    for label in range(3):
        prior = from_unet(classes, scheduler, label=label)
        start = prior.start(prior.noise(KEY, IDS))
        assert_equal(walked(prior), loop(classes, scheduler, start, 10, torch.full((3,), label)))
        results.append(walked(prior))
    assert not torch.allclose(results[0], results[1])


@pytest.mark.parametrize("label", [None, 2])
def test_a_saved_and_loaded_network_gives_the_same_bits(unet, classes, label, tmp_path):
    net = unet if label is None else classes
    scheduler = diffusers.DDPMScheduler(timestep_spacing="trailing")
    here = walked(from_unet(net, scheduler, label=label))
    net.save_pretrained(tmp_path / "unet")
    scheduler.save_pretrained(tmp_path / "scheduler")
    as_pipeline = from_unet(tmp_path, label=label)
    apart = from_unet(str(tmp_path / "unet"), str(tmp_path / "scheduler"), label=label)
    assert bits(walked(as_pipeline)) == bits(walked(apart)) == bits(here)


def test_a_candidate_has_the_same_bits_alone_and_in_a_crowd(unet):
    prior = from_unet(unet, diffusers.DDIMScheduler(timestep_spacing="trailing", prediction_type="v_prediction"))
    target, z = on(prior, batch=4), prior.noise(KEY, range(9))
    whole = target.generate(z, KEY, range(9))
    for i in (0, 3, 8):
        assert bits(target.generate(z[i : i + 1], KEY, [i])) == bits(whole[i : i + 1])


def test_weights_take_no_gradients_and_the_decoder_gives_images(unet):
    prior = from_unet(unet, diffusers.DDIMScheduler())
    assert not any(p.requires_grad for p in prior.module().parameters())
    assert prior.decode(torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 0.5, 1, 1]
    assert prior.shape == (1, 8, 8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("FlowMatchEulerDiscreteScheduler", "no table of alphas"),
        ("EDMEulerScheduler", "no table of alphas"),
        ("KDPM2DiscreteScheduler", "does not go down from level to level: give DDIMScheduler.from_config"),
        ("PNDMScheduler", "does not go down from level to level"),
    ],
)
def test_schedulers_of_another_kind_are_refused(unet, name, why, tmp_path):
    scheduler = getattr(diffusers, name)()
    with pytest.raises(InputError, match=f"^{name}.*{why}"):
        from_unet(unet, scheduler)
    scheduler.save_pretrained(tmp_path)
    if "alphas" in why:
        with pytest.raises(InputError, match="no table of alphas"):
            from_unet(unet, tmp_path)
    else:  # the noise levels are those of DDPM, so a folder can be read
        assert from_unet(unet, tmp_path).grid(4)[-1] == -1


@pytest.mark.parametrize(
    ("config", "why"),
    [({"thresholding": True}, "dynamic thresholding"), ({"rescale_betas_zero_snr": True}, "zero terminal SNR")],
)
def test_schedulers_that_change_the_law_are_refused(unet, config, why):
    with pytest.raises(InputError, match=why):
        from_unet(unet, diffusers.DDIMScheduler(**config))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "changes", [{}, {"use_karras_sigmas": True}, {"timestep_spacing": "leading"}, {"prediction_type": "v_prediction"}]
)
def test_a_walk_equals_euler_of_diffusers(unet, changes):
    scheduler = diffusers.EulerDiscreteScheduler(**changes)
    prior = from_unet(unet, scheduler)
    scheduler.set_timesteps(10)
    x = prior.start(prior.noise(KEY, IDS)) * (scheduler.sigmas[0] ** 2 + 1) ** 0.5  # it carries x / alpha
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = unet(scheduler.scale_model_input(x, t), t).sample
            x = scheduler.step(out, t, x).prev_sample
    assert_equal(walked(prior), x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_walk_equals_dpm_solver_of_first_order_with_karras_levels(unet):
    scheduler = diffusers.DPMSolverMultistepScheduler(solver_order=1, use_karras_sigmas=True)  # told times are rounded
    prior = from_unet(unet, scheduler)
    assert_equal(walked(prior), loop(unet, scheduler, prior.start(prior.noise(KEY, IDS)), 10))


def test_a_consistency_model_renoises_its_guess(unet):
    scheduler = diffusers.LCMScheduler()
    prior = from_unet(unet, scheduler)
    assert prior.kernel == Renoise()
    z = prior.noise(KEY, IDS)
    assert_equal(walked(prior, 1), loop(unet, scheduler, prior.start(z), 1))
    with pytest.raises(InputError, match="LCMScheduler does not take 60 steps: ask for fewer"):
        prior.grid(60)


def test_zero_terminal_snr_works_with_v_prediction(unet):
    scheduler = diffusers.DDIMScheduler(
        rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False
    )
    prior = from_unet(unet, scheduler)
    want = loop(unet, scheduler, prior.noise(KEY, IDS), 10)
    assert_equal(walked(prior), want)


def test_what_is_missing_is_said_in_one_sentence(unet, classes, tmp_path):
    (tmp_path / "empty").mkdir()
    unet.save_pretrained(tmp_path / "alone")
    scheduler = diffusers.DDIMScheduler()
    for arguments, why in (
        ((tmp_path / "none",), "There is no folder"),
        ((tmp_path / "empty",), "has no config.json"),
        ((tmp_path / "alone",), "give the scheduler that the network was trained with"),
        ((unet,), "give the scheduler that the network was trained with"),
        ((unet, tmp_path / "empty"), "has no scheduler_config.json"),
    ):
        with pytest.raises(InputError, match=why):
            from_unet(*arguments)
    with pytest.raises(InputError, match="knows no classes"):
        from_unet(unet, scheduler, label=0)
    for label in (None, -1, 3):
        with pytest.raises(InputError, match="give label= from 0 to 2, not"):
            from_unet(classes, scheduler, label=label)
    for steps in (0, 1001):
        with pytest.raises(InputError, match="ask for 1 to 1000 steps"):
            from_unet(unet, scheduler).grid(steps)


def test_without_diffusers_the_extra_to_install_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for load in (lambda: from_unet(tmp_path), digits):
        with pytest.raises(ImportError, match=r"pip install 'elites\[diffusers\]'"):
            load()


def test_a_network_that_predicts_its_variance_is_refused():
    with pytest.raises(InputError, match="variance too"):
        from_unet(tiny(out_channels=2), diffusers.DDIMScheduler())


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_micro_batch_changes_a_search_on_digits_by_rounding_alone(batch):
    def found(rows):
        target = Target(digits(), lambda images: images[:, 0, 2:6, 4].mean(1), walk=Plain(steps=10), batch=rows)
        return run(Elites(), target, Budget(steps=3), seed=4, probe=None)

    one, other = found(8), found(batch)
    assert torch.equal(one.samples.keys, other.samples.keys)
    assert torch.allclose(one.samples.z, other.samples.z, atol=1e-5)
    assert torch.allclose(one.samples.x, other.samples.x, atol=1e-5)
    assert torch.allclose(one.samples.reward, other.samples.reward, atol=1e-5)
