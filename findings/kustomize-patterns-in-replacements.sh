#!/usr/bin/env bash
# The same kustomization gives two results, by the kustomize that builds it, and neither says a word. Under `patches` the name of a target is
# a regular expression in every version. Under `replacements` the name in `select` is compared as it stands in 5.5.0 (the one in
# kubectl 1.32): a pattern selects nothing, the build ends with 0 and the old value stays. In 5.8.1 it is a regular expression there too.
# Versions: kustomize 5.5.0 and 5.8.1.
# Why it matters: a cluster is built by more than one kustomize (kubectl on a laptop, CI, Argo CD's own). A host or a bucket that is replaced by
# a pattern is right where one is new, and silently that of the base where another is older. Name each object in `select`, and test the
# build for the value that must be gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
export GOBIN=$folder/bin GOPATH=$folder/go
cat > "$folder/objects.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: one-settings}
data: {host: base.example}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two-settings}
data: {host: base.example}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: source}
data: {host: production.example}
YAML
replacements() {
  cat <<YAML
resources: [objects.yaml]
replacements:
  - source: {kind: ConfigMap, name: source, fieldPath: data.host}
    targets:
      - select: {kind: ConfigMap, name: "$1"}
        fieldPaths: [data.host]
YAML
}
patches() {
  cat <<YAML
resources: [objects.yaml]
patches:
  - target: {kind: ConfigMap, name: "$1"}
    patch: |-
      - {op: replace, path: /data/host, value: production.example}
YAML
}
replaced() { "$folder/bin/kustomize" build "$folder" | grep -c "host: production.example" || true; }
failed=0
# The source has the value too: 1 is nothing, 2 one object, 3 both.
for versions in "v5.5.0 1" "v5.8.1 3"; do
  read -r version by_pattern <<< "$versions"
  go install "sigs.k8s.io/kustomize/kustomize/v5@$version"
  echo "kustomize $version"
  for case in "patches one-settings 2" "patches .*-settings 3" "replacements one-settings 2" "replacements .*-settings $by_pattern"; do
    read -r kind name expected <<< "$case"
    "$kind" "$name" > "$folder/kustomization.yaml"
    found=$(replaced)
    echo "  $kind, name $name: $((found - 1)) of 2 objects changed"
    [ "$found" = "$expected" ] || failed=1
  done
done
[ "$failed" = 0 ] || { echo "this is not what was seen before"; exit 1; }
