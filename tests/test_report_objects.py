"""What a report shows of objects of every kind, from files written by hand and by `Checkpoint`."""

import json
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from reports import HOSTILE, full, make, read, rows

import elites as el
from elites.events import Molecule, Series, Text, Trajectory, drawing
from elites.events.drawings import drawn, packed
from elites.events.molecules import outline
from elites.events.sheets import read_sheet, write_sheet
from elites.events.sketches import box, sketch
from elites.launch import fresh, go_on
from elites.study import load
from elites.types import InputError

TURN = torch.linspace(0, 6.28, 40)


def arrays(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@pytest.mark.parametrize(
    "thing, kind",
    [
        (torch.stack([TURN.cos(), TURN.sin()], 1), Trajectory),
        (arrays(3, 9, 2), Trajectory),
        (arrays(60, 4).numpy(), Series),
        (arrays(5, 1), Series),
        (arrays(16), Series),
        (arrays(15), Text),
        (arrays(1, 8, 8), Image.Image),
        (arrays(9, 7, 3), Image.Image),
        (arrays(5, 3, 8, 8), Image.Image),
        (arrays(9, 8), Series),
        (arrays(9, 12), Image.Image),
        (arrays(2, 5, 6), Text),
        ("CCO", Text),
        ({"a": [1, 2]}, Text),
        (3.5, Text),
        (Molecule("CCO"), Molecule),
        (torch.tensor(2.0), Text),
        (np.array(["a", "b"]), Text),
        (torch.zeros(0, 2), Text),
    ],
)
def test_the_rule_goes_by_type_and_shape(thing, kind):
    assert isinstance(drawing(thing), kind)


def test_a_picture_of_numbers_is_black_at_the_least_and_white_at_the_greatest():
    image = np.asarray(drawing(torch.tensor([[-3.0, 1.0, 0.0], [5.0, -3.0, 5.0], [1.0, 1.0, 1.0]])))
    assert image.tolist()[0] == [0, 128, 96] and image[1, 0] == 255


def test_a_drawing_refuses_what_it_cannot_draw():
    for wrong in (lambda: Trajectory(torch.zeros(5)), lambda: Series(torch.zeros(2, 3, 4)), lambda: Trajectory("x")):
        with pytest.raises(InputError, match="not"):
            wrong()
    with pytest.raises(InputError, match="2 names for 3 series"):
        Series(torch.zeros(5, 3), ("a", "b"))


def test_what_cannot_be_drawn_is_said_and_ends_nothing():
    def draw(thing):
        if thing == 1:
            raise KeyError("no such part")
        return Text("fine")

    with pytest.warns(UserWarning, match="no such part"):
        out = drawn([0, 1], draw)
    assert [it.words for it in out] == ["fine", "not drawn: KeyError: 'no such part'"]


def test_drawings_are_small_and_keep_ends_and_peaks():
    y = torch.zeros(100_000)
    y[777], y[-1] = 9.0, 2.0
    kept = packed(Series(y))
    assert len(json.dumps(kept)) < 6_000
    assert max(kept["lines"][0][1]) == 9.0 and kept["lines"][0][1][-1] == 2.0 and kept["steps"] == 100_000
    path = packed(Trajectory(torch.stack([y, torch.arange(1e5)], 1)))
    assert len(json.dumps(path)) < 6_000 and path["lines"][0][1][-1] == 1e5  # four digits are kept
    assert len(json.dumps(packed(Text("x" * 1_000_000)))) < 5_000
    assert len(json.dumps(packed(drawing(torch.rand(3, 900, 700))))) < 120_000


def test_a_path_is_drawn_to_scale():
    square = packed(Trajectory([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]))
    html = sketch(square, box([square]), "it")
    line = re.search(r'class="l0" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', html)
    x0, y0, x1, y1, x2, y2 = map(float, line.groups())
    assert x1 - x0 == pytest.approx(y1 - y2, abs=0.2) and x1 == x2 and y0 == y1 > y2
    assert "a path of 3 points from (0, 0) to (2, 2)" in html


def test_frames_are_shared_and_one_outlier_does_not_squeeze_the_rest():
    paths = [packed(Trajectory([[0.0, 0.0], [1.0, i / 50]])) for i in range(50)]
    assert box(paths[:20]) == (0, 0, 1, 0.38)
    far = packed(Trajectory([[0.0, 0.0], [1e6, 1e6]]))
    assert box([*paths, far])[2:] < (1.01, 1.01)


def test_sheets_come_back(tmp_path):
    keys = [[3, 1], [2, 0]]
    images = [Image.new("L", (80, 80), level) for level in (10, 200)]
    write_sheet(tmp_path / "7", images, [2.0, 1.0], keys)
    sheet = read_sheet(tmp_path / "7.png")
    assert [t.getpixel((5, 5)) for t in sheet.tiles] == [10, 200] and sheet.keys == [(3, 1), (2, 0)]
    write_sheet(tmp_path / "7", [Text("a\nb"), images[0]], [2.0, float("nan")], keys)
    assert not (tmp_path / "7.png").exists()
    sheet = read_sheet(tmp_path / "7.json")
    assert sheet.tiles[0]["words"] == "a\nb" and sheet.tiles[1].size == (80, 80) and sheet.rewards[0] == 2.0


@pytest.mark.parametrize(
    "told",
    [
        "[",
        "{}",
        '{"drawings": 3}',
        '{"drawings": [3, {"kind": "image", "png": "x"}]}',
        json.dumps({"drawings": [{"kind": kind} for kind in ("trajectory", "series", "molecule", "text", 3, None)]}),
        json.dumps(
            {
                "drawings": [
                    {"kind": "trajectory", "lines": [[[HOSTILE, 1, None], [1, 2, 1e400]], [], 3, [[1], [1]]]},
                    {"kind": "series", "lines": [[[0, 1], [1, 2]], [[0, 1], [5, 5]]], "names": [HOSTILE]},
                    {"kind": "series", "lines": [[[1, 2], [HOSTILE]]], "names": [HOSTILE, {}], "steps": HOSTILE},
                    {"kind": "text", "words": HOSTILE, "letters": HOSTILE},
                    {"kind": "molecule", "smiles": HOSTILE},
                    {"kind": HOSTILE, "words": HOSTILE},
                ],
                "rewards": [HOSTILE, 1, None],
                "keys": [[HOSTILE, 1]],
            }
        ),
    ],
)
def test_files_of_strangers_are_inert(tmp_path, told):
    path = make(tmp_path / "run", rows(3), result={"stopped": "done", "best": 0.0, "nfe": 480}, best=2)
    for name in ("best/objects", "steps/000000", "steps/000001", "lineage/000000", "lineage/000001"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / f"{name}.json").write_text(told)
    html, page = read(path)
    assert "<img src=x" not in html
    if "evil" in told:
        assert "alert(1)" in page.text


def test_text_keeps_its_lines_and_its_direction(tmp_path):
    html = sketch(packed(Text("שלום\nעולם <b>")), (0, 0, 1, 1), "it")
    assert html == '<p class="words" dir="auto">שלום\nעולם &lt;b&gt;</p>'


def test_molecules_are_paths_alone():
    pytest.importorskip("rdkit")
    bonds, atoms = outline("CC(=O)Oc1ccccc1C(=O)O")
    assert bonds.count("M") >= 13 and atoms
    assert re.fullmatch(r"[MLQCZ0-9 .-]+", bonds + atoms)
    assert outline("not a molecule") == outline("") == outline("C" * 5000) == ("", "")
    html = sketch(packed(Molecule("CCO")), (0, 0, 1, 1), "it")
    assert 'class="bonds"' in html and ">CCO<" in html and "it: molecule CCO" in html


def test_without_rdkit_molecules_are_text(monkeypatch):
    outline.cache_clear()
    monkeypatch.setitem(sys.modules, "rdkit", None)
    html = sketch(packed(Molecule("CCO<")), (0, 0, 1, 1), "it")
    outline.cache_clear()
    assert "<svg" not in html and "CCO&lt;" in html


def ran(tmp_path, decoder, reward=lambda objects: [float(i) for i in range(len(objects))], steps=3, **options):
    """The folder and the page of a short run of objects from a decoder."""
    prior = el.priors.OneStep(lambda z: z, (40,), decoder=decoder)
    folder = tmp_path / "run"
    on = [el.Checkpoint(folder, **options), el.Report(folder)]
    el.run(el.RandomSearch(8), el.Target(prior, reward), el.Budget(steps=steps), on=on, probe=None)
    return folder, *read(folder)


def test_a_run_of_paths_is_drawn_without_a_word(tmp_path):
    folder, html, page = ran(tmp_path, lambda z: z.reshape(-1, 20, 2).cumsum(1))
    assert sorted(p.name for p in (folder / "steps").iterdir()) == ["000001.json", "000002.json", "000003.json"]
    assert html.count('class="to"') == 12 + 3 * 8 + 1 and "a path of 20 points" in html
    assert (folder / "best" / "objects.json").stat().st_size < 20_000
    assert "All frames span" in page.text and "step 1, candidate 7" in page.text


def test_a_user_says_what_to_draw(tmp_path):
    _, html, page = ran(
        tmp_path, lambda z: z.reshape(-1, 10, 4), draw=lambda plan: Series(plan[:, 1:3], ("speed", "<b>turn"))
    )
    assert html.count('class="l1"') > 12 and "speed" in page.text and "<b>turn" in page.text


STUDY = """
import elites as el
prior = el.priors.OneStep(lambda z: z, (40,), decoder=lambda z: z.reshape(-1, 10, 4))
target = el.Target(prior, lambda plans: plans.mean((1, 2)))
method, budget, probe = el.RandomSearch(4), el.Budget(steps=STEPS), None
draw = lambda plan: el.events.Series(plan[:, 1:3], ("speed", "turn"))
"""


def test_a_study_says_what_to_draw_and_a_resumed_run_draws_it_too(tmp_path):
    path, folder = tmp_path / "study.py", el.Folder.create(tmp_path / "run")
    path.write_text(STUDY.replace("STEPS", "2"))
    fresh(load(path), folder, el.Budget(steps=2), 0, [])
    before = (folder.path / "best" / "objects.json").read_bytes()
    folder = el.Folder.open(tmp_path / "run")
    go_on(load(path, path.read_text()), folder, el.Budget(steps=4), [])
    assert (folder.path / "best" / "objects.json").read_bytes() != before
    for name in ("steps/000002", "steps/000004", "best/objects"):
        tiles = read_sheet(folder.path / f"{name}.json").tiles
        assert all(tile["kind"] == "series" and tile["names"] == ["speed", "turn"] for tile in tiles)


def test_a_run_of_texts_keeps_them_whole(tmp_path):
    folder, _, page = ran(tmp_path, lambda z: ["<i>" + "word " * 2000 for _ in z])
    kept = json.loads((folder / "best.json").read_text())
    assert len(kept) == 16 and kept[0] == "<i>" + "word " * 2000
    assert "more letters" in page.text and "15 more that look the same" in page.text
    assert sum(f.stat().st_size for f in (folder / "steps").iterdir()) < 3 * 8 * 5_000


def test_objects_of_unlike_shapes_are_kept(tmp_path):
    folder, _, page = ran(tmp_path, lambda z: [row[: 20 + i] for i, row in enumerate(z)])
    assert "time series" in " ".join(str(a.get("aria-label")) for _, a in page.tags)
    assert (folder / "best.safetensors").exists()


def test_a_long_run_keeps_few_drawings(tmp_path):
    prior = el.priors.OneStep(lambda z: z, (40,), decoder=lambda z: z.reshape(-1, 20, 2))
    calls = []

    def rising(objects):
        calls.append(0)
        return [len(calls) + 0.1 * i for i in range(len(objects))]

    folder = tmp_path / "run"
    on = [el.Checkpoint(folder, seconds=60)]
    el.run(el.RandomSearch(4), el.Target(prior, rising), el.Budget(steps=300), on=on, probe=None)
    for name, most in (("steps", 30), ("lineage", 55)):
        assert 10 < len(list((folder / name).iterdir())) <= most
    assert len(read(folder)[0]) < 400_000


def test_large_drawings_are_thinned_until_the_page_is_small(tmp_path):
    told = [packed(Series(torch.rand(400, 8, generator=torch.Generator().manual_seed(i)))) for i in range(8)]
    path = make(tmp_path / "run", rows(30), result={"stopped": "done", "best": 0.0, "nfe": 4800}, best=2)
    for step in range(20):
        (path / "steps").mkdir(exist_ok=True)
        sheet = {"rewards": list(range(8)), "drawings": told}
        (path / "steps" / f"{step:06d}.json").write_text(json.dumps(sheet))
    html, _ = read(path)
    assert html.count('class="l7"') == 16 * 8 + 1 and len(html) < 1_600_000  # all of them, and the legend


def test_lineage_names_every_best_of_its_time(tmp_path):
    climb = iter(range(1, 10_000))
    reward = lambda o: [float(next(climb)) if i == 5 else -float(i) for i in range(len(o))]
    folder, html, _ = ran(tmp_path, lambda z: z.reshape(-1, 20, 2), reward, steps=9)
    bests = [json.loads(line)["best"] for line in (folder / "history.jsonl").read_text().splitlines()]
    changed = 1 + sum(b > a for a, b in pairwise(bests))
    items = re.findall(r'<ol class="lineage[^"]*">(.*?)</ol>', html, re.S)[0]
    assert items.count("<li>") == changed == 9 and 'class="none"' not in items
    assert all(f"<span>step {step}, candidate 5</span>" in items for step in range(1, 10))


def test_evidence_reads_without_a_manual(tmp_path):
    html, page = read(full(tmp_path / "run"))
    assert "0.98: more typical than 43 % of prior samples." in page.text
    assert "3.5: less than what prior samples have" in page.text and "under 1 % look less real" in page.text
    assert 'style="width:43.0%"' in html and "A reading warns" in page.text
    assert page.text.count("Warning.") == 1  # in words, beside the mark
    assert html.count('<li class="warns">') == 1
