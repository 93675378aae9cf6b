"""What is judged together: the checkout behind a file, a build on standard input, the version before, and what a comment allows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hallmark.errors import DeclarationError
from hallmark.lint import checkout, judge
from hallmark.lint.objects import ClusterOptions
from hallmark.lint.rules import LintFinding, Severity
from hallmark.lint.source import Unreadable

SERVICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: fraud
  namespace: fraud
  annotations:
    serving.kserve.io/deploymentMode: Knative
spec:
  predictor:
    serviceAccountName: predictor
    automountServiceAccountToken: false
    model:
      modelFormat: {name: onnx}
      runtime: hallmark-runtime
      storageUri: pvc://models/fraud/1
"""
RUNTIME = """\
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterServingRuntime
metadata: {name: hallmark-runtime}
spec:
  supportedModelFormats: [{name: onnx}]
  containers:
    - name: kserve-container
      image: hallmark/serving:0.1.0
      ports: [{containerPort: 8080}]
      resources: {limits: {cpu: "1", memory: 1Gi}}
      securityContext:
        runAsNonRoot: true
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
        seccompProfile: {type: RuntimeDefault}
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small checkout: a declared domain, its service, the runtime."""
    for path, text in {
        "domains/fraud/domain.yaml": "name: fraud\n",
        "inference_services/fraud/inferenceservice.yaml": SERVICE,
        "inference_services/fraud/release.yaml": "stable: null\nanything: [goes, here]\n",
        "inference_services/runtime/servingruntime.yaml": RUNTIME,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def service_of(house: Path) -> Path:
    return house / "inference_services/fraud/inferenceservice.yaml"


def codes(found: tuple[LintFinding, ...] | list[LintFinding]) -> list[str]:
    return [finding.code for finding in found]


def judged(house: Path, *paths: Path, **more: object) -> judge.LintReport:
    return judge.lint(list(paths), root=house, **more)  # type: ignore[arg-type]


def test_the_checkout_informs_about_a_file_and_is_not_judged_with_it(house: Path) -> None:
    assert judged(house, service_of(house)).findings == ()
    # Its declaration is broken, and nobody asked about it.
    assert "HM701" in codes(judged(house, *checkout.usual(house)).findings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name: fraud", "name: frauds"), "name: expected fraud, as its folder is called; got frauds"),
        (
            ("  timeout: 2s", "  timeout: 2s\n  memory: 1Gi\n  cache: 2Gi"),
            "expected a cache below the pod's memory, 1Gi",
        ),
    ],
)
def test_a_declaration_that_cannot_be_served_is_refused(house: Path, change: tuple[str, str], said: str) -> None:
    good = Path(__file__).parent / "fixtures/HM701-refused-declaration/good/domain.yaml"
    declared = house / "domains/fraud/domain.yaml"
    declared.write_text(good.read_text())
    assert judged(house, declared).findings == ()
    declared.write_text(good.read_text().replace(*change))
    (finding,) = judged(house, declared).findings
    assert finding.code == "HM701" and said in finding.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "reads: [photos]",
            "reads: [photos, reviewer.verdict]",
            "decision.nodes.view.reads: nobody has answered reviewer.verdict whenever step look comes: read what earlier steps ask for",
        ),
        ("start: look", "start: loop", "decision.start: start is loop, which is no step: name one of look, ask"),
        ("      timeout: 500ms", "      timeout: 0s", "decision.nodes.expert: timeout is 0s, so that no answer comes in time: write more"),
    ],
)  # fmt: skip
def test_what_a_decision_contradicts_is_told_with_its_key_once(house: Path, old: str, new: str, said: str) -> None:
    good = Path(__file__).parent / "fixtures/HM757-endless-decision/good/domain.yaml"
    declared = house / "domains/fraud/domain.yaml"
    assert old in good.read_text()
    declared.write_text(good.read_text().replace(old, new))
    (finding,) = [each for each in judged(house, declared).findings if each.code == "HM701"]
    assert finding.message == said


