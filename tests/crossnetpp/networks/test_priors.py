"""Prior weights of references."""

from __future__ import annotations

import numpy as np
import pytest

from crossnetpp.networks.priors import weigh_references


def test_references_count_for_less_by_half_a_decibel_a_frame() -> None:
    weights = weigh_references([4, 11])
    assert weights.dtype == np.float32
    assert weights == pytest.approx([1, 10**-0.35])
    assert weigh_references([11, 4, 4]) == pytest.approx([10**-0.35, 1, 1])
    assert weigh_references([3.0, 1.0], decades=0.1) == pytest.approx([10**-0.2, 1])
