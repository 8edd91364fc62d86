// memory-watch stands in for the kernel's memory limits where the memory hierarchy of cgroups is not ours to write.
//
// Five times a second it adds up what the processes of each container hold that runc-lean noted a limit for. Over the
// limit, it tells containerd (so that the kubelet says OOMKilled) and kills them. An emulation: a container can hold
// more than its limit for a fifth of a second.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	notes    = "/run/memory-watch"
	period   = 200 * time.Millisecond
	forgetIn = 30 * time.Second // A note without a cgroup is of a container that ended, or has not begun yet.
)

func main() {
	if err := os.MkdirAll(notes, 0o755); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for ; ; time.Sleep(period) {
		files, _ := filepath.Glob(filepath.Join(notes, "*"))
		for _, file := range files {
			watch(file)
		}
	}
}

func watch(file string) {
	raw, _ := os.ReadFile(file)
	words := strings.Fields(string(raw))
	if len(words) != 2 {
		return
	}
	limit, _ := strconv.ParseInt(words[0], 10, 64)
	listed, err := os.ReadFile("/sys/fs/cgroup/pids" + words[1] + "/cgroup.procs")
	if err != nil {
		if about, err := os.Stat(file); err == nil && time.Since(about.ModTime()) > forgetIn {
			os.Remove(file)
		}
		return
	}
	pids := strings.Fields(string(listed))
	held := int64(0)
	for _, pid := range pids {
		held += heldBytes(pid)
	}
	if limit <= 0 || held <= limit {
		return
	}
	container := filepath.Base(file)
	fmt.Printf("%s %s holds %d bytes, may hold %d\n", time.Now().Format(time.RFC3339), container, held, limit)
	tell(container)
	for _, pid := range pids {
		number, _ := strconv.Atoi(pid)
		syscall.Kill(number, syscall.SIGKILL)
	}
}

// heldBytes is a process's anonymous and shared memory: what counts against a limit and cannot be dropped.
func heldBytes(pid string) (sum int64) {
	raw, _ := os.ReadFile("/proc/" + pid + "/status")
	for _, line := range strings.Split(string(raw), "\n") {
		words := strings.Fields(line)
		if len(words) > 1 && (words[0] == "RssAnon:" || words[0] == "RssShmem:") {
			kibibytes, _ := strconv.ParseInt(words[1], 10, 64)
			sum += kibibytes << 10
		}
	}
	return sum
}

// tell publishes containerd's event of a container out of memory, as a protobuf Any.
func tell(container string) {
	event := append(field(1, []byte("containerd.events.TaskOOM")), field(2, field(1, []byte(container)))...)
	publish := exec.Command(
		"/usr/bin/containerd", "--address", "/run/containerd/containerd.sock", "publish", "--topic", "/tasks/oom", "--namespace", "k8s.io",
	)
	publish.Stdin = bytes.NewReader(event)
	if said, err := publish.CombinedOutput(); err != nil {
		fmt.Println("cannot tell containerd:", err, string(said))
	}
}

// field is a protobuf field of bytes, shorter than 128.
func field(number byte, content []byte) []byte {
	return append([]byte{number<<3 | 2, byte(len(content))}, content...)
}
