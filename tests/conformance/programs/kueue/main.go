// Command kueue reads the managerConfig of Kueue's chart from standard input with the loader and the checks that its manager starts
// with, and prints one line for each refusal.
package main

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	configapi "sigs.k8s.io/kueue/apis/config/v1beta2"
	"sigs.k8s.io/kueue/pkg/config"
	_ "sigs.k8s.io/kueue/pkg/controller/jobs" // the frameworks that a configuration may name
)

func main() {
	given, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = check(given)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// check prints refusals; the error is of this program's own doing.
func check(given []byte) error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := configapi.AddToScheme(scheme); err != nil {
		return err
	}
	file, err := os.CreateTemp("", "manager-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(given); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	_, found, err := config.Load(scheme, file.Name())
	if err != nil {
		fmt.Println(err)
		return nil
	}
	for _, each := range config.LoadAndValidateFeatureGates("", found.FeatureGates) {
		fmt.Println(each)
	}
	for _, each := range config.Validate(&found, scheme) {
		fmt.Println(each)
	}
	return nil
}
