"""By what a candidate of the whole is judged where nobody says otherwise, and its share of items; commands read it, so that it imports nothing."""

from __future__ import annotations

SHARE_FILE = "share.yaml"
"""Beside release.yaml: of how many items a candidate decides in earnest."""
MOST = 50.0
"""Percent of them at the most: stable's items, on which the candidate decides in shadow, are what it is judged by."""
SINCE = "14d"
"""Records this long back."""
MINIMUM, MARGIN, CONFIDENCE = 300, 0.02, 0.95
"""Items that both decided before a verdict; what a candidate may cost more, as a share of what stable costs; of the interval."""
