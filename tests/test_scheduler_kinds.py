"""What a diffusers scheduler says of its network, and the schedulers that no schedule of ours can say."""

import pytest
import torch
from test_schedulers import DPM, EULER, FLOW, FLOWS, UNIPC, unit

from elites import InputError
from elites.priors.schedulers import Consistency, read, times
from elites.schedule import X0, Eps, V, Velocity

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_what_a_scheduler_says_is_read():
    read_as = lambda kind, **config: read(getattr(diffusers, kind)(**config))
    kinds = {"epsilon": Eps(), "v_prediction": V(), "sample": X0()}
    for name, predicts in kinds.items():
        assert read_as("DDPMScheduler", prediction_type=name).predicts == predicts
        assert read_as("LCMScheduler", prediction_type=name, timestep_scaling=5.0).predicts == Consistency(
            predicts, 5.0
        )
    assert read_as(FLOW).predicts == read_as(UNIPC, **FLOWS).predicts == Velocity()
    assert read_as("LCMScheduler", clip_sample=True).predicts.clip == 1.0  # of the guess before its mixture with x
    assert read_as("DDPMScheduler", clip_sample_range=2.0).clip == 2.0
    assert read_as("HeunDiscreteScheduler", clip_sample=True).clip == 1.0
    assert read_as("CogVideoXDDIMScheduler", clip_sample=True).clip is None  # takes the option and does not clip
    # an option that came along from another class does nothing
    clipping = diffusers.DDIMScheduler(thresholding=True, clip_sample=True).config
    assert read(diffusers.EulerDiscreteScheduler.from_config(clipping)).clip is None


def test_a_consistency_guess_is_x_itself_at_the_clean_end_and_inverts():
    levels = read(diffusers.LCMScheduler())
    x, x0, t = unit().double(), unit().double().flip(0), torch.tensor(0.01, dtype=torch.float64)
    predicts = Consistency(X0())
    assert torch.equal(predicts.x0(x0, x, levels.schedule, 0 * t), x)
    far = torch.tensor(259.0, dtype=torch.float64)
    for inner, at in ((X0(), t), (Eps(), far), (V(), far)):
        predicts = Consistency(inner)
        y = predicts.of(x0, x, levels.schedule, at)
        assert torch.allclose(predicts.x0(y, x, levels.schedule, at), x0, rtol=1e-9, atol=1e-9)


DOWN = "does not go down from level to level: give DDIMScheduler.from_config"


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        ("KDPM2DiscreteScheduler", {}, DOWN),
        ("KDPM2AncestralDiscreteScheduler", {}, DOWN),
        ("PNDMScheduler", {}, DOWN),
        ("DDIMInverseScheduler", {}, DOWN),
        ("DPMSolverMultistepInverseScheduler", {}, DOWN),
        ("RePaintScheduler", {}, "needs more than x and a time"),
        ("FlowMapEulerDiscreteScheduler", {}, "needs more than x and a time"),
        ("TCDScheduler", {}, "draws noise by a rule of its own: give DDIMScheduler.from_config"),
        ("EDMEulerScheduler", {}, "no table of alphas: use GaussianPrior"),
        ("EDMDPMSolverMultistepScheduler", {}, "no table of alphas"),
        ("CMStochasticIterativeScheduler", {}, "no table of alphas"),
        ("SCMScheduler", {}, "no table of alphas"),
        ("IPNDMScheduler", {}, "no table of alphas"),
        ("ScoreSdeVeScheduler", {}, "no table of alphas"),
        (EULER, {"interpolation_type": "log_linear"}, DOWN),
        (EULER, {"timestep_type": "continuous", "prediction_type": "v_prediction"}, "other times than"),
        (EULER, {"use_karras_sigmas": True, "sigma_max": 500.0}, "other times than those of its levels"),
        (FLOW, {"invert_sigmas": True}, "does not go by sigma from 1 to 0: use GaussianPrior with predicts=Velocity"),
        (UNIPC, {"use_exponential_sigmas": True} | FLOWS, "does not go by sigma from 1 to 0"),
        (DPM, {"prediction_type": "flow_prediction"}, "prediction_type that is not known on its levels"),
        (DPM, {"use_flow_sigmas": True}, "prediction_type that is not known on its levels"),
        ("DDIMScheduler", {"prediction_type": "score"}, "prediction_type that is not known on its levels"),
        ("DDIMScheduler", {"thresholding": True}, "dynamic thresholding, which changes the law: turn it off"),
        ("LCMScheduler", {"rescale_betas_zero_snr": True}, "zero terminal SNR.*use v-prediction"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(kind, config, why):
    if not hasattr(diffusers, kind):
        pytest.skip(f"diffusers {diffusers.__version__} has no {kind}")
    with pytest.raises(InputError, match=f"{kind}.*{why}.*[.]$"):
        read(getattr(diffusers, kind)(**config))


def test_times_need_steps_within_the_table():
    for kind in ("DDIMScheduler", EULER, FLOW):
        with pytest.raises(InputError, match="call its set_timesteps"):
            times(getattr(diffusers, kind)())
    scheduler = diffusers.DDIMScheduler(steps_offset=1)
    scheduler.set_timesteps(1000)
    with pytest.raises(InputError, match="starts above its table of 1000 levels: take fewer steps"):
        times(scheduler)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1.0, 0.5])
    scheduler.timesteps = torch.tensor([1000.0, 400.0])
    with pytest.raises(InputError, match="tells the network other times than those of its levels: use GaussianPrior"):
        times(scheduler)
