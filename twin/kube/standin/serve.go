package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var errFailed = errors.New("failed")

// service is a running script. A new script takes the place of the old one for all that begins after it.
type service struct {
	script   atomic.Pointer[Script]
	conduct  atomic.Pointer[Behaviour]
	stations sync.Map // name -> *station
	metrics  *registry
	started  time.Time
}

func serve() {
	s := &service{metrics: newRegistry(), started: time.Now()}
	var script Script
	readScript(&script)
	s.metrics.service, s.metrics.ready = script.Service, s.isReady
	s.take(&script)
	probes := http.NewServeMux()
	probes.HandleFunc("/live", func(http.ResponseWriter, *http.Request) {})
	probes.HandleFunc("/ready", s.showReady)
	control(probes, s.metrics, func(raw []byte) error {
		var script Script
		if err := json.Unmarshal(raw, &script); err != nil {
			return err
		}
		s.take(&script)
		return nil
	})
	go s.misbehave()
	mux := http.NewServeMux()
	mux.HandleFunc("/op/", s.answer)
	for _, port := range script.Ports {
		go func(port int) { log.Fatal(http.ListenAndServe(fmt.Sprintf(":%d", port), mux)) }(port)
	}
	untilTold()
}

func (s *service) take(script *Script) {
	conduct := script.conduct()
	s.script.Store(script)
	s.conduct.Store(&conduct)
	for name, of := range script.Stations {
		found, _ := s.stations.LoadOrStore(name, newStation(s.metrics, script.Service, name))
		found.(*station).resize(of)
	}
}

func (s *service) isReady() bool {
	return !s.conduct.Load().NeverReady && time.Since(s.started) >= seconds(s.script.Load().StartS)
}

func (s *service) showReady(w http.ResponseWriter, _ *http.Request) {
	if !s.isReady() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// misbehave leaks and crashes, as long as the script says so.
func (s *service) misbehave() {
	const period = 100 * time.Millisecond
	var leaked [][]byte
	owed := 0.0
	for range time.Tick(period) {
		conduct := s.conduct.Load()
		if after := conduct.CrashAfterS; after != nil && time.Since(s.started) > seconds(*after) {
			log.Print("crashing, as the script says")
			os.Exit(3)
		}
		owed += conduct.LeakBytesPerS * period.Seconds()
		for ; owed >= 1<<20; owed -= 1 << 20 {
			piece := make([]byte, 1<<20)
			for at := 0; at < len(piece); at += 4096 {
				piece[at] = 1 // Memory that nobody touched is not held.
			}
			leaked = append(leaked, piece)
		}
	}
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	script, name := s.script.Load(), strings.TrimPrefix(r.URL.Path, "/op/")
	steps, known := script.Operations[name]
	if !known {
		http.Error(w, "no such operation", http.StatusNotFound)
		return
	}
	ctx := r.Context()
	if r.Header.Get("Cancel") == "" {
		ctx = context.WithoutCancel(ctx) // The caller may be gone: this work goes on.
	}
	began := time.Now()
	run := &request{service: s, operation: name}
	err := errFailed
	if rand.Float64() >= s.conduct.Load().ErrorRatio {
		err = run.play(ctx, steps)
	}
	took, labels := time.Since(began), []string{"service", script.Service, "operation", name}
	s.metrics.observe("twin_requests", took, err == nil, labels...)
	s.metrics.count("twin_own_seconds_total", (took - run.waited()).Seconds(), labels...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// request plays one program. It counts the time that it waits for others: what is left is its own.
type request struct {
	service   *service
	operation string
	waits     atomic.Int64 // ns
}

func (q *request) waited() time.Duration { return time.Duration(q.waits.Load()) }

func (q *request) play(ctx context.Context, steps []Step) error {
	for at := 0; at < len(steps); {
		end := at + 1
		if group := steps[at].Group; group != nil {
			for end < len(steps) && steps[end].Group != nil && *steps[end].Group == *group {
				end++
			}
		}
		began := time.Now()
		err := q.together(ctx, steps[at:end])
		if steps[at].Do == "call" {
			q.waits.Add(int64(time.Since(began)))
		}
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// together plays steps at the same time, and waits for all of them.
func (q *request) together(ctx context.Context, steps []Step) error {
	if len(steps) == 1 {
		return q.step(ctx, steps[0])
	}
	failures := make([]error, len(steps))
	var all sync.WaitGroup
	for index := range steps {
		all.Add(1)
		go func() {
			defer all.Done()
			failures[index] = q.step(ctx, steps[index])
		}()
	}
	all.Wait()
	return errors.Join(failures...)
}

func (q *request) step(ctx context.Context, step Step) error {
	switch step.Do {
	case "work":
		return q.work(ctx, step)
	case "call":
		if rand.Float64() >= step.Probability {
			return nil
		}
		if err := call(ctx, q.service.metrics, q.service.script.Load().Service, q.operation, step); err != nil && step.Required {
			return err
		}
		return nil
	case "publish":
		if rand.Float64() < step.Probability {
			go call(context.WithoutCancel(ctx), q.service.metrics, q.service.script.Load().Service, q.operation, step)
		}
		return nil
	case "cached":
		if rand.Float64() < step.HitRatio {
			return nil
		}
		return q.play(ctx, step.Body)
	case "hold":
		place, err := q.station(step.Station)
		if err != nil {
			return err
		}
		if step.TimeoutS != nil {
			var stop context.CancelFunc
			waiting, stop := context.WithTimeout(ctx, seconds(*step.TimeoutS))
			defer stop()
			if err := place.enter(waiting); err != nil {
				return err
			}
		} else if err := place.enter(ctx); err != nil {
			return err
		}
		defer place.leave()
		return q.play(ctx, step.Body)
	}
	return fmt.Errorf("there is no step %q", step.Do)
}

func (q *request) work(ctx context.Context, step Step) error {
	place, err := q.station(step.Station)
	if err != nil {
		return err
	}
	if err := place.enter(ctx); err != nil {
		return err
	}
	defer place.leave()
	amount := seconds(draw(step.MeanS, step.CV) / q.service.conduct.Load().Speed)
	if step.Station == "cpu" {
		burn(amount)
	} else {
		time.Sleep(amount)
	}
	return nil
}

func (q *request) station(name string) (*station, error) {
	found, known := q.service.stations.Load(name)
	if !known {
		return nil, fmt.Errorf("there is no station %q", name)
	}
	return found.(*station), nil
}
