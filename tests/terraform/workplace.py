"""A terraform that works on a copy of `terraform/`, offline where the provider lies in a mirror and from a registry alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CODE = ROOT / "terraform"
MODULES = sorted(path.name for path in (CODE / "modules").iterdir() if path.is_dir())
ROOTS = ("foundation", "domains")
ENVIRONMENTS = ("dev", "staging", "production")
GUARD = "prevent_destroy = true"
PROVIDER = "hashicorp/aws"


def mirror() -> Path | None:
    """The folder of a filesystem mirror with the provider: TF_PLUGIN_MIRROR, or where such mirrors usually are; none without one."""
    named = os.environ.get("TF_PLUGIN_MIRROR")
    likely = [Path(named)] if named else [*Path("/opt").glob("*"), *Path("/usr/local/share/terraform").glob("*")]
    likely += (
        [] if named else [Path.home() / ".terraform.d" / "plugins", Path.home() / ".local/share/terraform/plugins"]
    )
    return next((folder for folder in likely if any(folder.glob(f"*/{PROVIDER}"))), None)


def configuration(folder: Path) -> Path:
    """Terraform's own configuration, written to `folder`: the provider from the mirror where there is one, from its registry else."""
    path = folder / "terraform.rc"
    found = mirror()
    path.write_text(
        "provider_installation {\n"
        f'  filesystem_mirror {{\n    path    = "{found}"\n    include = ["{PROVIDER}"]\n  }}\n'
        f'  direct {{\n    exclude = ["{PROVIDER}"]\n  }}\n}}\n'
        if found
        else ""
    )
    return path


class Workplace:
    """A copy of `terraform/`, `domains/` and `features/` in which commands are run; nothing is written beside the sources."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None) -> None:
        """Copy into `folder`; `environment` is added to that of every command."""
        self.folder = folder
        self.code = folder / "terraform"
        shutil.copytree(CODE, self.code, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        for declaration in (ROOT / "domains").glob("*/domain.yaml"):
            target = folder / "domains" / declaration.parent.name
            target.mkdir(parents=True)
            shutil.copy(declaration, target)
        shutil.copytree(ROOT / "features", folder / "features")
        (folder / "plugins").mkdir()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))},
            "TF_CLI_CONFIG_FILE": str(configuration(folder)),
            "TF_PLUGIN_CACHE_DIR": str(folder / "plugins"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            **(environment or {}),
        }

    def run(
        self, *arguments: str, at: str = ".", accept: tuple[int, ...] = (0,), timeout: int = 400
    ) -> subprocess.CompletedProcess[str]:
        """One command in the folder `at` of the code; ends the test with its output where it ends otherwise than in `accept`."""
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.code / at,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode not in accept:
            raise AssertionError(
                f"terraform {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def init(self, at: str, *arguments: str) -> None:
        """Initialise the folder `at`."""
        self.run("init", "-input=false", "-no-color", *arguments, at=at)

    def plan(self, root: str, *arguments: str) -> dict[str, Any]:
        """The plan of a root, as `terraform show -json` gives it."""
        self.run("plan", "-input=false", "-no-color", "-out=this.tfplan", *arguments, at=root)
        plan: dict[str, Any] = json.loads(self.run("show", "-json", "this.tfplan", at=root).stdout)
        return plan

    def unguard(self) -> list[str]:
        """Take `prevent_destroy` out of this copy, which no variable can switch off; the places it was taken from."""
        places = []
        for path in sorted(self.code.glob("modules/*/*.tf")):
            lines = path.read_text().splitlines(keepends=True)
            kept = [line for line in lines if not line.strip().startswith(GUARD)]
            if len(kept) < len(lines):
                places.append(path.parent.name)
                path.write_text("".join(kept))
        return places

    def declare(self, name: str) -> None:
        """Add a domain to this copy's declarations, as somebody would who copies the nearest one."""
        target = self.folder / "domains" / name
        target.mkdir()
        text = (self.folder / "domains" / "fraud" / "domain.yaml").read_text()
        (target / "domain.yaml").write_text(text.replace("name: fraud", f"name: {name}", 1))


def changes(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """Address to actions of everything that a plan changes."""
    return {
        change["address"]: change["change"]["actions"]
        for change in plan.get("resource_changes", [])
        if change["change"]["actions"] not in (["no-op"], ["read"])
    }
