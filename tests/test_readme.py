"""What the documentation shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_run(tmp_path, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.chdir(tmp_path)
    code, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code.replace("nfe=10_000", "nfe=800"), names)
    assert names["image"].shape == (1, 1, 8, 8)
    assert float(names["result"].best.reward) > 0.2
    assert (tmp_path / "runs" / "left" / "best.safetensors").exists()


def test_the_page_on_workers_runs_as_a_script(tmp_path):
    pytest.importorskip("diffusers")
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "workers.md").read_text(), re.DOTALL)
    (tmp_path / "script.py").write_text(code + "        print(result.stopped)\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "budget: all 3 steps are done\n", done.stderr


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_links_inside_the_repository_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or ((ROOT / page).parent / link).exists(), link


def test_every_command_that_is_shown_exists():
    from elites import cli

    shown = set(re.findall(r"^    elites (\w+)", README, re.MULTILINE))
    known = {c.name or c.callback.__name__ for c in cli.app.registered_commands}
    assert shown <= known
