"""Remedies for values of a pod that the API server refuses: what to write, by the key where it stands."""

from __future__ import annotations

from hallmark.lint.source import Keys

_NAME = "a name of at most 63 small letters, digits and dashes, with a letter or digit at both ends"
_OBJECT = "the name of one that exists: small letters, digits, dashes and dots"
_PORT = "a number from 1 to 65535"
_ID = "a number from 0 to 2147483647"
_COUNT = "a whole number of 0 or more"
_HANDLER = "one handler: httpGet or tcpSocket with a port, exec or grpc"
_HOOK = "one handler: exec, httpGet, tcpSocket or sleep"
_BELOW = "a path below the volume: no / at its beginning, and no .. in it"
_TERM = "a topologyKey: the key of a node's label, such as topology.kubernetes.io/zone"
_SOURCE = (
    "one source, and no value beside it: secretKeyRef or configMapKeyRef with name and key, fieldRef with a fieldPath such as "
    "metadata.name, or resourceFieldRef with a resource such as limits.memory"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

_WRITE = {
    "dnsPolicy": "ClusterFirst, ClusterFirstWithHostNet or Default; None only with dnsConfig.nameservers",
    "restartPolicy": "Always, OnFailure or Never",
    "preemptionPolicy": "PreemptLowerPriority; Never only beside a priorityClassName",
    "priority": "a priorityClassName in its place, which sets it",
    "overhead": "a runtimeClassName beside it, which sets it, or take it away",
    "os.name": "linux",
    "serviceAccountName": _OBJECT,
    "priorityClassName": _OBJECT,
    "schedulerName": _OBJECT,
    "runtimeClassName": _OBJECT,
    "nodeSelector": "a node's label: key and value of at most 63 letters, digits, -, _ and ., the value in quotes",
    "tolerations": (
        "operator: Equal with a key and a value, or Exists without a value; effect NoSchedule, PreferNoSchedule, NoExecute or none; "
        "tolerationSeconds with NoExecute alone"
    ),
    "topologySpreadConstraints": (
        "maxSkew of 1 or more, a topologyKey such as topology.kubernetes.io/zone, and whenUnsatisfiable: DoNotSchedule or ScheduleAnyway, "
        "each pair once; minDomains of 1 or more with DoNotSchedule alone; matchLabelKeys with a labelSelector"
    ),
    "matchExpressions": (
        "operator In or NotIn with values, Exists or DoesNotExist without; about nodes Gt or Lt too, with one number"
    ),
    "matchFields": "operator In or NotIn with values",
    f"nodeAffinity.{_REQUIRED}": "nodeSelectorTerms with one entry at least",
    f"podAffinity.{_REQUIRED}": _TERM,
    f"podAntiAffinity.{_REQUIRED}": _TERM,
    "volumes": (
        "one source in each volume, with its name: configMap.name, secret.secretName, persistentVolumeClaim.claimName, or emptyDir: {}"
    ),
    "volumes.name": _NAME,
    "emptyDir.medium": 'Memory, HugePages-2Mi or another huge page, or "" for the node\'s disk',
    "emptyDir.sizeLimit": "an amount of 0 or more, such as 1Gi",
    "defaultMode": "a mode from 0 to 511, which is 0777",
    "items.path": _BELOW,
    "sysctls.name": "a sysctl that Pod Security allows, such as net.ipv4.tcp_keepalive_time, or take it away",
    "resourceClaims": "resourceClaimName or resourceClaimTemplateName, one of them",
    "resources.claims": "the name of one of the pod's resourceClaims",
    "runAsUser": _ID,
    "runAsGroup": _ID,
    "fsGroup": _ID,
    "windowsOptions.hostProcess": "false, or take windowsOptions away: these nodes run Linux",
    "fsGroupChangePolicy": "Always or OnRootMismatch",
    "seccompProfile": "type: RuntimeDefault without a localhostProfile; Localhost needs one",
    "procMount": "Default, or take it away",
    "seLinuxOptions": (
        "no user and no role, and as type container_t, container_init_t, container_kvm_t or container_engine_t"
    ),
    "appArmorProfile.type": "RuntimeDefault or Localhost",
    "containers.name": _NAME,
    "initContainers.name": _NAME,
    "containers": f"name: {_NAME}",
    "initContainers": f"name: {_NAME}",
    "imagePullPolicy": "Always, IfNotPresent or Never",
    "terminationMessagePolicy": "File or FallbackToLogsOnError",
    "env": "a name for the variable",
    "env.name": "a name without =",
    "env.valueFrom": _SOURCE,
    "envFrom": "configMapRef or secretRef, one of them, with the name of one that exists",
    "ports.containerPort": _PORT,
    "ports.name": "at most 15 small letters, digits and dashes, with one letter at least",
    "ports.protocol": "TCP, UDP or SCTP",
    "livenessProbe": _HANDLER,
    "readinessProbe": _HANDLER,
    "startupProbe": _HANDLER,
    "readinessProbe.terminationGracePeriodSeconds": "it under livenessProbe or startupProbe, and nothing here",
    "initialDelaySeconds": _COUNT,
    "timeoutSeconds": _COUNT,
    "periodSeconds": _COUNT,
    "failureThreshold": _COUNT,
    "terminationGracePeriodSeconds": _COUNT,
    "successThreshold": "1; more in a readinessProbe alone",
    "httpGet": _HANDLER,
    "tcpSocket": _HANDLER,
    "httpGet.port": _PORT,
    "tcpSocket.port": _PORT,
    "grpc.port": _PORT,
    "httpGet.scheme": "HTTP or HTTPS",
    "httpHeaders": "a header's name: letters, digits and dashes",
    "postStart": _HOOK,
    "preStop": _HOOK,
    "sleep.seconds": "0 up to the pod's terminationGracePeriodSeconds, which is 30 unless it says more",
    "volumeMounts.name": "the name of one of the pod's volumes",
    "volumeDevices.name": "the name of one of the pod's volumes",
    "volumeMounts.mountPath": "a path that no other mount of the container has; /mnt/models is KServe's beside a storageUri",
    "volumeMounts.subPath": _BELOW,
    "volumeMounts.mountPropagation": "None or HostToContainer; Bidirectional only where privileged is true",
}


def remedy(path: Keys) -> str:
    """The fix for the value at `path`, by the longest end of it that is known; empty for none."""
    keys = [key for key in path if isinstance(key, str)]
    for end in range(len(keys), 0, -1):
        for parts in (2, 1):
            if end >= parts and (found := _WRITE.get(".".join(keys[end - parts : end]))):
                return f"write {found}"
    return ""
