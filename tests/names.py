"""Names of test cases that are the same in every process, so that several can share the tests."""

from __future__ import annotations

import re


def case_name(case: object) -> str:
    """str(case) without the addresses of functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(case))
