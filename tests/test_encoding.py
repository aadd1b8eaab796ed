"""Objects that travel and come back, and the reward server of the examples."""

import json
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import normal

from elites.rewards.encoding import parsed, shorten, to_array, to_json, to_parts, to_png
from elites.rewards.http import HTTP
from elites.types import InputError

SERVER = Path(__file__).parents[1] / "examples" / "reward_server.py"


# the server in examples/


def served(*command, cwd=None):
    server = subprocess.Popen([sys.executable, *command, "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=cwd)
    return server, server.stdout.readline().strip()


def test_the_example_scores_images():
    server, url = served(str(SERVER))
    try:
        images = torch.sigmoid(normal(5, 1, 6, 7)).float()
        answers = HTTP(url, batch=2)(images)
        grey = (255 * images).round().mean((1, 2, 3)) / 255
        assert answers == pytest.approx(grey.tolist(), abs=1e-6)
        assert "AttributeError" in str(HTTP(url)(["text"])[0])
    finally:
        server.kill()
        server.communicate()


def test_the_example_needs_the_standard_library_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(objects, scale=1):\n"
        "    return [ValueError('odd') if o == 'x' else scale * size(o) for o in objects]\n"
        "def size(o):\n"
        "    return len(o) if isinstance(o, str) else sum(map(sum, o))\n"
    )
    server, url = served("-I", "-S", str(SERVER), "mine:score", cwd=tmp_path)
    try:
        reward = HTTP(url, about={"scale": 2}, batch=4)
        first, second, third, fourth = reward(["abc", "x", torch.arange(6).reshape(2, 3), np.ones((2, 2), ">f4")])
        assert (first, str(second), third, fourth) == (6, "ValueError: odd", 30, 8)
        assert "unexpected keyword argument 'other'" in str(HTTP(url, about={"other": 2})(["a"])[0])
    finally:
        server.kill()
        server.communicate()


# objects as they travel


def test_an_image_is_rounded_to_eight_bits_and_comes_back():
    example = types.ModuleType("example")
    exec(SERVER.read_text(), example.__dict__)
    for channels in (1, 3, 4):
        image = torch.sigmoid(normal(channels, 5, 4)).float()
        there = np.asarray(example.decode(to_json(image)))
        back = there[None] if channels == 1 else there.transpose(2, 0, 1)
        assert np.array_equal(back, (255 * image).round().numpy())
    edge = np.array([[0, 1, 0.5 / 255 - 1e-6, 1.0005, -0.0005]])
    assert np.asarray(example.decode(to_json(edge[None]))).tolist() == [[0, 255, 0, 255, 0]]


def test_arrays_come_back_to_the_bit():
    example = types.ModuleType("example")
    exec(SERVER.read_text(), example.__dict__)
    for array in (
        normal(2, 3, 4, 5).float(),
        normal(4, 3),
        normal(3, 3).half(),
        torch.arange(6).reshape(3, 2),
        torch.tensor([True, False]),
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.zeros(2, 0),
        torch.arange(3, dtype=torch.uint8),
    ):
        assert example.decode(to_json(array)) == array.tolist()
        assert example.decode(to_json({"a": [array, "x", None, 1.5]})) == {"a": [array.tolist(), "x", None, 1.5]}
    assert to_json(torch.tensor([1.5], dtype=torch.bfloat16)) == to_json(torch.tensor([1.5]))
    assert to_json(np.float32(1.5)) == 1.5
    assert to_array(np.zeros((3, 4, 4)))["shape"] == [3, 4, 4]
    with pytest.raises(InputError, match="complex64"):
        to_json(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(InputError, match="rename"):
        to_json({"png": "mine"})


def test_what_is_no_image_is_refused():
    for image in (torch.zeros(2, 4, 4), torch.zeros(3, 4, 4).int(), torch.full((4, 4), torch.nan), "text"):
        with pytest.raises(InputError):
            to_png(image)
    assert to_png(torch.zeros(4, 4)).startswith(b"\x89PNG")


def test_a_judge_sees_text_as_text_and_images_as_images():
    image = torch.zeros(3, 4, 4)
    assert to_parts("a") == ["a"]
    assert to_parts(image) == [to_png(image)]
    assert to_parts(("a", image)) == ["a", to_png(image)]
    assert to_parts({"é": [1, 2]}) == ['{"é": [1, 2]}']
    assert to_parts([1, 2]) == ["[1, 2]"]


def test_reasons_are_short_and_on_one_line():
    assert shorten(" a\n\tb\x00\x1b[31m c ") == "a b [31m c"
    assert shorten("x" * 10**6) == "x" * 200 + "..."


def test_json_is_read_to_some_depth_alone():
    deep = "[" * 50 + "]" * 50
    assert parsed(deep) == json.loads(deep)
    for text in ("[" + deep + "]", '{"a":' * 51 + "1" + "}" * 51, "[" * 10**6, '"\\"' + "[" * 51):
        with pytest.raises(ValueError):
            parsed(text)
    assert parsed('["[[[[", "\\"' + "[" * 100 + '"]') == ["[[[[", '"' + "[" * 100]
    assert parsed("[[], " * 30 + "[]" + "]" * 30)
    began = time.monotonic()
    with pytest.raises(ValueError):
        parsed('"' + '\\"' * 10**6)
    assert time.monotonic() - began < 2
