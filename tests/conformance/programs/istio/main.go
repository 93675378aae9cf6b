// Command istiod reads a meshConfig from standard input with istiod's own loader and its checks, and prints what they refuse. istiod drops
// a key that it does not know and warns of a provider that cannot work; here both are refused.
package main

import (
	"fmt"
	"io"
	"os"

	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/validation/agent"
	"istio.io/istio/pkg/util/protomarshal"
)

func main() {
	given, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	found, err := mesh.ApplyMeshConfigDefaults(string(given))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := protomarshal.ApplyYAMLStrict(string(given), mesh.DefaultMeshConfig()); err != nil {
		fmt.Println(err)
	}
	if warning, _ := agent.ValidateMeshConfig(found); warning != nil {
		fmt.Println(warning)
	}
}
