// Command knative reads the configuration of a KnativeServing from standard input (JSON: name of a ConfigMap without "config-" -> its
// data) with the loaders by which Knative's webhook and controllers read it, and prints one line for each that they refuse.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"

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

// loader gives the error of a loader and drops what it read.
func loader[T any](load func(*corev1.ConfigMap) (T, error)) func(*corev1.ConfigMap) error {
	return func(data *corev1.ConfigMap) error {
		_, err := load(data)
		return err
	}
}

func main() {
	loaders := map[string]func(*corev1.ConfigMap) error{
		"autoscaler":      loader(autoscaler.NewConfigFromConfigMap),
		"defaults":        loader(apis.NewDefaultsConfigFromConfigMap),
		"deployment":      loader(deployment.NewConfigFromConfigMap),
		"domain":          loader(route.NewDomainFromConfigMap),
		"features":        loader(apis.NewFeaturesConfigFromConfigMap),
		"gc":              loader(gc.NewConfigFromConfigMapFunc(context.Background())),
		"leader-election": loader(leaderelection.NewConfigFromConfigMap),
		"logging":         loader(logging.NewConfigFromConfigMap),
		"network":         loader(networking.NewConfigFromConfigMap),
		"observability":   loader(observability.Parse),
	}
	// net-istio's own loader is not on the Go module proxy.
	others := map[string]bool{"istio": true}

	given := map[string]map[string]string{}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	sort.Strings(names)
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
