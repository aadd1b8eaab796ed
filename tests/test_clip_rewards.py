"""Scores by CLIP, against the forward pass of transformers on tiny random models."""

import json
import math
import pickle
import sys

import pytest
import torch
from helpers import normal
from PIL import Image
from safetensors.torch import load_file, save_file

from elites import Budget, InputError, RandomSearch, Target, run
from elites.priors import OneStep
from elites.rewards.clip import MEAN, STD, Aesthetic, CLIPScore, ImageEncoder, PickScore

pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
from pipeline_parts import END, LENGTH, START, VOCABULARY, tokenizer  # noqa: E402

SIDE = 16


def clip_model(embedding=24):
    common = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": LENGTH,
        "bos_token_id": VOCABULARY[START],
        "eos_token_id": VOCABULARY[END],
        "pad_token_id": VOCABULARY[END],
    }
    config = transformers.CLIPConfig(
        text_config=common | text,
        vision_config=common | {"image_size": SIDE, "patch_size": 4},
        projection_dim=embedding,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = transformers.CLIPModel(config).eval()
        for weight in model.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip")
    clip_model().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def images(n=4, height=SIDE, width=SIDE, seed=0):
    return torch.sigmoid(normal(n, 3, height, width, seed=seed)).float()


def logits(prompt, x):
    """What transformers says of images of the right size."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    ids = tokenizer()([prompt], return_tensors="pt")
    with torch.no_grad():
        out = clip_model()(
            input_ids=ids.input_ids, attention_mask=ids.attention_mask, pixel_values=(x - mean) / std, return_dict=True
        )
    return out.logits_per_image[:, 0]


def test_clip_score_and_pick_score_are_those_of_transformers(folder):
    x, prompt = images(), "a red fox"
    scale = float(clip_model().logit_scale.detach().exp())
    pick = PickScore.load(folder, prompt)
    assert pick.scale == pytest.approx(scale)
    assert torch.allclose(pick(x), logits(prompt, x), atol=1e-5)
    cosines = CLIPScore.load(folder, prompt)(x)
    assert torch.allclose(cosines, logits(prompt, x) / scale, atol=1e-6)
    assert cosines.dtype == torch.float32
    assert cosines.std() > 0.01
    assert not torch.allclose(CLIPScore.load(folder, "a cat")(x), cosines, atol=1e-3)


def test_a_batch_is_its_singles_in_any_order(folder):
    x = images(5, 21, 30)
    for reward in (CLIPScore.load(folder, "a fox"), Aesthetic(CLIPScore.load(folder, "").encode, head(24))):
        values = reward(x)
        assert torch.allclose(torch.cat([reward(image[None]) for image in x]), values, atol=1e-5)
        assert torch.allclose(reward(x.flip(0)), values.flip(0), atol=1e-5)
        assert torch.allclose(reward(x.numpy()), values, atol=1e-6)
        assert torch.allclose(reward(x.half()), values, atol=0.02)
        assert reward(x.half()).dtype == torch.float32


@pytest.mark.parametrize(("height", "width"), [(40, 40), (24, 40), (40, 24), (9, 9), (17, 16), (16, 40)])
def test_images_are_resized_as_pillow_does_and_cut_at_the_centre(height, width):
    x = images(1, height, width)
    short = min(height, width)
    sides = (int(SIDE * width / short), int(SIDE * height / short))  # Pillow: width first
    planes = [Image.fromarray(plane.numpy()).resize(sides, Image.Resampling.BICUBIC) for plane in x[0]]
    left, top = ((side - SIDE) // 2 for side in sides)
    box = (left, top, left + SIDE, top + SIDE)
    wanted = torch.stack([torch.tensor(list(p.crop(box).get_flattened_data())).reshape(SIDE, SIDE) for p in planes])
    seen = ImageEncoder(torch.nn.Identity(), SIDE, mean=(0, 0, 0), std=(1, 1, 1))(x)
    assert torch.allclose(seen[0], wanted, atol=1e-5)


def test_pixels_are_standardised_channel_by_channel():
    x = images()
    seen = ImageEncoder(torch.nn.Identity(), SIDE, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))(x)
    for c, (mean, std) in enumerate([(0.1, 1), (0.2, 2), (0.3, 4)]):
        assert torch.allclose(seen[:, c], (x[:, c] - mean) / std)
    assert ImageEncoder(lambda pixels: pixels, SIDE, dtype=torch.bfloat16)(x).dtype == torch.bfloat16


def test_the_mean_and_deviation_of_the_folder_are_used(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    own = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    encode = CLIPScore.load(tmp_path, "a fox").encode
    assert (encode.mean, encode.std, encode.size) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), SIDE)
    assert CLIPScore.load(folder, "a fox").encode.mean == MEAN


def test_gradients_agree_with_differences():
    model = clip_model().double()
    net = lambda pixels: model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    encode = ImageEncoder(net, SIDE, dtype=torch.float64)
    x = images(1, 7, 8).double().requires_grad_()
    text = normal(24, seed=1)
    for reward in (CLIPScore(encode, text), PickScore(encode, text, 30.0), Aesthetic(encode, head(24))):
        assert torch.autograd.gradcheck(reward, x)


def test_an_image_climbs_the_gradient(folder):
    reward = CLIPScore.load(folder, "a red fox")
    x = images(2, 32, 32)
    before = reward(x)
    for _ in range(20):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(reward(x).sum(), x)
        x = x + 0.05 * slope.sign()
    assert (reward(x) > before + 0.05).all()
    assert not any(p.requires_grad for part in reward.encode.net.args for p in part.parameters())


class OpenCLIP(torch.nn.Module):
    """The methods of a model of open_clip."""

    def __init__(self):
        super().__init__()
        self.seen, self.read = 0.1 * normal(3 * SIDE * SIDE, 8).float(), normal(4, 8).float()

    def encode_image(self, image, normalize=False):
        assert image.shape[1:] == (3, SIDE, SIDE)
        return image.flatten(1) @ self.seen

    def encode_text(self, text, normalize=False):
        return torch.nn.functional.one_hot(text, 4).float() @ self.read


def test_any_encoder_and_text_make_a_score():
    model, x = OpenCLIP(), images()
    text = model.encode_text(torch.tensor([2]))[0]
    reward = CLIPScore(ImageEncoder(model.encode_image, SIDE), text)
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    wanted = torch.cosine_similarity(model.encode_image((x - mean) / std), text)
    assert torch.allclose(reward(x), wanted, atol=1e-6)
    assert torch.allclose(CLIPScore(reward.encode, 7 * text)(x), wanted, atol=1e-6)
    assert CLIPScore(lambda x: x.flatten(1), x[1].flatten())(x).argmax() == 1
    assert CLIPScore(lambda x: x.flatten(1).half(), x[1].flatten())(x).dtype == torch.float32


# aesthetics

WIDTHS = (64, 12, 8, 4, 1)


def head(inputs, seed=5):
    return [
        (normal(b, a, seed=seed + i).float() / a**0.5, normal(b, seed=seed + 9 + i).float())
        for i, (a, b) in enumerate(zip((inputs, *WIDTHS[:-1]), WIDTHS, strict=True))
    ]


def save_head(path, layers):
    named = zip((0, 2, 4, 6, 7), layers, strict=True)
    save_file({f"layers.{i}.{k}": v for i, wb in named for k, v in zip(("weight", "bias"), wb, strict=True)}, path)


def test_aesthetics_are_an_affine_map_of_the_unit_embedding(folder, tmp_path):
    layers, x = head(24), images()
    save_head(tmp_path / "head.safetensors", layers)
    reward = Aesthetic.load(folder, tmp_path / "head.safetensors")
    with torch.no_grad():
        e = reward.encode(x)
    e = e / e.norm(dim=1, keepdim=True)
    slope, offset = torch.eye(24), torch.zeros(24)
    for weight, bias in layers:
        slope, offset = weight @ slope, weight @ offset + bias
    assert torch.allclose(reward(x), e @ slope[0] + offset[0], atol=1e-5)
    assert torch.allclose(Aesthetic(lambda x: 9 * reward.encode(x), layers)(x), reward(x), atol=1e-5)


# what is not there, and what does not fit


def test_what_is_no_model_is_refused_in_one_sentence(folder, tmp_path):
    save_head(tmp_path / "narrow.safetensors", head(23))
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "pickled").mkdir()
    clip_model().config.save_pretrained(tmp_path / "pickled")
    torch.save(clip_model().state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    (tmp_path / "half").mkdir()
    for file in folder.iterdir():
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "half" / "model.safetensors", {"format": "pt"})
    for wrong, says in (
        (lambda: CLIPScore.load(tmp_path / "nowhere", "a"), "no folder"),
        (lambda: CLIPScore.load("openai/clip-vit-base-patch32", "a"), "no folder"),
        (lambda: PickScore.load(tmp_path, "a"), "needs a CLIP model in safetensors"),
        (lambda: CLIPScore.load(tmp_path / "pickled", "a"), "needs a CLIP model in safetensors"),
        (lambda: CLIPScore.load(tmp_path / "half", "a"), "lacks weights .* visual_projection.weight"),
        (lambda: Aesthetic.load(folder, tmp_path / "nowhere"), "no file"),
        (lambda: Aesthetic.load(folder, tmp_path / "other.safetensors"), "other names"),
        (lambda: Aesthetic.load(folder, tmp_path / "narrow.safetensors"), "24 numbers and the head takes 23"),
        (lambda: Aesthetic(torch.nn.Identity(), head(24)[:-1]), "a chain that ends in one number"),
        (lambda: Aesthetic(torch.nn.Identity(), head(24)[::2]), "a chain that ends in one number"),
        (lambda: Aesthetic(torch.nn.Identity(), []), "a chain that ends in one number"),
        (lambda: Aesthetic(torch.nn.Identity(), [(torch.zeros(1, 24), torch.zeros(2))]), "a chain that ends in one"),
        (lambda: CLIPScore(torch.nn.Identity(), torch.zeros(1, 8)), r"\(1, 8\): give that of one prompt"),
        (lambda: ImageEncoder(torch.nn.Identity(), 0), "positive number of pixels"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()


@pytest.mark.parametrize("x", [torch.zeros(2, 1, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8).byte()])
def test_what_is_no_image_is_refused(folder, x):
    with pytest.raises(InputError, match=r"give \(B, 3, H, W\)"):
        CLIPScore.load(folder, "a fox")(x)


def test_a_text_of_another_model_is_refused(folder):
    encode = CLIPScore.load(folder, "a fox").encode
    for reward in (CLIPScore(encode, torch.zeros(8)), PickScore(encode, torch.zeros(8)), Aesthetic(encode, head(8))):
        with pytest.raises(InputError, match=r"\(4, 24\).*use one model"):
            reward(images())


def test_transformers_is_needed_for_folders_alone(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[clip\]'"):
        CLIPScore.load(folder, "a fox")
    assert CLIPScore(lambda x: x.flatten(1), torch.ones(3 * 4))(torch.ones(1, 3, 2, 2)).item() == pytest.approx(1)


def test_long_prompts_are_cut_and_the_reward_can_be_pickled(folder):
    x = images(2)
    long = "fox " * 200
    cut = tokenizer()([long], truncation=True, max_length=LENGTH)["input_ids"][0]
    assert len(cut) == LENGTH
    reward = CLIPScore.load(folder, long)
    assert torch.isfinite(reward(x)).all()
    again = pickle.loads(pickle.dumps(reward))
    assert torch.equal(again(x), reward(x))


def test_it_is_a_reward_of_a_run_and_a_broken_image_fails(folder):
    def decode(z):
        images = torch.sigmoid(z.reshape(-1, 3, 8, 8)).float()
        return torch.where(z[:, 0].reshape(-1, 1, 1, 1) > 1.5, math.nan, images)

    result = run(RandomSearch(16), Target(OneStep(decode, (192,)), CLIPScore.load(folder, "a fox")), Budget(steps=2))
    assert 0 < result.meter.failures < 16
    assert {f.reason for f in result.failures} == {"ValueError: the object is not finite"}
    assert result.history[-1]["best"] > result.history[0]["mean"]
