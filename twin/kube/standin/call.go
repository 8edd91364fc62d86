package main

import (
	"context"
	"encoding/json"
	"io"
	"math/rand"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// client keeps connections for a short time only: a Service's new pods are to be found.
var client = &http.Client{Transport: &http.Transport{
	MaxIdleConnsPerHost: 64, IdleConnTimeout: 2 * time.Second, DisableKeepAlives: true,
}}

// call makes a call with its time-out and retries, and counts every attempt on its edge.
func call(ctx context.Context, metrics *registry, caller, operation string, step Step) error {
	service, name := serviceOf(step.Target)
	group := ""
	if step.Group != nil {
		group = strconv.Itoa(*step.Group)
	}
	labels := []string{
		"caller", caller, "caller_operation", operation, "callee", service, "callee_operation", name,
		"position", strconv.Itoa(step.Position), "group", group, "asynchronous", strconv.FormatBool(step.Do == "publish"),
	}
	var err error
	for attempt := 0; attempt <= step.Retries; attempt++ {
		if attempt > 0 {
			time.Sleep(seconds(step.BackoffS))
		}
		began := time.Now()
		err = once(ctx, step, name)
		metrics.observe("twin_calls", time.Since(began), err == nil, labels...)
		if err == nil {
			break
		}
	}
	if caller == "user" {
		metrics.count("twin_users_total", 0, append(labels, "outcome", outcome(err != nil))...)
		metrics.count("twin_users_total", 1, append(labels, "outcome", outcome(err == nil))...)
	}
	return err
}

func once(ctx context.Context, step Step, operation string) error {
	time.Sleep(seconds(step.DelayS))
	if step.TimeoutS != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, seconds(*step.TimeoutS))
		defer stop()
	}
	path := step.Path
	if path == "" {
		path = "/op/" + operation
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, step.URL+path, nil)
	if err != nil {
		return err
	}
	if step.Cancel {
		request.Header.Set("Cancel", "1")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return errFailed
	}
	return nil
}

// generate sends users: each journey's come at random moments (a Poisson process), whatever became of those before.
func generate() {
	metrics := newRegistry()
	var now atomic.Pointer[LoadScript]
	stop, guard := func() {}, sync.Mutex{}
	take := func(script *LoadScript) {
		guard.Lock()
		defer guard.Unlock()
		stop()
		ctx, cancel := context.WithCancel(context.Background())
		stop = cancel
		now.Store(script)
		for _, journey := range script.Journeys {
			go send(ctx, metrics, journey)
		}
	}
	var first LoadScript
	readScript(&first)
	take(&first)
	control(http.NewServeMux(), metrics, func(raw []byte) error {
		var script LoadScript
		if err := json.Unmarshal(raw, &script); err != nil {
			return err
		}
		take(&script)
		return nil
	})
	untilTold()
}

const mostInFlight = 2000 // users of one journey; more than a test machine can carry

func send(ctx context.Context, metrics *registry, journey Journey) {
	room := make(chan struct{}, mostInFlight)
	next := time.Now()
	for journey.RateRps > 0 {
		next = next.Add(seconds(rand.ExpFloat64() / journey.RateRps))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		select {
		case room <- struct{}{}:
			go func() {
				call(context.Background(), metrics, "user", journey.Name, journey.Call)
				<-room
			}()
		default:
			metrics.count("twin_users_dropped_total", 1, "journey", journey.Name)
		}
	}
}
