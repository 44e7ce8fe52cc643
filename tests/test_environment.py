"""pyproject.toml is the one truth for Python dependencies; everything else agrees with it."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from retrospective.__main__ import parser
from retrospective.lab.capabilities import CLIENTS
from retrospective.lab.peers import PEERS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_yml_installs_the_project_and_what_pip_cannot():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["--editable ."], "Python packages belong in pyproject.toml alone"
    python = next(d for d in conda if d.startswith("python "))
    assert python.removeprefix("python ") == PROJECT["project"]["requires-python"]
    assert {d.split()[0] for d in conda} == {"python", "pip", "c-compiler", "pkg-config", "liburing"}


def test_apt_txt_brings_what_conda_brings_and_all_peers_and_clients():
    lines = (ROOT / "apt.txt").read_text().splitlines()
    apt = {name for line in lines if (name := line.partition("#")[0].strip())}
    assert {
        "build-essential",
        "e2fsprogs",
        "pkg-config",
        "liburing-dev",
        "liblwip-dev",
        "python3-venv",
    } <= apt
    package = {"nginx": "nginx-light", "ab": "apache2-utils", "h2load": "nghttp2-client"}
    assert {package.get(name, name) for name in (*PEERS, *CLIENTS)} <= apt


def test_minor_versions_are_pinned():
    for requirement in PROJECT["project"]["dependencies"]:
        assert re.search(r" ==\d+(\.\d+)+\.\*$", requirement), requirement


def test_the_mission_s_packages_are_there():
    names = {r.split()[0] for r in PROJECT["project"]["dependencies"]}
    assert {"jupyterlab", "nbval", "numpy", "pandas", "seaborn", "papermill"} <= names


@pytest.mark.parametrize("target", ["quick", "test", "figures", "lab", "bench", "reference"])
def test_every_make_target_is_a_verb(target):
    recipe = subprocess.run(
        ["make", "--dry-run", "--assume-old", "pyproject.toml", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(rf"-m retrospective {target}\b", recipe)
    assert parser().parse_known_args([target])[0].verb == target


def test_nothing_committed_names_a_machine_s_path():
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".c", ".h", ".md", ".toml", ".yml", ".json", ".ipynb"} and path.is_file():
            assert not re.search(r"(?<![\w.])/(home/\w+|root/|work/)", path.read_text(errors="replace")), name
