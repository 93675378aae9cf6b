"""MLflow's workspaces, one a domain, and what the platform's own users may do in each: the watch reads that domain's model and moves its
aliases and tags, the page (`hallmark ui`) reads the model and the runs.

Run by MLflow's admin, again whenever a domain is added; what is there already stays:

    export MLFLOW_TRACKING_URI=… MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=…
    python -m tools.mlflow_workspaces s3://hallmark-dev-artifacts --watch watch --ui ui
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlflow

from hallmark.declaration.domain import names
from hallmark.settings import Settings

ROLES = "/api/3.0/mlflow/roles"
WATCH, UI = "hallmark-watch", "hallmark-ui"
PERMISSIONS = {
    WATCH: (("registered_model", "{domain}", "EDIT"),),
    UI: (("registered_model", "{domain}", "READ"), ("experiment", "*", "READ")),
}
"""What each role has in a domain's workspace: of which resources, of which name, what.

EDIT is the least of MLflow's permissions that moves an alias. It makes, deletes and manages nothing, and reads no run.
"""


def ask(method: str, path: str, **sent: Any) -> dict[str, Any]:
    """The answer of MLflow's interface for users and roles, of which its own client loads the whole server."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    there = "params" if method == "GET" else "json"
    answer = http_request(get_default_host_creds(mlflow.get_tracking_uri()), path, method, **{there: sent})
    return dict(verify_rest_response(answer, path).json())


def prepare(domains: Sequence[str], root: str, users: Mapping[str, str]) -> list[str]:
    """Make what is missing for these domains; a line for each thing made.

    root: where artifacts lie; a workspace's are at <root>/<domain>/models.
    users: who has which of the roles above; each user is there before.
    """
    made = []
    there = {workspace.name for workspace in mlflow.list_workspaces()}
    assigned = {
        (user, role["workspace"], role["name"])
        for user in users.values()
        for role in ask("GET", "/api/3.0/mlflow/users/roles/list", username=user)["roles"]
    }
    for domain in domains:
        if domain not in there:
            mlflow.create_workspace(domain, default_artifact_root=f"{root.rstrip('/')}/{domain}/models")
            made.append(f"workspace {domain}")
        there_too = {role["name"]: role for role in ask("GET", f"{ROLES}/list", workspace=domain)["roles"]}
        for name, user in users.items():
            role = there_too.get(name) or ask("POST", f"{ROLES}/create", workspace=domain, name=name)["role"]
            made += _granted(role, domain)
            if (user, domain, name) not in assigned:
                ask("POST", f"{ROLES}/assign", username=user, role_id=role["id"])
                made.append(f"role {name} of {user} in {domain}")
    return made


def _granted(role: Mapping[str, Any], domain: str) -> Iterator[str]:
    """Give a role what it lacks; a line for each."""
    granted = ask("GET", f"{ROLES}/permissions/list", role_id=str(role["id"]))["role_permissions"]
    for kind, pattern, permission in PERMISSIONS[role["name"]]:
        named = pattern.format(domain=domain)
        wanted = {"resource_type": kind, "resource_pattern": named, "permission": permission}
        if not any(wanted.items() <= each.items() for each in granted):
            ask("POST", f"{ROLES}/permissions/add", role_id=role["id"], **wanted)
            yield f"permission {permission} on {kind.replace('_', ' ')} {named} in {domain}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", help="where artifacts lie, such as s3://hallmark-dev-artifacts")
    parser.add_argument("--watch", default="watch", help="the watch's user, made before")
    parser.add_argument("--ui", default="ui", help="the page's user, made before")
    asked = parser.parse_args()
    made = prepare(names(Settings.load()), asked.root, {WATCH: asked.watch, UI: asked.ui})
    sys.stdout.write("\n".join(made or ["all of it is there"]) + "\n")


if __name__ == "__main__":
    main()
