"""Random functions, run at every level and compared: what no list of examples would think of.

`functions` makes a function from a seed, `networks` one of matrix products, `arrays` what it is called with,
`reference` what must come out, `levels` runs it and says what disagrees, `shrink` drops operations while it still does.
`whole_numbers` are functions of integers, which are exact. `python -m tests.fuzzing --seeds 1000`
"""

from __future__ import annotations

import sys
from pathlib import Path

# Where pytest finds what lies beside: `agreement` has the bounds.
sys.path.append(str(Path(__file__).parents[1]))
