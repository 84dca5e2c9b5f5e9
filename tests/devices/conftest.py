"""Tests of devices other than the CPU: they run where FUSELINE_TEST_DEVICE names one, as .ci/devices does."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

ASKED = os.environ.get("FUSELINE_TEST_DEVICE", "")


def pytest_ignore_collect() -> bool | None:
    """Nothing is collected without a device."""
    return None if ASKED else True


@pytest.fixture(scope="session")
def device() -> str:
    """The device's name."""
    return ASKED.split()[0]


@pytest.fixture(scope="session")
def device_options() -> Mapping[str, str]:
    """What stands behind the name: KEY=VALUE KEY=VALUE."""
    return dict(each.split("=", 1) for each in ASKED.split()[1:])
