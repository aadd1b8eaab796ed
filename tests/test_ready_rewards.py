"""Ready rewards without weights of their own: file sizes, a class, and the adapters of preference models."""

import importlib.machinery
import io
import math
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from helpers import normal
from PIL import Image

from elites import Budget, InputError, RandomSearch, RewardError, Stream, Target, run
from elites.priors import OneStep
from elites.rewards import preference
from elites.rewards.classifier import LogProbability
from elites.rewards.images import JPEGSize, PNGSize, picture
from elites.rewards.preference import HPS, ImageReward


def images(n=5, channels=3, side=16):
    return torch.sigmoid(2 * normal(n, channels, side, side)).float()


def size(image, *encoding, **options):
    """Kilobytes of an image `(C, H, W)`, by a way of its own."""
    grey = np.rint(image.numpy().astype(np.float32) * np.float32(255)).astype(np.uint8)
    one = Image.fromarray(grey[0]) if len(grey) == 1 else Image.merge("RGB", [Image.fromarray(c) for c in grey])
    file = io.BytesIO()
    one.save(file, *encoding, **options)
    return len(file.getvalue()) / 1000


# sizes


@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_are_minus_the_kilobytes_of_the_file(channels):
    x = images(channels=channels)
    assert JPEGSize()(x) == [-size(image, "JPEG", quality=95) for image in x]
    assert JPEGSize(quality=30)(x) == [-size(image, "JPEG", quality=30) for image in x]
    assert PNGSize()(x) == [-size(image, "PNG") for image in x]
    assert JPEGSize(30)(x) > JPEGSize(95)(x)


def test_channels_keep_their_order():
    x = images(1)
    x[:, 2] = 0.5  # flat blue and noisy red: JPEG keeps them unequally well
    assert JPEGSize()(x) != JPEGSize()(x.flip(1))
    assert JPEGSize()(x.flip(1)) == [-size(x[0].flip(0), "JPEG", quality=95)]


@pytest.mark.parametrize("reward", [JPEGSize(), PNGSize()])
def test_flat_images_compress_best_and_a_batch_is_its_singles(reward):
    x = images(4)
    x[2] = 0.3
    values = reward(x)
    assert np.argmax(values) == 2
    assert values == [reward(image[None])[0] for image in x]
    assert reward(x.flip(0)) == values[::-1]
    assert reward(x.numpy()) == reward(x.requires_grad_()) == values


def test_pixels_are_rounded_to_bytes_and_clipped():
    x = torch.tensor([[[-9.0, 0.2, 0.2 + 0.4 / 255, 0.2 + 0.6 / 255, 1.0, 7.0]]])
    assert np.asarray(picture(x)).tolist() == [[0, 51, 51, 52, 255, 255]]
    colours = torch.tensor([0.0, 0.2, 1.0]).reshape(3, 1, 1).expand(3, 2, 1)
    assert np.asarray(picture(colours)).tolist() == [[[0, 51, 255]]] * 2


