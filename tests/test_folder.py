"""Pipelines from local folders: the bits of those in memory, no code and no pickles of theirs, and the examples."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from pipelines import FAMILIES
from safetensors.torch import load_file
from test_cli import elites
from test_diffusers import build, latents, prior_of, walk

import elites as el
from elites.priors import Diffusers, load_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
CODE = """
import pathlib
pathlib.Path({ran!r}).touch()
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
class Mine(StableDiffusionPipeline): pass
class Net(UNet2DConditionModel): pass
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny Stable Diffusion in a folder, not to be written to."""
    folder = tmp_path_factory.mktemp("saved") / "sd"
    build("sd").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "sd"))


@pytest.mark.parametrize("name", ["sd", "sd3", "wan"])
def test_a_loaded_pipeline_gives_the_bits_of_the_one_in_memory(name, tmp_path):
    pipe = build(name)
    pipe.save_pretrained(tmp_path)
    priors = [prior_of(p, name) for p in (pipe, load_pipeline(tmp_path))]
    ours, theirs = (walk(prior, latents(prior, 2), 2) for prior in priors)
    assert torch.equal(ours, theirs)
    assert priors[0].shape == priors[1].shape
    parts = [part for part in priors[1].pipe.components.values() if isinstance(part, torch.nn.Module)]
    weights = [w for part in parts for w in [*part.parameters(), *part.buffers()]]
    assert not any(w.data_ptr() % 64 for w in weights), "aligned, or CPU kernels may take another path"
    if name == "sd3":
        assert priors[1].pipe.text_encoder_3 is None


def test_a_folder_is_a_prior_and_loads_in_the_precision_asked_for(saved):
    family = FAMILIES["sd"]
    prior = Diffusers.from_prompt(str(saved), family.prompt, **family.call)
    assert torch.equal(walk(prior, latents(prior, 1), 2), walk(prior_of(build("sd"), "sd"), latents(prior, 1), 2))
    pipe = load_pipeline(saved, dtype=torch.bfloat16)
    assert {p.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder) for p in part.parameters()} == {
        torch.bfloat16
    }
    assert not any(part.training for part in (pipe.unet, pipe.vae, pipe.text_encoder))


@pytest.mark.filterwarnings("error")
def test_loading_warns_of_nothing(saved):
    load_pipeline(saved)


def edit(folder, **changes):
    index = folder / "model_index.json"
    listed = json.loads(index.read_text()) | changes
    index.write_text(json.dumps({name: value for name, value in listed.items() if value is not None}))


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


BROKEN = {
    "no folder": (lambda d: shutil.rmtree(d), "There is no folder .*sd: give one saved by save_pretrained"),
    "no index": (lambda d: (d / "model_index.json").unlink(), "has no model_index.json: give a pipeline's folder"),
    "no JSON": (lambda d: (d / "model_index.json").write_text("{"), r"is no JSON \(.*\): save the pipeline again"),
    "no text": (
        lambda d: (d / "model_index.json").write_bytes(b"\xff"),
        r"is no JSON \(.*\): save the pipeline again",
    ),
    "a list": (
        lambda d: (d / "model_index.json").write_text("[1]"),
        "names no pipeline of diffusers: load it yourself",
    ),
    "no class": (lambda d: edit(d, _class_name=None), "names no pipeline of diffusers: load it yourself"),
    "an unknown class": (lambda d: edit(d, _class_name="Mine"), "could not be loaded.*: .*Mine"),
    "an unknown network": (lambda d: edit(d, unet=["diffusers", "Mine"]), "could not be loaded.*: .*Mine"),
    "a lost network": (lambda d: shutil.rmtree(d / "unet"), r"could not be loaded.*: .*config.json"),
    "lost weights": (lambda d: next((d / "unet").glob("*.safetensors")).unlink(), "could not be loaded.*safetensors"),
    "cut weights": (lambda d: cut(next((d / "unet").glob("*.safetensors"))), "could not be loaded.*: Unable to load"),
    "a cut encoder": (lambda d: cut(next((d / "text_encoder").glob("*.safetensors"))), "could not be loaded.*header"),
    "a broken tokenizer": (lambda d: (d / "tokenizer/tokenizer.json").write_text("{"), "could not be loaded"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_in_one_sentence(case, folder):
    break_it, words = BROKEN[case]
    break_it(folder)
    with pytest.raises(el.InputError, match=words) as error:
        load_pipeline(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_a_device_that_is_not_there_is_refused_before_loading(tmp_path):
    with pytest.raises(el.InputError, match="cuda:99"):
        load_pipeline(tmp_path, device="cuda:99")


class Bomb:
    """A pickle that leaves a file when it is read."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return Path.touch, (self.ran,)


