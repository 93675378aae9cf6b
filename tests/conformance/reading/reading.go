// Package reading is what the readers of configuration share: their input, and loaders of which the error alone counts.
package reading

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Input gives the JSON object on standard input and its keys in order; where there is none the program ends.
func Input[V any]() (map[string]V, []string) {
	given := map[string]V{}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return given, slices.Sorted(maps.Keys(given))
}

// Loader gives the error of a loader and drops what it read.
func Loader[C, T any](load func(C) (T, error)) func(C) error {
	return func(config C) error {
		_, err := load(config)
		return err
	}
}
