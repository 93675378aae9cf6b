"""By what a candidate of the whole is judged where nobody says otherwise; commands read it, so that it imports nothing."""

from __future__ import annotations

SINCE = "14d"
"""Records this long back."""
MINIMUM, MARGIN, CONFIDENCE = 300, 0.02, 0.95
"""Items that both decided before a verdict; what a candidate may cost more, as a share of what stable costs; of the interval."""
