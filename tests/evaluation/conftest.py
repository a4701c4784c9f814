from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fakes import fake_results


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    return fake_results(tmp_path_factory.mktemp("run"))
