"""The floor of real images."""

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.metrics.statistics.frechet_distance import floor


class TestFloor:
    features = np.random.default_rng(0).normal(size=(1797, 8))

    def test_is_repeatable_and_ordered(self):
        found = floor(self.features, 500)
        assert found == floor(self.features, 500) != floor(self.features, 500, seed=1)
        assert found.low < found.mean < found.high and found.sd > 0 and found.draws == 20
        assert (found.n, found.rest) == (500, 1297)

    def test_takes_half_at_most(self):
        found = floor(self.features, 50_000)
        assert (found.n, found.rest) == (898, 899) and found == floor(self.features, 898)

    def test_falls_with_n(self):
        assert floor(self.features, 100).low > floor(self.features, 800).high

    def test_one_draw_has_no_spread(self):
        found = floor(self.features, 100, draws=1)
        assert found.low == found.mean == found.high and found.sd == 0

    @pytest.mark.parametrize(("rows", "n", "draws"), [(3, 10, 5), (100, 1, 5), (100, 10, 0)])
    def test_too_little(self, rows, n, draws):
        with pytest.raises(InputError, match="at least 2 images a side and 1 draw"):
            floor(self.features[:rows], n, draws)
