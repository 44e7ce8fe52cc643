"""Synthetic trials for every test of the analysis (real ones come with the reference data)."""

import importlib.util
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")


def _load():
    spec = importlib.util.spec_from_file_location("synthetic", Path(__file__).with_name("synthetic.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic():
    return _load()


@pytest.fixture(scope="session")
def paper(synthetic):
    return synthetic.paper()


@pytest.fixture(scope="session")
def quick(synthetic):
    return synthetic.quick()


@pytest.fixture(scope="session")
def facts(synthetic):
    return synthetic.provenance()
