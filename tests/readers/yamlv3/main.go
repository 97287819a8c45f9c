// Reads YAML files as Go programs do, with yaml.v3, and tells what it read: for tests of what stands in Git.
//
// On the standard input a JSON list of files, on the standard output a JSON list of answers in the same order: the value,
// or why there is none. A value that JSON does not have, such as a moment or a key that is no text, is an error: printed
// as text it would look like the text it should have been.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"gopkg.in/yaml.v3"
)

type answer struct {
	Value any    `json:"value"`
	Error string `json:"error,omitempty"`
}

func main() {
	var files []string
	if err := json.NewDecoder(os.Stdin).Decode(&files); err != nil {
		fail(err)
	}
	answers := make([]answer, len(files))
	for index, file := range files {
		answers[index] = read(file)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fail(err)
	}
}

func read(file string) answer {
	var value any
	if err := yaml.Unmarshal([]byte(file), &value); err != nil {
		return answer{Error: err.Error()}
	}
	if err := check(value); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Value: value}
}

func check(value any) error {
	switch known := value.(type) {
	case nil, bool, int, int64, uint64, float64, string:
		return nil
	case []any:
		for _, item := range known {
			if err := check(item); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for _, item := range known {
			if err := check(item); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("read as a %T, which JSON does not have", value)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
