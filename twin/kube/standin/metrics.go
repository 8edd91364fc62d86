package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Upper ends of the buckets of times, in seconds.
var buckets = []float64{
	.001, .0015, .002, .003, .005, .007, .01, .015, .02, .03, .05, .07, .1, .15, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 10, 20,
}

// registry holds counters, gauges and histograms, and writes them as Prometheus reads them.
type registry struct {
	service string // whose process it is; empty for the users'
	ready   func() bool
	started time.Time
	guard   sync.Mutex
	values  map[string]float64
	times   map[string]*times
}

type times struct {
	name, labels string
	in           []float64 // requests a bucket, not summed up
	sum, count   float64
}

func newRegistry() *registry {
	return &registry{started: time.Now(), values: map[string]float64{}, times: map[string]*times{}}
}

func outcome(ok bool) string {
	if ok {
		return "ok"
	}
	return "error"
}

func (r *registry) count(name string, by float64, labels ...string) {
	key := name + "{" + joined(labels) + "}"
	r.guard.Lock()
	r.values[key] += by
	r.guard.Unlock()
}

func (r *registry) set(name string, value float64, labels ...string) {
	key := name + "{" + joined(labels) + "}"
	r.guard.Lock()
	r.values[key] = value
	r.guard.Unlock()
}

// observe counts one request and how long it took: NAME_total by outcome, and NAME_seconds.
func (r *registry) observe(name string, took time.Duration, ok bool, labels ...string) {
	// Both outcomes are there from the first request on: a rate needs a counter that begins at nothing.
	r.count(name+"_total", 0, append(labels, "outcome", outcome(!ok))...)
	r.count(name+"_total", 1, append(labels, "outcome", outcome(ok))...)
	text := joined(labels)
	r.guard.Lock()
	defer r.guard.Unlock()
	key := name + text
	seen := r.times[key]
	if seen == nil {
		seen = &times{name: name, labels: text, in: make([]float64, len(buckets)+1)}
		r.times[key] = seen
	}
	seen.in[sort.SearchFloat64s(buckets, took.Seconds())]++
	seen.sum += took.Seconds()
	seen.count++
}

func (r *registry) write(w io.Writer) {
	r.guard.Lock()
	defer r.guard.Unlock()
	lines := make([]string, 0, len(r.values))
	for key, value := range r.values {
		lines = append(lines, fmt.Sprintf("%s %g", key, value))
	}
	for _, seen := range r.times {
		sum := 0.0
		for index, count := range seen.in {
			sum += count
			end := "+Inf"
			if index < len(buckets) {
				end = strconv.FormatFloat(buckets[index], 'g', -1, 64)
			}
			lines = append(lines, fmt.Sprintf("%s_seconds_bucket{%s,le=%q} %g", seen.name, seen.labels, end, sum))
		}
		lines = append(lines, fmt.Sprintf("%s_seconds_sum{%s} %g", seen.name, seen.labels, seen.sum))
		lines = append(lines, fmt.Sprintf("%s_seconds_count{%s} %g", seen.name, seen.labels, seen.count))
	}
	sort.Strings(lines)
	fmt.Fprintln(w, strings.Join(lines, "\n"))
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err == nil {
		fmt.Fprintf(w, "process_cpu_seconds_total{service=%q} %g\n", r.service, float64(used.Utime.Nano()+used.Stime.Nano())/1e9)
	}
	fmt.Fprintf(w, "process_start_time_seconds{service=%q} %.3f\n", r.service, float64(r.started.UnixMilli())/1e3)
	if busy, all, err := processor(); err == nil {
		fmt.Fprintf(w, "twin_node_cpu_seconds_total{mode=\"busy\"} %g\ntwin_node_cpu_seconds_total{mode=\"all\"} %g\n", busy, all)
	}
	if r.ready != nil {
		fmt.Fprintf(w, "twin_ready{service=%q} %d\n", r.service, map[bool]int{true: 1}[r.ready()])
	}
	if raw, err := os.ReadFile("/proc/self/statm"); err == nil {
		if words := strings.Fields(string(raw)); len(words) > 1 {
			pages, _ := strconv.Atoi(words[1])
			fmt.Fprintf(w, "process_resident_memory_bytes{service=%q} %d\n", r.service, pages*os.Getpagesize())
		}
	}
}

const ticksASecond = 100 // of /proc/stat, on every machine that Kubernetes runs on

// processor is what the machine under this pod has spent since it began: in use, and in all, in seconds.
func processor() (busy, all float64, err error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	words := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	if len(words) < 9 {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for at, word := range words[1:9] {
		ticks, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return 0, 0, err
		}
		all += ticks / ticksASecond
		if at != 3 && at != 4 {
			busy += ticks / ticksASecond
		}
	}
	return busy, all, nil
}

func joined(labels []string) string {
	pairs := make([]string, 0, len(labels)/2)
	for at := 0; at+1 < len(labels); at += 2 {
		pairs = append(pairs, fmt.Sprintf("%s=%q", labels[at], labels[at+1]))
	}
	return strings.Join(pairs, ",")
}
