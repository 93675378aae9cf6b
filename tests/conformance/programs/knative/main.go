// Command knative reads the configuration of a KnativeServing from standard input (JSON: name of a ConfigMap without "config-" -> its
// data) with the loaders by which Knative's webhook and controllers read it, and prints one line for each that they refuse.
package main

import (
	"context"
	"fmt"

	"hallmark.dev/conformance/reading"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	networking "knative.dev/networking/pkg/config"
	"knative.dev/pkg/leaderelection"
	"knative.dev/pkg/logging"
	apis "knative.dev/serving/pkg/apis/config"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/deployment"
	"knative.dev/serving/pkg/gc"
	observability "knative.dev/serving/pkg/observability/configmap"
	route "knative.dev/serving/pkg/reconciler/route/config"
)

func main() {
	loaders := map[string]func(*corev1.ConfigMap) error{
		"autoscaler":      reading.Loader(autoscaler.NewConfigFromConfigMap),
		"defaults":        reading.Loader(apis.NewDefaultsConfigFromConfigMap),
		"deployment":      reading.Loader(deployment.NewConfigFromConfigMap),
		"domain":          reading.Loader(route.NewDomainFromConfigMap),
		"features":        reading.Loader(apis.NewFeaturesConfigFromConfigMap),
		"gc":              reading.Loader(gc.NewConfigFromConfigMapFunc(context.Background())),
		"leader-election": reading.Loader(leaderelection.NewConfigFromConfigMap),
		"logging":         reading.Loader(logging.NewConfigFromConfigMap),
		"network":         reading.Loader(networking.NewConfigFromConfigMap),
		"observability":   reading.Loader(observability.Parse),
	}
	// net-istio's own loader is not on the Go module proxy.
	others := map[string]bool{"istio": true}

	given, names := reading.Input[map[string]string]()
	for _, name := range names {
		if others[name] {
			continue
		}
		load, known := loaders[name]
		if !known {
			fmt.Printf("%s: nothing of Knative reads this\n", name)
			continue
		}
		data := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config-" + name}, Data: given[name]}
		if err := load(data); err != nil {
			fmt.Printf("%s: %v\n", name, err)
		}
	}
}