def test_pickles_are_refused_and_not_read(folder, tmp_path):
    ran = tmp_path / "ran"
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        (folder / part / f"{name}.safetensors").unlink()
        for other in (f"{name}.bin", "pytorch_model.bin"):
            torch.save({"weight": Bomb(ran)}, folder / part / other)
    with pytest.raises(el.InputError, match=r"could not be loaded, as safetensors.*: .*safetensors"):
        load_pipeline(folder)
    assert not ran.exists()
    torch.load(folder / "unet" / "pytorch_model.bin", weights_only=False)
    assert ran.exists(), "the test can fail"


def test_weights_that_were_saved_as_pickles_are_refused(tmp_path):
    build("sd").save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.rglob("*.bin"))
    with pytest.raises(el.InputError, match=r"could not be loaded, as safetensors.*: .*safetensors"):
        load_pipeline(tmp_path)


FOREIGN = {
    "a pipeline of its own": ({"_class_name": ["pipeline", "Mine"]}, "pipeline.py"),
    "a network of its own": ({"unet": ["net", "Net"]}, "unet/net.py"),
    "a module beside it": ({"unet": ["net", "Net"]}, "net.py"),
    "a module named as the library": ({"unet": ["diffusers", "Net"]}, "unet/diffusers.py"),
    "a module of Python": ({"unet": ["this", "Net"]}, "unet/other.py"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_code_in_a_folder_is_refused_and_not_run(case, folder, tmp_path, monkeypatch):
    changes, file = FOREIGN[case]
    ran = tmp_path / "ran"
    edit(folder, **changes)
    (folder / file).write_text(CODE.format(ran=str(ran)))
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    with pytest.raises(el.InputError, match="load it yourself"):
        load_pipeline(folder)
    assert not ran.exists()
    assert not {"pipeline", "net", "this"} & (set(sys.modules) - before)


STUDY = """
import elites as el
prior = el.priors.Diffusers.from_prompt({folder!r}, "a red fox", guidance_scale=5.0)
target = el.Target(prior, lambda images: images.mean((1, 2, 3)), walk=el.Plain(steps=2), batch=4)
method = el.Elites(population=4)
budget = el.Budget(nfe=32)
probe = None
"""


def test_a_study_of_a_folder_runs_and_resumes(saved, tmp_path):
    (tmp_path / "study.py").write_text(STUDY.format(folder=str(saved)))
    _, out, _ = elites("run", "study.py", "--json", cwd=tmp_path, check=0, env=OFFLINE)
    result = json.loads(out)
    run = tmp_path / result["run"]
    assert load_file(run / "best.safetensors")["x"].shape[1:] == (4, 16, 16)
    assert (run / "report.html").exists()
    elites("resume", run, "--nfe", 48, cwd=tmp_path, check=0, env=OFFLINE)
    names = {}
    exec(STUDY.format(folder=str(saved)), names)
    whole = el.run(names["method"], names["target"], el.Budget(nfe=48), probe=None)
    best = load_file(run / "best.safetensors")
    assert torch.equal(best["x"], whole.samples.x)
    assert torch.equal(best["reward"], whole.samples.reward)


def test_the_example_without_gradients_runs(saved, tmp_path):
    env = OFFLINE | {"PIPELINE": str(saved), "STEPS": "2"}
    study = EXAMPLES / "diffusers_black_box.py"
    _, out, _ = elites("run", study, "--nfe", 400, "--json", cwd=tmp_path, check=0, env=env)
    result = json.loads(out)
    assert result["nfe"] <= 400
    assert result["failures"] == 0
    assert result["judge"] > 0
    assert (tmp_path / result["run"] / "report.html").exists()


def test_the_example_with_gradients_climbs_and_stays_on_its_sphere(saved, tmp_path):
    command = [sys.executable, EXAMPLES / "diffusers_gradient.py", saved, "a red fox", "--steps", "2", "--rounds", "2"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, **OFFLINE}
    )
    assert done.returncode == 0, done.stderr
    rewards = [float(v) for v in re.findall(r"reward ([+-][\d.]+)", done.stdout)]
    assert len(rewards) == 3
    assert sorted(rewards) == rewards
    assert rewards[-1] > rewards[0]
    prior = prior_of(build("sd"), "sd")
    typical = float(latents(prior, 1).square().mean())
    assert f"|z|^2/d {typical:.2f}" in done.stdout
    assert Image.open(tmp_path / "warm.png").size == (32, 32)
