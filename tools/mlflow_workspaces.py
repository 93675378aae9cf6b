"""MLflow's workspaces, one a domain, and what the watch may do in each: read that domain's model, move its aliases and tags.

Run by MLflow's admin, again whenever a domain is added; what is there already stays:

    export MLFLOW_TRACKING_URI=… MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=…
    python -m tools.mlflow_workspaces s3://hallmark-dev-artifacts --watch watch
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mlflow

from hallmark.declaration.domain import names
from hallmark.settings import Settings

ROLES = "/api/3.0/mlflow/roles"
ROLE = "hallmark-watch"
EDIT = "EDIT"
"""EDIT is the least of MLflow's permissions that moves an alias. It makes, deletes and manages nothing, and reads no run."""


def ask(method: str, path: str, **sent: Any) -> dict[str, Any]:
    """The answer of MLflow's interface for users and roles, of which its own client loads the whole server."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    there = "params" if method == "GET" else "json"
    answer = http_request(get_default_host_creds(mlflow.get_tracking_uri()), path, method, **{there: sent})
    return dict(verify_rest_response(answer, path).json())


def prepare(domains: Sequence[str], root: str, user: str) -> list[str]:
    """Make what is missing for these domains; a line for each thing made.

    root: where artifacts lie; a workspace's are at <root>/<domain>/models.
    user: the watch's user, which is there before.
    """
    made = []
    there = {workspace.name for workspace in mlflow.list_workspaces()}
    assigned = [
        (role["workspace"], role["name"])
        for role in ask("GET", "/api/3.0/mlflow/users/roles/list", username=user)["roles"]
    ]
    for domain in domains:
        if domain not in there:
            mlflow.create_workspace(domain, default_artifact_root=f"{root.rstrip('/')}/{domain}/models")
            made.append(f"workspace {domain}")
        known = [role for role in ask("GET", f"{ROLES}/list", workspace=domain)["roles"] if role["name"] == ROLE]
        role = known[0] if known else ask("POST", f"{ROLES}/create", workspace=domain, name=ROLE)["role"]
        wanted = {"resource_type": "registered_model", "resource_pattern": domain, "permission": EDIT}
        granted = ask("GET", f"{ROLES}/permissions/list", role_id=str(role["id"]))["role_permissions"]
        if not any(wanted.items() <= each.items() for each in granted):
            ask("POST", f"{ROLES}/permissions/add", role_id=role["id"], **wanted)
            made.append(f"permission {EDIT} on the model {domain}")
        if (domain, ROLE) not in assigned:
            ask("POST", f"{ROLES}/assign", username=user, role_id=role["id"])
            made.append(f"role {ROLE} of {user} in {domain}")
    return made


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", help="where artifacts lie, such as s3://hallmark-dev-artifacts")
    parser.add_argument("--watch", default="watch", help="the watch's user, made before")
    asked = parser.parse_args()
    made = prepare(names(Settings.load()), asked.root, asked.watch)
    sys.stdout.write("\n".join(made or ["all of it is there"]) + "\n")


if __name__ == "__main__":
    main()
