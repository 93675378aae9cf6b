"""Every module and root: formatted, valid, tested with mock_provider, typed and described; environments are var-files only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.terraform.workplace import CODE, ENVIRONMENTS, MODULES, ROOT, ROOTS, Workplace

PLACES = [*(f"modules/{name}" for name in MODULES), *ROOTS]


def blocks(kind: str, path: Path) -> dict[str, str]:
    """Name to text of the blocks of a kind in a formatted file."""
    return dict(re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}', path.read_text(), flags=re.MULTILINE | re.DOTALL))


def test_everything_is_formatted(workplace: Workplace) -> None:
    unformatted = workplace.run("fmt", "-check", "-recursive", "-no-color", accept=(0, 3))
    assert unformatted.stdout.split() == [], "run: terraform fmt -recursive terraform"


@pytest.mark.parametrize("place", PLACES)
def test_it_is_valid(workplace: Workplace, place: str) -> None:
    workplace.init(place, "-backend=false")
    valid = workplace.run("validate", "-no-color", at=place)
    assert "Success! The configuration is valid." in valid.stdout


@pytest.mark.parametrize("module", MODULES)
def test_its_own_tests_pass(workplace: Workplace, module: str) -> None:
    workplace.init(f"modules/{module}", "-backend=false")
    answer = workplace.run("test", "-no-color", at=f"modules/{module}")
    passed = re.search(r"Success! (\d+) passed, 0 failed", answer.stdout)
    written = (CODE / "modules" / module / "tests" / f"{module}.tftest.hcl").read_text().count('\nrun "')
    assert passed, answer.stdout
    assert int(passed[1]) == written


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_files_that_every_module_has(module: str) -> None:
    names = {path.name for path in (CODE / "modules" / module).iterdir()}
    assert {"main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md", "tests"} <= names


@pytest.mark.parametrize("place", PLACES)
def test_variables_and_outputs_are_typed_and_described(place: str) -> None:
    variables = blocks("variable", CODE / place / "variables.tf")
    outputs = blocks("output", CODE / place / "outputs.tf")
    assert variables
    assert [name for name, text in variables.items() if not re.search(r"^  type +=", text, flags=re.MULTILINE)] == []
    assert [
        name
        for name, text in (variables | outputs).items()
        if not re.search(r'^  description += ".{10,}"', text, flags=re.MULTILINE)
    ] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_validation_has_a_case_that_it_refuses(module: str) -> None:
    checked = [
        name
        for name, text in blocks("variable", CODE / "modules" / module / "variables.tf").items()
        if "validation {" in text
    ]
    cases = (CODE / "modules" / module / "tests" / f"{module}.tftest.hcl").read_text()
    refused = set(re.findall(r"expect_failures = \[var\.(\w+)\]", cases))
    assert sorted(set(checked) - refused) == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_values_and_no_code(environment: str) -> None:
    folder = CODE / "environments" / environment
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{root}.{kind}" for root in ROOTS for kind in ("tfvars", "s3.tfbackend")
    )
    for root in ROOTS:
        set_here = set(re.findall(r"^(\w+) +=", (folder / f"{root}.tfvars").read_text(), flags=re.MULTILINE))
        known = blocks("variable", CODE / root / "variables.tf")
        needed = {name for name, text in known.items() if not re.search(r"^  default +=", text, flags=re.MULTILINE)}
        assert needed <= set_here <= set(known)
        assert "emulated" not in set_here, "an environment is never an emulator"
        backend = (folder / f"{root}.s3.tfbackend").read_text()
        assert "use_lockfile = true" in backend
        assert "encrypt      = true" in backend
        assert f'key          = "{root}.tfstate"' in backend


def test_environments_have_accounts_and_networks_of_their_own() -> None:
    texts = [(CODE / "environments" / name / "foundation.tfvars").read_text() for name in ENVIRONMENTS]
    for key in ("account_id", "cidr"):
        found = [re.search(rf'^{key} += "(.*)"', text, flags=re.MULTILINE) for text in texts]
        assert len({match[1] for match in found if match}) == len(ENVIRONMENTS)


def test_names_are_those_of_the_manifests() -> None:
    from hallmark import names

    account = (CODE / "modules" / "domain" / "main.tf").read_text()
    images = (CODE / "modules" / "images" / "variables.tf").read_text()
    for name in (names.PIPELINE, names.PREDICTOR):
        assert re.search(rf"^    {name} = {{", account, flags=re.MULTILINE)
    for job in ("training-python", "serving", "drift", "platform"):
        assert f'"{names.image(job).partition(":")[0]}"' in images
    for reserved in (names.SYSTEM, names.MONITORING, names.INGRESS, names.KUBEFLOW, names.FEATURES):
        assert f'"{reserved}"' in (CODE / "modules" / "domain" / "variables.tf").read_text()
    stream = (CODE / "modules" / "features" / "main.tf").read_text()
    assert re.search(rf'namespace += "{names.FEATURES}"\n +service_account = "{names.STREAM}"', stream)


def test_what_holds_data_cannot_be_destroyed_by_a_plan() -> None:
    guarded = {
        name
        for path in CODE.glob("modules/*/main.tf")
        for name, text in re.findall(
            r'^resource "(\w+" "\w+)" {\n(.*?)^}', path.read_text(), flags=re.MULTILINE | re.DOTALL
        )
        if "prevent_destroy = true" in text
    }
    assert {name.replace('" "', ".") for name in guarded} == {
        "aws_s3_bucket.artifacts",
        "aws_kms_key.artifacts",
        "aws_db_instance.this",
        "aws_kms_key.database",
        "aws_dynamodb_table.features",
    }


def test_what_the_domains_read_of_the_foundation_is_names_only() -> None:
    written = re.search(
        r"insecure_value = jsonencode\(\{(.*?)^  \}\)",
        (CODE / "foundation" / "main.tf").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert written
    assert not re.search(r"secret|password|token", written[1], flags=re.IGNORECASE)


def test_no_module_comes_from_elsewhere() -> None:
    sources = {
        source
        for path in CODE.glob("**/*.tf")
        if ".terraform" not in path.parts
        for source in re.findall(r'^ +source += "([^"]+)"', path.read_text(), flags=re.MULTILINE)
    }
    assert {source for source in sources if not source.startswith("../modules/")} == {"hashicorp/aws"}
    assert (ROOT / "terraform" / ".gitignore").read_text().count(".terraform.lock.hcl") == 1
