"""A short run of the fuzzer of images; docs/images.md says how to run the long one."""

from __future__ import annotations

import pytest
from fuzz_images import base, campaign

COUNT = 250


@pytest.mark.parametrize("seed", [1, 3, 7])  # bigalloc, block maps, inline data
def test_damaged_images_give_an_error_or_the_truth(tmp_path, capsys, seed):
    outcomes = campaign(COUNT, seed, [base(tmp_path, seed)])
    said = capsys.readouterr().out
    assert not outcomes["traceback"], said
    assert not outcomes["slow"], said
    assert not outcomes["misread"], said
    assert sum(outcomes.values()) == COUNT
    # The damage reaches all that is there to reach: errors, problems, and harmless bytes.
    assert outcomes["error"] > COUNT // 10
    assert outcomes["problem"] and outcomes["equal"]
