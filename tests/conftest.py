"""Fixtures that several tests share."""

from __future__ import annotations

import pytest
from fakes import make_workload

from workloads.workload import Workload

pytest_plugins = ["pytester"]


@pytest.fixture
def workload() -> Workload:
    return make_workload()