def test_an_image_with_a_hole_fails_alone():
    x = images(3)
    x[1, 0, 2, 2] = math.nan
    first, failed, last = JPEGSize()(x)
    assert "not finite" in str(failed)
    assert [first, last] == JPEGSize()(x[[0, 2]])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: JPEGSize(0), "from 1 to 100"),
        (lambda: JPEGSize(50.5), "from 1 to 100"),
        (lambda: JPEGSize()(torch.zeros(3, 8, 8)), r"shape \(3, 8, 8\): give \(B, 3 or 1, H, W\)"),
        (lambda: PNGSize()(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), "uint8"),
        (lambda: PNGSize()(torch.zeros(2, 4, 8, 8)), r"shape \(2, 4, 8, 8\)"),
        (lambda: LogProbability(torch.nn.Identity(), -1), "labels start at 0"),
        (lambda: LogProbability(torch.nn.Identity(), 4)(torch.zeros(2, 4)), "label 4 is not among them"),
        (lambda: LogProbability(torch.nn.Identity(), 0)(torch.zeros(2)), r"shape \(2,\)"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(InputError, match=says) as error:
        wrong()
    assert str(error.value).count(". ") == 0


def test_a_search_finds_what_compresses():
    def blocks(z):  # eight pixels a side, smooth where z is near 0
        return (0.5 + 0.1 * z.reshape(-1, 1, 8, 8)).clamp(0, 1)

    target = Target(OneStep(blocks, (64,)), JPEGSize())
    result = run(RandomSearch(8), target, Budget(steps=3))
    assert result.meter.failures == 0
    assert float(result.best.reward) == pytest.approx(JPEGSize()(target.decode(result.best.x))[0])
    with pytest.raises(RewardError, match="no gradient"):
        target.grad(lambda x: (target.score(x, Stream(0), range(len(x))), None), torch.zeros(2, 64))


# a class


def test_the_log_probability_of_a_class_is_that_of_the_softmax():
    logits = normal(6, 4)
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    for label in range(4):
        assert torch.allclose(LogProbability(torch.nn.Identity(), label)(logits), p[:, label].log())
    sure = torch.tensor([[0.0, 99.0], [99.0, 0.0]])
    assert LogProbability(torch.nn.Identity(), 1)(sure).tolist() == [0, -99]
    x = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(LogProbability(torch.nn.Identity(), 2)(x).sum(), x)
    assert torch.allclose(slope, torch.eye(4, dtype=torch.float64)[2] - p)


# preferences: stand-ins with what the packages image-reward 1.5 and hpsv2 1.2.0 have


def module(name, **contents):
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(made).update(contents)
    return made


@pytest.fixture(autouse=True)
def forget():
    preference._image_reward.cache_clear()
    preference._hps.cache_clear()


class BLIP:
    """Scores the red of an image, standardised by the model itself."""

    def __init__(self, calls):
        self.calls = calls

    def score(self, prompt, image):
        assert isinstance(image, Image.Image)
        assert image.mode == "RGB"
        assert not torch.is_grad_enabled()
        self.calls.append(prompt)
        red = np.asarray(image)[..., 0].mean() / 255
        if red > 0.99:
            raise RuntimeError("too red")
        return (red - 0.16717362830052426) / 1.0333394966054072


@pytest.fixture
def image_reward(monkeypatch):
    loads, calls = [], []

    def load(name="ImageReward-v1.0", device="cpu", download_root=None, med_config=None):
        loads.append((name, device, med_config))
        return BLIP(calls)

    monkeypatch.setitem(sys.modules, "ImageReward", module("ImageReward", load=load))
    return loads, calls


def test_image_reward_is_passed_on_as_the_package_standardises_it(image_reward):
    loads, calls = image_reward
    x = images(4)
    reward = ImageReward("a red fox")
    values = reward(x)
    red = (x * 255).round().mean((2, 3))[:, 0] / 255
    assert values == pytest.approx(((red - 0.16717) / 1.03334).tolist(), abs=1e-5)
    assert calls == ["a red fox"] * 4
    assert reward(x[[2]]) == [values[2]]
    assert reward(x.flip(0).requires_grad_()) == values[::-1]
    assert loads == [("ImageReward-v1.0", "cpu", None)]  # once
    ImageReward("a cat", name="here.pt", med_config="med.json", device="cuda")(x)
    assert loads[1:] == [("here.pt", "cuda", "med.json")]


def test_an_image_that_the_model_refuses_fails_alone(image_reward):
    x = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8), torch.full((3, 8, 8), torch.nan)])
    zero, one, hole = ImageReward("")(x)
    assert (zero, str(one)) == (pytest.approx(-0.16178, abs=1e-5), "too red")
    assert "not finite" in str(hole)
    with pytest.raises(InputError, match="give"):
        ImageReward("")(torch.zeros(3, 8, 8))


