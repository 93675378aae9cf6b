"""The keys of KServe 0.21's InferenceService where ours are written; a test compares them with its schema."""

from __future__ import annotations

SPEC = frozenset(
    """
    canary explainer predictor transformer
    """.split()  # noqa: SIM905
)
CANARY = frozenset(
    """
    predictor trafficPercent
    """.split()  # noqa: SIM905
)
PREDICTOR = frozenset(
    """
    activeDeadlineSeconds affinity annotations autoScaling automountServiceAccountToken batcher
    canaryTrafficPercent containerConcurrency containers deploymentStrategy dnsConfig dnsPolicy
    enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname
    hostnameOverride huggingface imagePullSecrets initContainers labels lightgbm logger maxReplicas minReplicas
    model name nodeName nodeSelector onnx os overhead paddle pmml preemptionPolicy priority priorityClassName
    pytorch readinessGates resourceClaims resources restartPolicy runtimeClassName scaleMetric scaleMetricType
    scaleTarget schedulerName schedulingGates securityContext serviceAccount serviceAccountName
    setHostnameAsFQDN shareProcessNamespace sklearn storageContainerName storageUris subdomain tensorflow
    terminationGracePeriodSeconds timeout tolerations topologySpreadConstraints triton volumes workerSpec
    xgboost
    """.split()  # noqa: SIM905
)
MODEL = frozenset(
    """
    args command confidential env envFrom image imagePullPolicy lifecycle livenessProbe modelFormat name ports
    protocolVersion readinessProbe resizePolicy resources restartPolicy restartPolicyRules runtime
    runtimeVersion securityContext startupProbe stdin stdinOnce storage storageUri terminationMessagePath
    terminationMessagePolicy tty volumeDevices volumeMounts workingDir
    """.split()  # noqa: SIM905
)
