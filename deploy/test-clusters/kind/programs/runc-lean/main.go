// runc-lean is runc for a machine on which we lack CAP_SYS_RESOURCE and leave the memory hierarchy of cgroups alone.
//
// It takes out of a container's configuration what runc would fail on (that capability, resource limits of processes,
// negative OOM scores, memory limits) and becomes the real runc. A memory limit that it takes out is left for
// memory-watch in /run/memory-watch/CONTAINER, as "BYTES CGROUP".
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const notes = "/run/memory-watch"

type object = map[string]any

func main() {
	arguments := os.Args[1:]
	if err := adapt(arguments); err != nil {
		fail(err)
	}
	fail(syscall.Exec("/usr/sbin/runc", append([]string{"/usr/sbin/runc"}, arguments...), os.Environ()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "runc-lean:", err)
	os.Exit(127)
}

func adapt(arguments []string) error {
	for index, word := range arguments {
		rest := arguments[index+1:]
		switch word {
		case "create", "run":
			return rewrite(filepath.Join(option(rest, ".", "--bundle", "-b"), "config.json"), func(config object) {
				leanProcess(child(config, "process"))
				linux := child(config, "linux")
				cgroup, _ := linux["cgroupsPath"].(string)
				note(last(arguments), cgroup, leanResources(child(linux, "resources")))
			})
		case "exec":
			if file := option(rest, "", "--process", "-p"); file != "" {
				return rewrite(file, leanProcess)
			}
			return nil
		case "update":
			return adaptUpdate(arguments, option(rest, "", "--resources", "-r"))
		}
	}
	return nil
}

// adaptUpdate reads resources that come on standard input, and lets runc read them from a file instead.
func adaptUpdate(arguments []string, source string) error {
	if source != "-" {
		return nil
	}
	var resources object
	if err := json.NewDecoder(os.Stdin).Decode(&resources); err != nil {
		return err
	}
	note(last(arguments), "", leanResources(resources))
	file, err := os.CreateTemp("", "resources")
	if err != nil {
		return err
	}
	defer file.Close()
	for index, word := range arguments {
		if word == "-" || strings.HasSuffix(word, "=-") {
			arguments[index] = strings.TrimSuffix(word, "-") + file.Name()
		}
	}
	return json.NewEncoder(file).Encode(resources)
}

func leanProcess(process object) {
	for name, set := range child(process, "capabilities") {
		kept := []any{}
		listed, _ := set.([]any)
		for _, one := range listed {
			if one != "CAP_SYS_RESOURCE" {
				kept = append(kept, one)
			}
		}
		child(process, "capabilities")[name] = kept
	}
	delete(process, "rlimits")
	if score, _ := process["oomScoreAdj"].(float64); score < 0 {
		process["oomScoreAdj"] = 0
	}
}

// leanResources takes out what needs the memory hierarchy, and returns the limit in bytes; 0 if there was none.
func leanResources(resources object) int64 {
	limit, _ := child(resources, "memory")["limit"].(float64)
	for _, part := range []string{"memory", "hugepageLimits", "unified"} {
		delete(resources, part)
	}
	return int64(limit)
}

// note leaves a limit for memory-watch, if that runs here. An update knows no cgroup: the one noted before stays.
func note(container, cgroup string, limit int64) {
	file := filepath.Join(notes, container)
	if cgroup == "" {
		before, _ := os.ReadFile(file)
		if words := strings.Fields(string(before)); len(words) == 2 {
			cgroup = words[1]
		}
	}
	if cgroup != "" && limit > 0 {
		// Where nothing watches there is no folder, and nothing to leave.
		_ = os.WriteFile(file, []byte(fmt.Sprintf("%d %s\n", limit, cgroup)), 0o644)
	}
}

func rewrite(file string, change func(object)) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil // runc says it better.
	}
	var content object
	if err := json.Unmarshal(raw, &content); err != nil {
		return err
	}
	change(content)
	if raw, err = json.Marshal(content); err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

func child(parent object, name string) object {
	if found, ok := parent[name].(object); ok {
		return found
	}
	return object{}
}

func option(words []string, otherwise string, names ...string) string {
	for index, word := range words {
		for _, name := range names {
			if word == name && index+1 < len(words) {
				return words[index+1]
			}
			if value, found := strings.CutPrefix(word, name+"="); found {
				return value
			}
		}
	}
	return otherwise
}

func last(words []string) string { return words[len(words)-1] }
