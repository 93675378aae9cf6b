"""A fix says what to write, and a finding where: of the rules that are about many keys, for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.cli import main
from hallmark.lint.catalogue import rules

POD = """
dnsPolicy: Often
priority: 5
preemptionPolicy: Never
overhead: {cpu: 1m}
os: {name: windows}
serviceAccountName: Fraud_
nodeSelector: {gpu: "a b"}
resourceClaims: [{name: a}]
tolerations: [{key: gpu, operator: Is}]
topologySpreadConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Like}]}]}
  podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}, topologyKey: ""}]}
volumes:
- {name: A_B, emptyDir: {medium: Tape, sizeLimit: "-1"}}
- {name: two, emptyDir: {}, secret: {secretName: a}}
- {name: three, secret: {secretName: a, defaultMode: 9999, items: [{key: a, path: /etc}]}}
securityContext: {fsGroupChangePolicy: Sometimes, runAsUser: -4, sysctls: [{name: kernel.panic, value: "1"}], seccompProfile: {type: Own}}
containers:
- name: A_B
  image: a@sha256:00
  imagePullPolicy: Often
  terminationMessagePolicy: Loud
  env: [{name: a=b, value: c}, {name: b, value: c, valueFrom: {fieldRef: {fieldPath: x}}}, {name: c, valueFrom: {fieldRef: {fieldPath: x}}}]
  envFrom: [{prefix: a}]
  ports: [{containerPort: 70000, name: "-", protocol: HTTP}]
  livenessProbe: {exec: {command: [a]}, httpGet: {port: 80}, successThreshold: 2, periodSeconds: -1}
  readinessProbe: {httpGet: {port: 99999, scheme: FTP, httpHeaders: [{name: "a b", value: c}]}, terminationGracePeriodSeconds: 3}
  lifecycle: {preStop: {sleep: {seconds: 99}}, postStart: {}}
  volumeMounts: [{name: none, mountPath: /a, subPath: ../b, mountPropagation: Bidirectional}, {name: two, mountPath: /a}]
  securityContext: {procMount: Unmasked, seLinuxOptions: {user: root}, appArmorProfile: {type: Unconfined}}
  resources: {claims: [{name: none}]}
"""


def lint(data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    path = tmp_path / "it.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["lint", str(path), *more]) == 3
    return capsys.readouterr().out


def service(**predictor: Any) -> dict[str, Any]:
    kind = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    meta = {"name": "a", "namespace": "fraud", "annotations": {"serving.kserve.io/deploymentMode": "Knative"}}
    model = {"modelFormat": {"name": "onnx"}, "storageUri": "s3://models/a"}
    return {**kind, "metadata": meta, "spec": {"predictor": {"model": model, **predictor}}}


def test_each_value_of_a_pod_that_is_refused_has_a_fix_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "a"}, "spec": yaml.safe_load(POD)}
    found = yaml.safe_load(lint(data, tmp_path, capsys, "-o", "json"))
    mine = [(each["key"], each["fix"]) for each in found if each["code"] == "HM516"]
    general = next(rule.fix for rule in rules() if rule.code == "HM516")
    assert len(mine) > 35
    assert [key for key, fix in mine if fix == general or not fix.startswith("write ")] == []
    fixes = dict(mine)
    assert (
        "NoSchedule" in fixes["spec.tolerations.0"]
        and "TCP, UDP or SCTP" in fixes["spec.containers.0.ports.0.protocol"]
    )
    assert "volumes" in fixes["spec.containers.0.volumeMounts.0.name"]


@pytest.mark.parametrize(
    ("predictor", "fix"),
    [
        ({"minReplicas": 5, "maxReplicas": 2}, "write minReplicas: 2, or maxReplicas: 5 or more, under spec.predictor"),
        ({"minReplicas": -1}, "write 0 or more, under spec.predictor"),
        ({"timeout": 700}, "write timeout: 600 or less, in seconds"),
        ({"containerConcurrency": 2000}, "write containerConcurrency: 0 (no limit) to 1000"),
        ({"scaleTarget": 0}, "write scaleTarget: 1 or more"),
    ],
)
def test_a_number_that_is_refused_is_told_with_the_numbers_that_are_not(
    predictor: dict[str, Any], fix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"    fix {fix}" in lint(service(**predictor), tmp_path, capsys)


def test_what_a_schema_refuses_is_told_with_what_it_takes_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = lint(service(scaleMetric="bytes"), tmp_path, capsys)
    assert "    at  spec.predictor.scaleMetric\n" in told and "write one of cpu, memory, concurrency, rps" in told
    assert [line for line in told.splitlines() if len(line) > 80 and " " in line.strip()] == []
    meta = {"name": "a", "namespace": "fraud"}
    data = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"name": "a"}]}}
    told = lint(data, tmp_path, capsys)
    assert "    at  spec.ports.0.port\n" in told and "    fix write port: a whole number, under spec.ports.0\n" in told