def test_a_runtimes_fault_is_found_through_the_service_that_it_breaks(house: Path) -> None:
    runtime = house / "inference_services/runtime/servingruntime.yaml"
    runtime.write_text(RUNTIME.replace("containerPort: 8080", "containerPort: 9090"), encoding="utf-8")
    (finding,) = judged(house, service_of(house)).findings
    assert (finding.code, finding.file, finding.line) == ("HM302", "inference_services/runtime/servingruntime.yaml", 9)


def test_a_build_on_standard_input_stands_for_the_files_it_was_made_of(house: Path) -> None:
    report = judged(
        house,
        stdin=f"{SERVICE}    minReplicas: 3\n    maxReplicas: 2\n".replace("    minReplicas", "  #\n    minReplicas"),
    )
    assert codes(report.findings) == ["HM113"]
    assert report.findings[0].file == "stdin" and report.files == 1


def test_a_comment_with_a_reason_allows_a_finding_on_its_line_or_the_next(house: Path) -> None:
    path = service_of(house)
    broken = SERVICE.replace("deploymentMode: Knative", "deploymentMode: Serverless")

    def left(text: str) -> list[str]:
        path.write_text(text, encoding="utf-8")
        return codes(judged(house, path).findings)

    allow = "# hallmark-lint: allow HM102 because the old cluster knows no other name"
    assert left(broken) == ["HM102"]
    assert left(broken.replace("    serving", f"    {allow}\n    serving", 1)) == []
    assert left(broken.replace("Serverless", f"Serverless {allow}")) == []
    assert left(broken.replace("spec:", f"spec: {allow}")) == ["HM102"]
    for weak in ("allow HM102", "allow HM102 because", "allow HM101 because it is another", "allow because of me"):
        assert left(broken.replace("Serverless", f"Serverless # hallmark-lint: {weak}")) == ["HM102"], weak


def test_patches_of_a_kustomization_are_no_objects_by_themselves(house: Path) -> None:
    folder = house / "manifests/clusters/dev"
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text("resources: [../base]\npatches: [{path: mode.yaml}]\n", encoding="utf-8")
    (folder / "mode.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", encoding="utf-8")
    assert codes(judged(house, house / "manifests").findings) == []
    # Named, it is judged all the same.
    assert codes(judged(house, folder / "mode.yaml").findings) == ["HM601"]


def test_a_kustomization_gives_the_namespace_and_its_patch_does_not(house: Path) -> None:
    folder = house / "manifests"
    folder.mkdir()
    (folder / "one.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", encoding="utf-8")
    (folder / "any.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: any, namespace: fraud}\n", encoding="utf-8"
    )
    for kustomization, expected in {
        "resources: [one.yaml]\n": ["HM601"],
        "resources: [./one.yaml]\nnamespace: fraud\n": [],
        "resources: [one.yaml]\npatches: [{path: any.yaml, target: {kind: ConfigMap}}]\n": ["HM601"],
    }.items():
        (folder / "kustomization.yaml").write_text(kustomization, encoding="utf-8")
        assert codes(judged(house, folder).findings) == expected, kustomization


def test_what_was_before_is_read_from_a_folder_or_from_git(
    house: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = service_of(house)
    before = tmp_path_factory.mktemp("before")
    old = before / path.relative_to(house)
    old.parent.mkdir(parents=True)
    old.write_text(SERVICE, encoding="utf-8")

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=house, check=True, capture_output=True
        )

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "before")
    path.write_text(
        SERVICE.replace("  predictor:", "  predictor:\n    name: v2").replace("Knative", "Standard"), encoding="utf-8"
    )
    for against in (str(before), "HEAD"):
        assert codes(judged(house, path, against=against).findings) == ["HM216", "HM209"]
    assert codes(judged(house, path).findings) == []
    with pytest.raises(DeclarationError, match="--against nowhere"):
        judged(house, path, against="nowhere")
    with pytest.raises(DeclarationError):
        judged(house, path, against="--output=x")