class TwoTowers(torch.nn.Module):
    """Mean colours against the number of letters; the weights are what a checkpoint says."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, image, text):
        assert not torch.is_grad_enabled()
        assert not self.training
        unit = torch.nn.functional.normalize
        seen, read = image.mean((2, 3)) * self.weight, torch.cat([text, text.square(), text**0], 1)
        return {"image_features": unit(seen, dim=-1), "text_features": unit(read, dim=-1), "logit_scale": 100}


WEIGHTS = {"v2.0": (1.0, 2.0, 3.0), "v2.1": (3.0, 1.0, 1.0), "mine.pt": (0.0, 0.0, 1.0)}


@pytest.fixture
def hpsv2(monkeypatch):
    loads, models = [], {}

    def score(img_path, prompt, cp=None, hps_version="v2.0"):
        if not models:
            view = lambda image: torch.tensor(np.asarray(image) / 255, dtype=torch.float32).permute(2, 0, 1)
            models.update(model=TwoTowers(), preprocess_val=view)
        loads.append(cp or hps_version)
        models["model"].weight.data = torch.tensor(WEIGHTS[cp or hps_version])
        models["model"].eval()
        with torch.no_grad():
            assert models["model"](models["preprocess_val"](img_path)[None], get_tokenizer("ViT-H-14")([prompt]))
        return [0.0]

    def get_tokenizer(name):
        assert name == "ViT-H-14"
        return lambda texts: torch.tensor([[float(len(text))] for text in texts])

    inner = module("hpsv2.img_score", model_dict=models, score=score, get_tokenizer=get_tokenizer)
    monkeypatch.setitem(sys.modules, "hpsv2", module("hpsv2", img_score=inner, __path__=[]))
    monkeypatch.setitem(sys.modules, "hpsv2.img_score", inner)
    return loads


def cosine(x, version, letters):
    seen = (x * 255).round().mean((2, 3)) / 255 * torch.tensor(WEIGHTS[version])
    return torch.cosine_similarity(seen, torch.tensor([[letters, letters**2, 1.0]])).tolist()


def test_hps_is_the_cosine_and_opens_its_checkpoint_once(hpsv2):
    x = images(4)
    new, old = HPS("a fox"), HPS("a fox", version="v2.0")
    values = new(x)
    assert values == pytest.approx(cosine(x, "v2.1", 5), abs=1e-6)
    assert old(x) == pytest.approx(cosine(x, "v2.0", 5), abs=1e-6)
    sys.modules["hpsv2.img_score"].score(Image.new("RGB", (8, 8)), "", hps_version="v2.0")
    assert new(x.flip(0)) == values[::-1]  # nobody else has loaded other weights into its model
    assert new(x[[1]].requires_grad_()) == [values[1]]
    assert HPS("a cat, sleeping")(x) == pytest.approx(cosine(x, "v2.1", 15), abs=1e-6)
    assert hpsv2 == ["v2.1", "v2.0", "v2.0"]
    assert HPS("a", checkpoint="mine.pt")(x) == pytest.approx(cosine(x, "mine.pt", 1), abs=1e-6)
    assert hpsv2[3:] == ["mine.pt"]


def test_an_image_with_a_hole_fails_alone_in_hps_too(hpsv2):
    x = images(3)
    x[0, 1, 1, 1] = math.nan
    failed, *values = HPS("a fox")(x)
    assert "not finite" in str(failed)
    assert values == HPS("a fox")(x[1:])


def test_warnings_are_seen_after_hpsv2_was_imported_as_before(monkeypatch, tmp_path):
    (tmp_path / "hpsv2").mkdir()
    (tmp_path / "hpsv2" / "__init__.py").touch()
    rude = "import warnings\nwarnings.filterwarnings('ignore', category=UserWarning)\n"
    (tmp_path / "hpsv2" / "img_score.py").write_text(rude)
    monkeypatch.syspath_prepend(tmp_path)
    before = list(warnings.filters)
    HPS("a fox")
    assert sys.modules.pop("hpsv2.img_score").__file__.startswith(str(tmp_path))
    del sys.modules["hpsv2"]
    assert warnings.filters == before


@pytest.mark.parametrize(("make", "name"), [(ImageReward, "ImageReward"), (HPS, "hpsv2.img_score")])
def test_a_missing_package_is_one_sentence_before_any_image(make, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="another environment as a reward over HTTP") as error:
        make("a fox")
    assert "pip install" in str(error.value)
    assert str(error.value).count(". ") == 0
