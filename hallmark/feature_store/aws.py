"""How AWS is asked, for all parts of the feature store that lie there."""

from __future__ import annotations

from hallmark.errors import Unavailable


def unsigned(what: str, got: object = "none") -> Unavailable:
    """The refusal where no credentials are found to ask for `what` by."""
    return Unavailable(
        f"nobody says who asks for {what}",
        expected="credentials of AWS",
        got=str(got),
        fix="sign in (`aws sso login`), set AWS_PROFILE, or give the pod's service account its role",
    )
