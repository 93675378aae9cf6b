// Command kserve reads the data of KServe's ConfigMap inferenceservice-config from standard input (JSON) with the loaders of its
// controllers and webhooks, and prints one line for each refusal. Those drop a key that they do not know; here it is refused.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/kserve/kserve/pkg/apis/serving/v1beta1"
	"github.com/kserve/kserve/pkg/credentials"
	"github.com/kserve/kserve/pkg/types"
	"github.com/kserve/kserve/pkg/webhook/admission/pod"
	"hallmark.dev/conformance/reading"
)

// forms give a value of the type that a key's JSON is read into.
var forms = map[string]func() any{
	"agent":                  func() any { return &pod.AgentConfig{} },
	"autoscaler":             func() any { return &v1beta1.AutoscalerConfig{} },
	"batcher":                func() any { return &pod.BatcherConfig{} },
	"credentials":            func() any { return &credentials.CredentialConfig{} },
	"deploy":                 func() any { return &v1beta1.DeployConfig{} },
	"explainers":             func() any { return &v1beta1.ExplainersConfig{} },
	"inferenceService":       func() any { return &v1beta1.InferenceServicesConfig{} },
	"ingress":                func() any { return &v1beta1.IngressConfig{} },
	"localModel":             func() any { return &v1beta1.LocalModelConfig{} },
	"logger":                 func() any { return &pod.LoggerConfig{} },
	"metricsAggregator":      func() any { return &pod.MetricsAggregator{} },
	"multiNode":              func() any { return &v1beta1.MultiNodeConfig{} },
	"opentelemetryCollector": func() any { return &v1beta1.OtelCollectorConfig{} },
	"security":               func() any { return &v1beta1.SecurityConfig{} },
	"service":                func() any { return &v1beta1.ServiceConfig{} },
	"storageInitializer":     func() any { return &types.StorageInitializerConfig{} },
}

// others are read by the controller of InferenceGraphs, which the platform does not use.
var others = map[string]bool{"router": true}

func main() {
	given, names := reading.Input[string]()
	sound := map[string]string{}
	for _, name := range names {
		form, known := forms[name]
		switch {
		case others[name]:
		case !known:
			fmt.Printf("%s: nothing of KServe reads this\n", name)
		default:
			decoder := json.NewDecoder(bytes.NewReader([]byte(given[name])))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(form()); err != nil {
				fmt.Printf("%s: %v\n", name, err)
				continue
			}
			sound[name] = given[name] // one of KServe's loaders panics on what is no JSON
		}
	}
	data := &corev1.ConfigMap{Data: sound}
	for _, load := range []func(*corev1.ConfigMap) error{
		reading.Loader(v1beta1.NewDeployConfig),
		reading.Loader(v1beta1.NewInferenceServicesConfig),
		reading.Loader(v1beta1.NewIngressConfig),
		reading.Loader(v1beta1.NewLocalModelConfig),
		reading.Loader(v1beta1.NewMultiNodeConfig),
		reading.Loader(v1beta1.NewSecurityConfig),
		reading.Loader(v1beta1.NewServiceConfig),
		reading.Loader(v1beta1.GetStorageInitializerConfigs),
		reading.Loader(credentials.GetCredentialConfig),
	} {
		if err := load(data); err != nil {
			fmt.Println(err)
		}
	}
}
