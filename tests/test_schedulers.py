"""Diffusers schedulers read as schedules: levels, told times and whole walks next to `scheduler.step`."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch

from elites import DDIM, Flow, InputError, Table
from elites.kernel import Renoise
from elites.priors.schedulers import network_time, read, times

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# The schedulers compute in float32, ours in float64. The worst is Euler at zero terminal SNR, which starts at
# x / alpha = 4096 z, where the last bit is 2.4e-4 and stays while the noise falls; all others are below 2e-6.
ROUNDING = 2e-5
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
PLAIN = {"clip_sample": False}
DIVIDED = {"lower_order_final": False}
DPM = "DPMSolverMultistepScheduler"
UNIPC = "UniPCMultistepScheduler"
EULER = "EulerDiscreteScheduler"
FLOW = "FlowMatchEulerDiscreteScheduler"
FLOWS = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
EXPLODING = ("Euler", "Heun", "LMS")  # they carry x / alpha

# name: (class, configuration, steps, further arguments of set_timesteps)
FIRST_ORDER = {
    "ddim leading": ("DDIMScheduler", PLAIN | {"steps_offset": 1, "set_alpha_to_one": False} | SD, 10, {}),
    "ddim leading, 7 steps": ("DDIMScheduler", PLAIN, 7, {}),
    "ddim trailing": ("DDIMScheduler", PLAIN | {"timestep_spacing": "trailing"}, 10, {}),
    "ddim sample": (
        "DDIMScheduler",
        PLAIN | {"prediction_type": "sample", "beta_schedule": "squaredcos_cap_v2"},
        10,
        {},
    ),
    "ddim zero snr": ("DDIMScheduler", PLAIN | ZERO, 10, {}),
    "cogvideox zero snr": ("CogVideoXDDIMScheduler", ZERO | {"snr_shift_scale": 3.0}, 10, {}),
    "euler linspace": (EULER, {}, 10, {}),
    "euler linspace, close to the clean end": (EULER, {}, 400, {}),
    "euler leading": (EULER, {"timestep_spacing": "leading", "steps_offset": 1} | SD, 30, {}),
    "euler trailing, 7 steps": (EULER, {"timestep_spacing": "trailing"}, 7, {}),
    "euler karras": (EULER, {"use_karras_sigmas": True} | SD, 12, {}),
    "euler karras leading": (EULER, {"use_karras_sigmas": True, "timestep_spacing": "leading"} | SD, 12, {}),
    "euler karras, own range": (EULER, {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 9.0}, 12, {}),
    "euler exponential": (EULER, {"use_exponential_sigmas": True}, 12, {}),
    "euler beta": (EULER, {"use_beta_sigmas": True}, 12, {}),
    "euler sigma_min": (EULER, {"final_sigmas_type": "sigma_min"} | SD, 10, {}),
    "euler v": (EULER, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}, 10, {}),
    "euler sample": (EULER, {"prediction_type": "sample"}, 10, {}),
    "euler zero snr": (EULER, ZERO, 10, {}),
    "euler zero snr linspace": (EULER, ZERO | {"timestep_spacing": "linspace"}, 20, {}),
    "euler zero snr karras": (EULER, ZERO | {"use_karras_sigmas": True}, 20, {}),  # 4096 is not its table's largest
    "dpm++ 1": (DPM, {"solver_order": 1}, 11, {}),
    "dpm++ 1 trailing": (DPM, {"solver_order": 1, "timestep_spacing": "trailing"}, 7, {}),
    "dpm++ 1 karras": (DPM, {"solver_order": 1, "use_karras_sigmas": True} | SD, 12, {}),
    "dpm++ 1 exponential": (DPM, {"solver_order": 1, "use_exponential_sigmas": True}, 12, {}),
    "dpm++ 1 beta": (DPM, {"solver_order": 1, "use_beta_sigmas": True} | SD, 20, {}),  # 998 is told for 999 - 1e-5
    "dpm++ 1 lu": (DPM, {"solver_order": 1, "use_lu_lambdas": True}, 12, {}),
    "dpm++ 1 cosine karras": (
        DPM,
        {"solver_order": 1, "use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"},
        12,
        {},
    ),
    "dpm++ 1 sigma_min": (DPM, {"solver_order": 1, "final_sigmas_type": "sigma_min"}, 12, {}),
    "dpm 1": (DPM, {"solver_order": 1, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, 12, {}),
    "dpm++ 1 zero snr": (DPM, {"solver_order": 1} | ZERO, 10, {}),
    "dpm++ 1 flow": (DPM, {"solver_order": 1, "flow_shift": 3.0} | FLOWS, 11, {}),
    "unipc 1": (UNIPC, {"solver_order": 1, "disable_corrector": list(range(99))}, 11, {}),
    "flow euler": (FLOW, {}, 10, {}),
    "flow euler shift": (FLOW, {"shift": 3.0}, 28, {}),
    "flow euler dynamic": (FLOW, {"use_dynamic_shifting": True}, 10, {"mu": 0.9}),
    "flow euler custom": (FLOW, {"shift": 3.0}, None, {"sigmas": [1.0, 0.75, 0.5, 0.25]}),
    "flow euler terminal": (FLOW, {"shift_terminal": 0.1, "use_dynamic_shifting": True}, 10, {"mu": 2.0}),
    "flow euler karras": (FLOW, {"use_karras_sigmas": True}, 10, {}),
    "flow euler exponential": (FLOW, {"use_exponential_sigmas": True}, 10, {}),
    "flow euler beta": (FLOW, {"use_beta_sigmas": True}, 10, {}),
}
NOISY = {
    "ddpm": ("DDPMScheduler", PLAIN, 10, {}, DDIM(1.0)),
    "ddpm linspace, 7 steps": ("DDPMScheduler", PLAIN | {"timestep_spacing": "linspace"}, 7, {}, DDIM(1.0)),
    "ddpm trailing clip": (
        "DDPMScheduler",
        {"timestep_spacing": "trailing", "clip_sample_range": 0.8},
        7,
        {},
        DDIM(1.0),
    ),
    "ddpm zero snr": ("DDPMScheduler", PLAIN | ZERO, 10, {}, DDIM(1.0)),
    "ddpm custom": ("DDPMScheduler", PLAIN, None, {"timesteps": [900, 500, 450, 3]}, DDIM(1.0)),
    "euler ancestral": ("EulerAncestralDiscreteScheduler", SD, 10, {}, DDIM(1.0)),
    "euler ancestral leading": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "leading"}, 10, {}, DDIM(1.0)),
    "sde-dpm++ 1": (DPM, {"solver_order": 1, "algorithm_type": "sde-dpmsolver++"}, 10, {}, DDIM(1.0)),
    "lcm": ("LCMScheduler", {}, 4, {}, Renoise()),
    "lcm 1": ("LCMScheduler", {}, 1, {}, Renoise()),
    "lcm not to one": ("LCMScheduler", {"set_alpha_to_one": False, "original_inference_steps": 100}, 8, {}, Renoise()),
    "lcm clip": ("LCMScheduler", {"clip_sample": True, "timestep_scaling": 0.002}, 6, {}, Renoise()),
    "lcm zero snr": ("LCMScheduler", ZERO, 4, {}, Renoise()),
    "flow lcm": ("FlowMatchLCMScheduler", {"shift": 3.0}, 4, {}, Renoise()),
    "flow euler stochastic": (FLOW, {"shift": 3.0, "stochastic_sampling": True}, 8, {}, Renoise()),
}
HIGHER = {
    "heun": ("HeunDiscreteScheduler", {}, 10, {}),
    "heun karras clip": ("HeunDiscreteScheduler", {"use_karras_sigmas": True, "clip_sample": True}, 10, {}),
    "flow heun": ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}, 10, {}),
    "lms karras": ("LMSDiscreteScheduler", {"use_karras_sigmas": True}, 10, {}),
    "dpm++ 2": (DPM, {}, 10, {}),
    "dpm++ 2 karras": (DPM, {"use_karras_sigmas": True} | SD, 30, {}),
    "dpm++ 2 flow": (DPM, {"flow_shift": 3.0} | FLOWS, 20, {}),
    "dpm++ singlestep": ("DPMSolverSinglestepScheduler", {}, 10, {}),
    "unipc 2": (UNIPC, {}, 10, {}),
    "unipc 2 karras": (UNIPC, {"use_karras_sigmas": True}, 20, {}),
    "unipc 2 karras sigma_min": (UNIPC, {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}, 20, {}),
    "unipc 2 exponential": (UNIPC, {"use_exponential_sigmas": True}, 20, {}),
    "unipc 2 flow": (UNIPC, {"flow_shift": 5.0} | FLOWS, 20, {}),
    "unipc 2 flow karras": (UNIPC, {"use_karras_sigmas": True} | FLOWS, 20, {}),
    "unipc 2 flow dynamic": (UNIPC, {"use_dynamic_shifting": True} | FLOWS, 20, {"mu": 0.7}),
    "deis": ("DEISMultistepScheduler", {}, 10, {}),
    "deis karras": ("DEISMultistepScheduler", {"use_karras_sigmas": True}, 10, {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1} | SD, 10, {}),
}
if tuple(map(int, diffusers.__version__.split(".")[:2])) < (0, 37):
    del HIGHER["unipc 2 flow karras"]  # its levels were not those of a flow
EVERY = FIRST_ORDER | {name: row[:4] for name, row in NOISY.items()} | HIGHER


def made(kind, config, steps, more):
    scheduler = getattr(diffusers, kind)(**config)
    read_before = read(scheduler)
    scheduler.set_timesteps(steps, **more)
    return scheduler, read_before


def network(x, t):
    """A smooth function of what it is shown, of the size of noise."""
    return torch.sin(1.3 * x + 0.7) + 0.3 * x + torch.cos(t.to(x) / 150) / 2


def unit():
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(7))


def theirs(scheduler, count=None, **arguments):
    """The loop of a pipeline: every x, in the form of the scheduler."""
    x, xs = unit() * getattr(scheduler, "init_noise_sigma", 1.0), []
    if hasattr(scheduler, "set_begin_index"):  # or those that tell one time twice take the second for the first
        scheduler.set_begin_index(0)
    for t in scheduler.timesteps[:count]:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(network(seen, t), t, x, **arguments).prev_sample
        xs.append(x)
    return xs


def ours(levels, grid, dtype, kernel, generator=None):
    x, xs = levels.scale * unit().double(), []
    for t, s in pairwise(grid):
        y = network(x, network_time(levels, t, dtype))
        x0 = levels.predicts.x0(y, x, levels.schedule, t)
        x0 = x0 if levels.clip is None else x0.clamp(-levels.clip, levels.clip)
        a, b, c = kernel(levels.schedule, t, s)
        x = a * x + b * x0 + (c * torch.randn(x.shape, generator=generator) if kernel.noisy else 0)
        xs.append(x)
    return xs


def assert_walks_agree(scheduler, levels, grid, xs, wanted):
    assert len(xs) == len(wanted)
    for x, want, s in zip(xs, wanted, grid[1:], strict=True):
        if type(scheduler).__name__.startswith(EXPLODING):
            want = want.double() * levels.schedule(s)[0]
        assert (x - want).abs().max() <= ROUNDING * want.abs().max()


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_a_walk_equals_that_of_the_scheduler(name):
    scheduler, levels = made(*FIRST_ORDER[name])
    grid, dtype = times(scheduler), scheduler.timesteps.dtype
    assert levels.kernel == DDIM()
    assert_walks_agree(scheduler, levels, grid, ours(levels, grid, dtype, levels.kernel), theirs(scheduler))


@pytest.mark.parametrize("name", NOISY)
def test_a_noisy_walk_equals_that_of_the_scheduler(name):
    *row, kernel = NOISY[name]
    scheduler, levels = made(*row)
    grid, dtype = times(scheduler), scheduler.timesteps.dtype
    assert isinstance(levels.kernel, type(kernel))
    xs = ours(levels, grid, dtype, kernel, torch.Generator().manual_seed(3))
    with torch.random.fork_rng(devices=[]):  # FlowMatchEuler before diffusers 0.39 draws from this one only
        wanted = theirs(scheduler, generator=torch.default_generator.manual_seed(3))
    assert_walks_agree(scheduler, levels, grid, xs, wanted)


@pytest.mark.parametrize("name", HIGHER)
def test_the_first_step_equals_that_of_a_scheduler_of_higher_order(name):
    scheduler, levels = made(*HIGHER[name])
    grid, dtype = times(scheduler)[:2], scheduler.timesteps.dtype
    assert_walks_agree(scheduler, levels, grid, ours(levels, grid, dtype, DDIM()), theirs(scheduler, 1))


@pytest.mark.parametrize("name", EVERY)
def test_levels_and_told_times_are_those_of_the_scheduler(name):
    scheduler, levels = made(*EVERY[name])
    grid, told = times(scheduler), scheduler.timesteps
    if "heun" in name or name == "pndm":
        told = told.unique_consecutive()
    alpha, sigma = levels.schedule(grid)
    if not hasattr(scheduler, "sigmas"):
        assert torch.allclose(alpha[:-1] ** 2, scheduler.alphas_cumprod.double()[told], rtol=1e-12, atol=0)
    elif isinstance(levels.schedule, Flow):
        assert torch.allclose(sigma, scheduler.sigmas.double().unique_consecutive(), rtol=1e-6, atol=0)
    else:
        wanted = scheduler.sigmas.double()
        wanted = wanted.unique_consecutive() if "heun" in name else wanted
        assert torch.allclose(sigma / alpha, wanted, rtol=1e-5, atol=0)
    assert grid.dtype == torch.float64
    assert (grid.diff() < 0).all()
    off = 1e-6 if told.is_floating_point() else 0
    # a prior casts times to the type of x; the first level of the cosine table is too steep to say 998 for 998.9999997
    for cast in (torch.float64, torch.float32)[: 1 if "cosine karras" in name else 2]:
        torch.testing.assert_close(network_time(levels, grid[:-1].to(cast), told.dtype), told, rtol=off, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_reading_changes_nothing_and_does_not_depend_on_the_steps_set(name):
    kind, config, steps, more = EVERY[name]
    scheduler = getattr(diffusers, kind)(**config)
    fresh = read(scheduler)
    scheduler.set_timesteps(steps, **more)
    before = copy.deepcopy(scheduler.__dict__)
    again, grid = read(scheduler), times(scheduler)
    assert str(scheduler.__dict__) == str(before)
    assert all(torch.equal(v, before[k]) for k, v in scheduler.__dict__.items() if isinstance(v, torch.Tensor))
    assert (fresh.predicts, fresh.kernel, fresh.clip) == (again.predicts, again.kernel, again.clip)
    assert fresh.scale == again.scale
    assert torch.equal(times(scheduler), grid)
    if isinstance(fresh.schedule, Table) and steps and steps > 1:
        assert torch.equal(pickle.loads(pickle.dumps(fresh)).schedule.times(steps), grid)


@pytest.mark.parametrize(
    "name", ["ddim leading", "euler karras", "heun", "lms karras", "flow euler shift", "lcm", "pndm"]
)
@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_image_to_image_walks_the_rest_of_the_times(name, skipped):
    scheduler, _ = made(*EVERY[name])
    whole = times(scheduler)
    order = 2 if name == "heun" else 1
    rest = times(scheduler, scheduler.timesteps[skipped * order :])
    # the second time of PNDM is asked twice
    assert torch.equal(rest, whole[skipped - (name == "pndm" and skipped > 1) :])
    if order == 1:
        assert torch.equal(times(scheduler, scheduler.timesteps[:3])[-1], whole[3 - (name == "pndm")])
    for wrong in (scheduler.timesteps.flip(0), scheduler.timesteps[:0], scheduler.timesteps + 1):
        with pytest.raises(InputError, match=r"give a part of scheduler\.timesteps"):
            times(scheduler, wrong)


@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 7), ("linspace", 10)])
def test_ddim_of_diffusers_steps_past_its_own_next_time(spacing, steps):
    """The difference that the module states: told times agree, levels after a step do not."""
    scheduler, levels = made("DDIMScheduler", PLAIN | {"timestep_spacing": spacing}, steps, {})
    grid, wanted = times(scheduler), theirs(scheduler)
    assert torch.equal(grid[:-1], scheduler.timesteps.double())
    x = unit().double()
    for t, want in zip(grid[:-1], wanted, strict=True):
        s = (t - 1000 // steps).clamp(min=-1)
        x0 = levels.predicts.x0(network(x, t), x, levels.schedule, t)
        a, b, _ = DDIM()(levels.schedule, t, s)
        x = a * x + b * x0
        assert (x - want).abs().max() <= ROUNDING * want.abs().max()
    assert (ours(levels, grid, torch.int64, DDIM())[0] - wanted[0]).abs().max() > 1e-3