def test_a_share_is_refused_for_a_service_that_was_not_there(
    house: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = service_of(house)
    path.write_text(SERVICE.replace("  predictor:", "  predictor:\n    canaryTrafficPercent: 10"), encoding="utf-8")
    empty = tmp_path_factory.mktemp("empty")
    assert codes(judged(house, path, against=str(empty)).findings) == ["HM303"]
    assert codes(judged(house, path).findings) == []


def test_what_cannot_be_read_is_told_and_the_rest_is_judged(house: Path) -> None:
    (house / "inference_services/fraud/broken.yaml").write_text("a: [1", encoding="utf-8")
    (house / "inference_services/fraud/binary.yaml").write_bytes(b"\xff\xfe\x00a")
    service_of(house).write_text(SERVICE.replace("pvc://", "mlflow://"), encoding="utf-8")
    report = judged(house, house / "inference_services")
    assert codes(report.findings) == ["HM106"] and report.files == 3
    assert sorted(text.split()[0] for text in report.unreadable) == [
        "inference_services/fraud/binary.yaml",
        "inference_services/fraud/broken.yaml:2:1",
    ]
    with pytest.raises(Unreadable, match="is not there"):
        judged(house, house / "nowhere")


def test_the_clusters_kserve_is_read_from_the_application_that_installs_it(house: Path) -> None:
    path = service_of(house)
    canary = "  canary:\n  - trafficPercent: 10\n    predictor: {name: v2, model: {name: kserve-container, modelFormat: {name: onnx}, storageUri: pvc://models/fraud/2}}\n"
    path.write_text(SERVICE.replace("Knative", "Standard").replace("spec:\n", f"spec:\n{canary}"), encoding="utf-8")
    application = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "kserve", "namespace": "argocd"},
        "spec": {"source": {"repoURL": "oci://ghcr.io/kserve/charts", "chart": "kserve", "targetRevision": "v0.20.0"}},
    }
    file = house / "manifests/platform/kserve.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(application), encoding="utf-8")
    (finding,) = judged(house, path).findings
    assert finding.code == "HM210" and "0.20.0 (Application kserve)" in finding.message
    # The command line knows better.
    assert codes(judged(house, path, options=ClusterOptions(kserve="v0.21.0")).findings) == []
    assert codes(judged(house, path, options=ClusterOptions(kserve="0.21", gateway_api=False)).findings) == ["HM211"]


def test_a_mode_that_is_asked_for_is_that_of_services_that_do_not_say(house: Path) -> None:
    path = service_of(house)
    silent = SERVICE.replace("  annotations:\n    serving.kserve.io/deploymentMode: Knative\n", "")
    path.write_text(silent.replace("  predictor:", "  predictor:\n    canaryTrafficPercent: 10"), encoding="utf-8")
    assert codes(judged(house, path).findings) == ["HM101"]
    assert codes(judged(house, path, options=ClusterOptions(mode="Standard")).findings) == ["HM101", "HM201"]
    assert codes(judged(house, path, options=ClusterOptions(mode="Knative")).findings) == ["HM101"]


def test_a_list_holds_objects_with_lines_of_their_own() -> None:
    items = "".join(
        f"- {line}\n" if not index else f"  {line}\n"
        for index, line in enumerate(SERVICE.replace("pvc", "mlflow").splitlines())
    )
    text = f"apiVersion: v1\nkind: List\nitems:\n{items}"
    found = judge.findings(list(judge.documents(text, shown="list.yaml")))
    assert [(finding.code, finding.line) for finding in found] == [("HM106", 18)]


def test_findings_come_in_the_order_of_files_and_lines_and_each_once(house: Path) -> None:
    path = service_of(house)
    path.write_text(
        SERVICE.replace("pvc://models", "mlflow://..").replace("name: fraud\n", "name: Fraud\n"), encoding="utf-8"
    )
    found = judged(house, path, path).findings
    assert [(finding.code, finding.line) for finding in found] == [("HM114", 4), ("HM106", 15), ("HM108", 15)]
    assert all(finding.severity is Severity.error for finding in found)
